"""ILoRA that keeps what was learned: ``cut = "update"`` and increments."""

import pytest
import torch

from ilora_app import wire
from ilora_app.lora.factors import AdapterState
from ilora_app.lora.initialisation import qr_directions
from ilora_app.lora.spread import inner_products
from ilora_app.methods.flexlora import FlexLoRA
from ilora_app.methods.ilora import ILoRA
from ilora_app.methods.server_step import ServerStep
from ilora_app.strategies import LoraStrategy
from tests.builders import random_state, random_weights, update
from tests.oracles import UPDATE
from tests.quadratic import Problem
from tests.test_strategies import EVENTS, EXAMPLES, RANKS
from tests.toy import Toy
from tests.update_oracles import learned, starts


def dense(adapter: AdapterState) -> dict[str, torch.Tensor]:
    return {m: B.double() @ A.double() for m, (B, A) in adapter.factors.items()}


def begun(rank: int, **settings):
    method = ILoRA(**settings)
    directions = qr_directions(random_weights().items(), rank)
    return method, method.begin(AdapterState(directions, random_state(1).head))


def idle(method, state, ranks, examples=10.0):
    """A round in which nobody trains."""
    shares = [method.share(state, rank) for rank in ranks]
    updates = [
        update(i, share.adapter, received=share, examples=examples)
        for i, share in enumerate(shares)
    ]
    return method.aggregate(state, updates).state


def trained(method, state, ranks, seed=0):
    generator = torch.Generator().manual_seed(seed)
    updates = []
    for i, rank in enumerate(ranks):
        share = method.share(state, rank)
        flat = {
            name: value + 0.3 * torch.randn(value.shape, generator=generator)
            for name, value in share.adapter.named_tensors().items()
        }
        moved = AdapterState.from_named_tensors(flat)
        updates.append(update(i, moved, received=share, examples=i + 1))
    return updates


def trained_state(method, state, ranks, seed=0):
    return method.aggregate(state, trained(method, state, ranks, seed)).state


@pytest.mark.parametrize("how", ["qr", "svd"])
def test_clients_start_where_the_equations_say(how):
    """Round 1 at W0; then at the cut of U over W0 itself, with nothing on the way."""
    method = ILoRA(**UPDATE | {"decomposition": how})
    run = Toy(LoraStrategy(method), Problem(RANKS, EXAMPLES))
    for events in EVENTS:
        before = list(run.history)
        for t in run.round(**events):
            expected = starts(run.problem, before, t.rank, how)
            for module, (B, A) in t.start.factors.items():
                found = B.double() @ A.double()
                close = 1e-5 * float(expected[module].norm())
                assert float((found - expected[module]).norm()) <= close
                assert (module in t.offset) == (not any(before))
                if not any(before):
                    torch.testing.assert_close(t.offset[module], found)


@pytest.mark.parametrize("how", ["qr", "svd"])
def test_with_the_rest_in_the_base_all_start_from_the_whole_update(how):
    """B A - O = U for every rank, and a client trains the first directions of U."""
    method = ILoRA(**UPDATE | {"decomposition": how, "residual": "send"})
    run = Toy(LoraStrategy(method), Problem(RANKS, EXAMPLES))
    for events in EVENTS:
        before = list(run.history)
        for t in run.round(**events):
            U = learned(run.problem, before, how)
            trained = starts(run.problem, before, t.rank, how)
            for module, (B, A) in t.start.factors.items():
                product = B.double() @ A.double()
                held = product - t.offset.get(module, torch.zeros_like(product))
                close = 1e-5 * max(1.0, float(U[module].norm()))
                assert float((held - U[module]).norm()) <= close
                assert float((product - trained[module]).norm()) <= close


def test_what_is_sent_by_svd_has_orthonormal_rows_and_the_scale_in_B():
    """B = U S and A = V^T, against the SVD of the dense product."""
    method, state = begun(6, **UPDATE | {"decomposition": "svd", "residual": "send"})
    state = trained_state(method, state, (2, 4, 6))
    for B, A in state.adapter.factors.pairs.values():
        torch.testing.assert_close(A @ A.T, torch.eye(len(A)), atol=1e-5, rtol=0)
        values = torch.linalg.svdvals(B.double() @ A.double())[: len(A)].float()
        torch.testing.assert_close(B.norm(dim=0), values, atol=1e-5, rtol=1e-5)


def test_a_start_that_nothing_takes_out_of_the_base_is_refused():
    initial = AdapterState(qr_directions(random_weights().items(), 4), {})
    record = wire.model_record(initial.named_tensors())
    with pytest.raises(ValueError, match="B A != 0: expected B = 0"):
        LoraStrategy(ILoRA()).begin(record)
    LoraStrategy(ILoRA(qr_start=True)).begin(record)


def test_what_is_sent_behind_the_rank_needs_increments_of_the_update():
    for wrong in ({"aggregate": "products"}, {"cut": "product"}):
        with pytest.raises(ValueError, match="is not all that it holds"):
            ILoRA(**UPDATE | {"residual": "send"} | wrong)
    method, state = begun(6, **UPDATE | {"residual": "send"})
    state = trained_state(method, state, (2, 4, 6))
    assert method.model(state, 2).factors.rank == 6
    assert not method.share(state, 6).coefficients
    assert {C.shape[0] for C in method.share(state, 2).coefficients.values()} == {4}
    assert method.evaluation_share(state, 2).adapter.factors.rank == 2


@pytest.mark.parametrize("how", ["qr", "pivoted-qr", "svd"])
def test_there_is_no_jump_and_nothing_moves_without_training(how):
    method, state = begun(6, **UPDATE | {"decomposition": how})
    state = trained_state(method, state, (2, 4, 6))
    model = method.model(state)
    assert model.factors.rank == 6
    held, share = method.model(state, 6), method.share(state, 6)
    assert not share.coefficients
    for name, value in share.adapter.named_tensors().items():
        assert torch.equal(value, model.named_tensors()[name])
        assert torch.equal(value, held.named_tensors()[name])
    before = dense(model)
    for _ in range(3):
        state = idle(method, state, (2, 4, 6))
    for module, value in dense(method.model(state)).items():
        torch.testing.assert_close(value, before[module], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("aggregate", ["increments", "products"])
def test_nothing_moves_without_training_from_the_start(aggregate):
    method, state = begun(6, cut="update", aggregate=aggregate)
    state = idle(method, state, (2, 4, 6))
    for value in dense(method.model(state)).values():
        assert value.abs().max() < 1e-5


@pytest.mark.parametrize("aggregate", ["increments", "products"])
@pytest.mark.parametrize("cut", ["update", "product"])
def test_what_one_client_of_eight_holds_does_not_decay(cut, aggregate):
    """In ten rounds without training; with products it is multiplied by 1/8 a round."""
    method, state = begun(4, cut=cut, aggregate=aggregate)
    ranks = (1,) * 7 + (4,)
    state = trained_state(method, state, ranks)
    before = dense(method.model(state))
    for _ in range(10):
        state = idle(method, state, ranks)
    after = dense(method.model(state))
    kept = [float(after[m].norm() / before[m].norm()) for m in before]
    assert all(part > 0.999 for part in kept) == (aggregate == "increments")


def test_the_rate_auto_is_that_of_the_dense_increments():
    method, state = begun(6, **UPDATE)
    updates = trained(method, state, (2, 4, 6))
    p = torch.tensor([1.0, 2.0, 3.0]).double() / 6
    deltas = [
        torch.cat(
            [
                (dense(u.adapter)[m] - dense(u.received.adapter)[m]).flatten()
                for m in dense(u.adapter)
            ]
        )
        for u in updates
    ]
    squared = sum(w * d.square().sum() for w, d in zip(p, deltas, strict=True))
    together = sum(w * d for w, d in zip(p, deltas, strict=True)).square().sum()
    expected = max(1.0, float(squared / (2 * together)))
    assert ServerStep(None).rate_of(updates) == pytest.approx(expected, rel=1e-9)
    assert expected > 1.0
    assert ServerStep(2.5).rate_of(updates) == 2.5


@pytest.mark.parametrize(("eta", "beta"), [(1.5, 0.0), (0.5, 0.3), (1.5, 0.3)])
def test_the_server_steps_further_and_keeps_some_of_the_step_before(eta, beta):
    method = ILoRA(**UPDATE, step=ServerStep(eta, beta))
    run = Toy(LoraStrategy(method), Problem(RANKS, EXAMPLES))
    for events in EVENTS:
        run.round(**events)
        expected = learned(run.problem, run.history, eta=eta, beta=beta)
        for module, value in expected.items():
            close = 1e-5 * max(1.0, float(value.norm()))
            assert float((run.model()[module] - value).norm()) <= close


def test_the_head_takes_the_same_step():
    method, state = begun(4, **UPDATE, step=ServerStep(1.5, 0.3))
    heads = [state.adapter.head["classifier.weight"].double()]
    for number in (1, 2):
        updates = trained(method, state, (2, 4), seed=number)
        mean = sum(
            u.adapter.head["classifier.weight"].double() * w
            for u, w in zip(updates, (1 / 3, 2 / 3), strict=True)
        )
        step = 1.5 * (mean - heads[-1])
        if number > 1:
            step += 0.3 * (heads[-1] - heads[-2])
        heads.append(heads[-1] + step)
        state = method.aggregate(state, updates).state
    found = state.adapter.head["classifier.weight"].double()
    torch.testing.assert_close(found, heads[-1], atol=1e-6, rtol=1e-6)


def test_energy_is_of_what_was_learned_and_not_of_the_start():
    """The published cut keeps the start of W0 and drops most of what was learned."""
    method, state = begun(6, cut="product", aggregate="products")
    updates = trained(method, state, (6, 6))
    made = method.aggregate(state, updates)
    out = dense(AdapterState(made.state.offset, {}))
    lost, whole = torch.zeros(6).double(), 0.0
    for module in out:
        D = sum(
            w * (u.adapter.factors[module][0] @ u.adapter.factors[module][1]).double()
            for u, w in zip(updates, (1 / 3, 2 / 3), strict=True)
        )
        learned = D - out[module]
        whole += float(learned.square().sum())
        B = made.state.adapter.factors[module][0].double()
        for j in range(6):
            kept = B[:, : j + 1] @ (B[:, : j + 1].T @ learned)
            lost[j] += (learned - kept).square().sum()
    expected = (1 - lost / whole).tolist()
    assert list(made.energy) == pytest.approx(expected, abs=1e-5)
    assert made.energy[-1] < 0.9


def test_flexlora_sums_increments_too():
    method = FlexLoRA(aggregate="increments")
    state = method.begin(random_state(4))
    state = trained_state(method, state, (4,))
    before = dense(method.model(state))
    for _ in range(5):
        state = idle(method, state, (1, 1, 4))
    for module, value in dense(method.model(state)).items():
        torch.testing.assert_close(value, before[module], atol=1e-5, rtol=1e-5)
    assert float(inner_products([state.adapter.factors])[0, 0]) > 0
