"""ILoRA against a dense float64 oracle, with no network."""

import pytest
import torch

from ilora_app.lora.decomposition import DECOMPOSITIONS
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.initialisation import qr_directions
from ilora_app.methods.flexlora import FlexLoRA
from ilora_app.methods.ilora import ILoRA
from ilora_app.methods.server_step import ServerStep
from ilora_app.methods.state import GlobalState, Share
from tests.builders import SHAPES, random_factors, random_state, random_weights, update
from tests.oracles import PUBLISHED


def dense_share(
    share: Share, directions: LoraFactors, received: Share | None = None
) -> dict[str, torch.Tensor]:
    """B A - O of every layer, in float64: what a client's model adds to W0."""
    offset = (received or share).offset(lambda rank: directions.cut(rank))
    found = {}
    for name, (B, A) in share.adapter.factors.items():
        found[name] = B.double() @ A.double()
        if name in offset:
            L, R = offset[name]
            found[name] -= L.double() @ R.double()
    return found


def dense(adapter: AdapterState) -> dict[str, torch.Tensor]:
    return {n: B.double() @ A.double() for n, (B, A) in adapter.factors.items()}


def trained(received: Share, seed: int) -> AdapterState:
    """What a client might return: everything moved a little."""
    generator = torch.Generator().manual_seed(seed)
    flat = {
        name: value + 0.3 * torch.randn(value.shape, generator=generator)
        for name, value in received.adapter.named_tensors().items()
    }
    return AdapterState.from_named_tensors(flat)


def started(rank: int, **settings) -> tuple[ILoRA, GlobalState, LoraFactors]:
    strategy = ILoRA(**PUBLISHED | settings)
    directions = qr_directions(random_weights().items(), rank)
    head = random_state(1).head
    return strategy, strategy.begin(AdapterState(directions, head)), directions


@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_aggregate_equals_the_dense_mean_where_nothing_is_cut(method):
    """rho = 7 <= r_max = 9: D itself, for unequal ranks and weights."""
    strategy = ILoRA(**PUBLISHED | {"decomposition": method}, qr_start=False)
    updates = [
        update(i, random_state(rank, seed=i), examples=n)
        for i, (rank, n) in enumerate([(1, 10), (2, 70), (4, 20)])
    ]
    made = strategy.aggregate(GlobalState(random_state(9)), updates)
    for name in SHAPES:
        expected = sum(
            n
            * (
                u.adapter.factors[name][0].double()
                @ u.adapter.factors[name][1].double()
            )
            for n, u in zip((0.1, 0.7, 0.2), updates, strict=True)
        )
        B, A = made.state.adapter.factors[name]
        torch.testing.assert_close((B @ A).double(), expected, atol=1e-5, rtol=1e-5)
    head = sum(
        n * u.adapter.head["classifier.weight"]
        for n, u in zip((0.1, 0.7, 0.2), updates, strict=True)
    )
    torch.testing.assert_close(made.state.adapter.head["classifier.weight"], head)


@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_order_of_clients_does_not_matter(method):
    strategy = ILoRA(**PUBLISHED | {"decomposition": method}, qr_start=False)
    updates = [update(i, random_state(r, seed=i)) for i, r in enumerate([2, 1, 3])]
    state = GlobalState(random_state(3))
    there = strategy.aggregate(state, updates).state.adapter.factors
    back = strategy.aggregate(state, updates[::-1]).state.adapter.factors
    for name in SHAPES:
        torch.testing.assert_close(
            there[name][0] @ there[name][1], back[name][0] @ back[name][1]
        )


def test_one_client_gets_back_its_own_product():
    strategy = ILoRA(**PUBLISHED, qr_start=False)
    adapter = random_state(3)
    made = strategy.aggregate(GlobalState(random_state(3)), [update(0, adapter)])
    for name in SHAPES:
        B, A = made.state.adapter.factors[name]
        B_1, A_1 = adapter.factors[name]
        # QR at rank 3 of a rank-3 product: the projection is the product itself.
        torch.testing.assert_close(B @ A, B_1 @ A_1, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("gain", ["paper", "scaled"])
def test_start_leaves_every_rank_at_w0(gain):
    strategy, state, directions = started(6, init_gain=gain)
    for rank in range(1, 7):
        share = strategy.share(state, rank)
        assert share.adapter.factors.rank == rank
        for delta in dense_share(share, directions).values():
            assert delta.abs().max() < 1e-6
        for delta in dense(strategy.model(state, rank)).values():
            assert delta.abs().max() < 1e-6
    for delta in dense(strategy.model(state)).values():
        assert delta.abs().max() < 1e-6


@pytest.mark.parametrize("gain", ["paper", "scaled"])
@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_without_training_the_model_stays_w0_for_every_rank(method, gain):
    strategy, state, directions = started(6, decomposition=method, init_gain=gain)
    for _ in range(3):
        updates = [
            update(i, (got := strategy.share(state, rank)).adapter, received=got)
            for i, rank in enumerate([1, 2, 4, 6])
        ]
        state = strategy.aggregate(state, updates).state
        for rank in (1, 2, 4, 6):
            share = strategy.share(state, rank)
            for delta in dense_share(share, directions).values():
                assert delta.abs().max() < 1e-5
        for delta in dense(strategy.model(state)).values():
            assert delta.abs().max() < 1e-5


@pytest.mark.parametrize("gain", ["paper", "scaled"])
@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_global_model_is_the_mean_of_client_models_in_every_round(method, gain):
    """W0 + s (D - D0) exactly, with unequal ranks and changing participation.

    r_max = 9 holds rho = 7, so nothing is cut and the oracle is the plain mean.
    """
    strategy, state, directions = started(9, decomposition=method, init_gain=gain)
    for number, ranks in enumerate([(1, 2, 4), (4, 2), (2, 4, 1)]):
        updates = [
            update(
                i,
                trained(got := strategy.share(state, rank), seed=10 * number + i),
                received=got,
                examples=10 * (i + 1),
            )
            for i, rank in enumerate(ranks)
        ]
        total = sum(u.examples for u in updates)
        expected = {name: torch.zeros(shape).double() for name, shape in SHAPES.items()}
        for u in updates:
            client = Share(u.adapter)
            for name, delta in dense_share(client, directions, u.received).items():
                expected[name] += u.examples / total * delta
        state = strategy.aggregate(state, updates).state
        for name, delta in dense(strategy.model(state)).items():
            torch.testing.assert_close(delta, expected[name], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_a_client_starts_at_its_projection_of_the_global_model(method):
    """W0 + s P (D - D0), with P on the first r_k columns of B."""
    strategy, state, directions = started(9, decomposition=method)
    updates = [
        update(i, trained(got := strategy.share(state, rank), seed=i), received=got)
        for i, rank in enumerate([2, 3, 4])
    ]
    state = strategy.aggregate(state, updates).state
    whole = dense(strategy.model(state))
    for rank in (1, 2, 4):
        share = strategy.share(state, rank)
        as_plain_lora = dense(strategy.model(state, rank))
        for name, delta in dense_share(share, directions).items():
            B = share.adapter.factors[name][0].double()
            torch.testing.assert_close(
                delta, B @ (B.T @ whole[name]), atol=1e-5, rtol=0
            )
            torch.testing.assert_close(delta, as_plain_lora[name], atol=1e-5, rtol=0)


def test_first_round_d0_is_the_formula():
    """D0 = sum_k p_k g_k^2 Q[:, :r_k] R[:r_k] with the gain of each client's rank."""
    strategy, state, directions = started(4, init_gain="scaled")
    updates = [
        update(i, (got := strategy.share(state, rank)).adapter, received=got)
        for i, rank in enumerate([2, 4])
    ]
    offset = strategy.aggregate(state, updates).state.offset
    for name, (Q, R) in directions.items():
        target = 1e-4 * (Q.shape[0] * R.shape[1]) ** 0.5
        expected = sum(
            0.5 * target / torch.linalg.norm(R[:r]) * Q[:, :r] @ R[:r] for r in (2, 4)
        )
        L, same_R = offset[name]
        torch.testing.assert_close(L @ same_R, expected, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_energy_kept_equals_the_dense_ratio(method):
    strategy = ILoRA(**PUBLISHED | {"decomposition": method}, qr_start=False)
    updates = [update(i, random_state(4, seed=i)) for i in range(3)]
    made = strategy.aggregate(GlobalState(random_state(4)), updates)
    whole = sum(
        torch.linalg.norm(
            sum(u.adapter.factors[n][0].double() @ u.adapter.factors[n][1].double() / 3
                for u in updates)
        ) ** 2
        for n in SHAPES
    )  # fmt: skip
    for rank in range(1, 5):
        cut = made.state.adapter.factors.cut(rank)
        kept = sum(
            torch.linalg.norm((B @ A).double()) ** 2 for _, (B, A) in cut.items()
        )
        assert made.energy[rank - 1] == pytest.approx(float(kept / whole), rel=1e-4)


def test_standard_start_has_no_offset():
    strategy = ILoRA(**PUBLISHED, qr_start=False)
    state = strategy.begin(AdapterState(random_factors(4), {}))
    share = strategy.share(state, 2)
    assert not share.coefficients
    assert torch.equal(
        share.adapter.factors["encoder.query"][0],
        state.adapter.factors["encoder.query"][0][:, :2],
    )


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="decomposition 'lu'"):
        ILoRA(decomposition="lu")
    with pytest.raises(ValueError, match="increments"):
        ILoRA(aggregate="products", step=ServerStep(1.5))
    with pytest.raises(ValueError, match="nonsense"):
        FlexLoRA(aggregate="nonsense")
    with pytest.raises(ValueError, match="increments"):
        FlexLoRA(step=ServerStep(1.5))
    with pytest.raises(ValueError, match="init_gain 'big'"):
        ILoRA(init_gain="big")
