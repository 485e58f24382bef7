"""Defects seen in released code of federated LoRA: one test for each."""

import pytest
import torch

from ilora_app.corrections import ControlVariates
from ilora_app.lora.factors import mean_factors
from ilora_app.settings import MethodSettings
from ilora_app.strategies import FedExLoRA, FedIT, FFALoRA, FLoRA, HetLoRA
from tests.builders import SHAPES, random_factors
from tests.oracles import TABLE, Row, mean
from tests.quadratic import HEAD, HEAD_SHAPE, Problem, Taken, dense
from tests.toy import Toy

every = pytest.mark.parametrize("row", TABLE, ids=str)
RANKS, EXAMPLES = (1, 2, 4), (10, 70, 20)
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.mark.parametrize("node", [1, 2, 3])
@pytest.mark.parametrize("qr_start", [False, True])
def test_every_client_counts_in_the_sum(node, qr_start):
    """FedIT summed the first client alone: a misspelt variable."""
    models = []
    for shift in (0.0, 1.0):
        problem = Problem((2, 2, 2), EXAMPLES, rate=0.002)
        target = problem.targets[node - 1]
        problem.targets[node - 1] = {m: M + shift for m, M in target.items()}
        run = Toy(FedIT(qr_start=qr_start), problem)
        run.round()
        run.round()
        models.append(run.model())
    for module in SHAPES:
        assert (models[0][module] - models[1][module]).norm() > 1e-3


@every
def test_a_client_starts_at_the_model_and_adds_nothing_twice(row: Row):
    """Baseline clients loaded a merged base and the same factors again."""
    run = Toy(row.make(), Problem(RANKS, EXAMPLES))
    for _ in range(4):
        before = run.state
        for t in run.round():
            if run.strategy.method.personal or run.strategy.method.whole_model:
                continue
            held = dense(run.strategy.method.model(before, t.rank).factors)
            for module in SHAPES:
                B, A = (x.double() for x in t.start.factors[module])
                found = B @ A + t.base.get(module, 0) - t.offset.get(module, 0)
                expected = held.get(module, torch.zeros(SHAPES[module]))
                torch.testing.assert_close(found, expected.double(), **CLOSE)


def test_floras_base_holds_every_round():
    """A merged base forgot the rounds before the last."""
    run = Toy(FLoRA(), Problem(RANKS, EXAMPLES))
    total = {m: torch.zeros(shape).double() for m, shape in SHAPES.items()}
    for number in range(4):
        taken = run.round()
        for t in taken:
            for module in SHAPES if number else ():
                torch.testing.assert_close(t.base[module], total[module], **CLOSE)
        for module, added in mean(taken, Taken.product).items():
            assert added.norm() > 0.01
            total[module] += added
    for module in SHAPES:
        torch.testing.assert_close(run.model()[module], total[module], **CLOSE)


def test_ffa_loras_a_never_moves():
    """A was trainable in fact."""
    run = Toy(FFALoRA(), Problem(RANKS, EXAMPLES))
    first = {m: A.clone() for m, (_, A) in run.state.adapter.factors.items()}
    for _ in range(3):
        for t in run.round():
            for module, (B, A) in t.trained.factors.items():
                assert torch.equal(A, first[module][: t.rank])
                assert B.norm() > 0
        for module, (_, A) in run.state.adapter.factors.items():
            assert torch.equal(A, first[module])


@every
def test_head_is_averaged_and_sent_to_all(row: Row):
    """Some strategies averaged the head, others began a new one on every client."""
    run = Toy(row.make(), Problem(RANKS, EXAMPLES))
    heads = {t.node: torch.zeros(HEAD_SHAPE) for t in run.round()}
    for t in run.history[0]:
        assert torch.equal(t.start.head[HEAD], heads[t.node])
    for _ in range(2):
        last = run.history[-1]
        found = mean(last, lambda t: {HEAD: t.trained.head[HEAD].double()})[HEAD]
        for t, before in zip(run.round(), last, strict=True):
            own = before.trained.head[HEAD]
            head = own if row.name == "local" else found.float()
            torch.testing.assert_close(t.start.head[HEAD], head)


def test_fedex_residual_is_not_transposed():
    """On square layers, where a transpose fits."""
    run = Toy(FedExLoRA(), Problem(RANKS, EXAMPLES, shapes={"layer": (10, 10)}))
    for _ in range(3):
        taken = run.round()
        model = mean(taken, Taken.model)["layer"]
        assert (model - model.T).norm() > 0.1 * model.norm()
        torch.testing.assert_close(run.model()["layer"], model, **CLOSE)


def test_hetloras_penalty_carries_its_gradient():
    """Terms went through ``.item()``; here the step moves by their gradient."""
    runs = [
        Toy(
            HetLoRA(),
            Problem((3,), (10,), steps=1),
            MethodSettings(hetlora_lambda=strength, hetlora_gamma=0.7),
        )
        for strength in (0.0, 0.4)
    ]
    for run in runs:  # the first step leaves B = 0 behind, where the norm has no slope
        run.grid.settings = MethodSettings(hetlora_lambda=0.0, hetlora_gamma=0.7)
        run.round()
        run.problem.rate = 0.02
    runs[1].grid.settings = MethodSettings(hetlora_lambda=0.4, hetlora_gamma=0.7)
    (plain,), (pulled,) = (run.round() for run in runs)
    for module in SHAPES:
        B, A = (x.double() for x in plain.start.factors[module])
        b, a = B[:, 2:].norm(), A[2:].norm()
        slope = torch.zeros_like(B), torch.zeros_like(A)
        slope[0][:, 2:] = 0.4 * a / b * B[:, 2:]
        slope[1][2:] = 0.4 * b / a * A[2:]
        for side in (0, 1):
            moved = (
                pulled.trained.factors[module][side]
                - plain.trained.factors[module][side]
            )
            assert slope[side].norm() > 1e-3
            torch.testing.assert_close(
                moved.double(), -0.02 * slope[side], atol=1e-7, rtol=1e-3
            )


def test_control_variates_move_the_step():
    """The step is on g + c - c_k, with c_k the gradient of the round before."""
    runs = [
        Toy(FedIT(drift_correction=c), Problem((2, 2), (10, 30), steps=1, rate=0.02))
        for c in (None, ControlVariates())
    ]
    firsts, seconds = zip(*((run.round(), run.round()) for run in runs), strict=True)

    def flat(t: Taken, which: str) -> dict[str, torch.Tensor]:
        return getattr(t, which).named_tensors()

    own = [
        {n: (v - flat(t, "trained")[n]) / 0.02 for n, v in flat(t, "start").items()}
        for t in firsts[1]
    ]
    for k in (0, 1):
        for name, plain in flat(seconds[0][k], "trained").items():
            c = 0.25 * own[0][name] + 0.75 * own[1][name]  # 10 and 30 examples
            expected = -0.02 * (c - own[k][name])
            moved = flat(seconds[1][k], "trained")[name] - plain
            torch.testing.assert_close(moved, expected, atol=2e-6, rtol=1e-3)
            if "lora_A" not in name:  # its gradient is zero while B is
                assert expected.norm() > 1e-4


def test_a_factor_of_rank_one_does_not_spread_over_the_others():
    """Numpy's ``+=`` broadcasts a column over all columns of a larger factor."""
    small, large = random_factors(1, seed=1), random_factors(4, seed=2)
    for parts in ((small, large), (large, small)):
        weights = [0.25 if part is small else 0.75 for part in parts]
        for module, (B, A) in mean_factors(parts, weights).items():
            torch.testing.assert_close(B[:, 1:], 0.75 * large[module][0][:, 1:])
            torch.testing.assert_close(A[1:], 0.75 * large[module][1][1:])
            first = 0.25 * small[module][0] + 0.75 * large[module][0][:, :1]
            torch.testing.assert_close(B[:, :1], first)


@every
def test_aggregation_leaves_the_state_before_alone(row: Row):
    """Sums in place would move the model that clients were told they hold."""
    run = Toy(row.make(), Problem(RANKS, EXAMPLES))
    run.round()
    state = run.state
    before = {n: t.clone() for n, t in state.adapter.named_tensors().items()}
    run.round()
    for name, value in state.adapter.named_tensors().items():
        assert torch.equal(value, before[name])
    after = run.state.adapter.named_tensors()
    moved = any(not torch.equal(value, before[n]) for n, value in after.items())
    assert moved == (row.name != "local")
