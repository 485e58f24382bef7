"""Every strategy against a dense float64 oracle, through the real messages."""

import pytest
import torch

from ilora_app.methods import METHODS
from ilora_app.strategies import LoraStrategy
from tests.oracles import TABLE, Row, expected, size
from tests.quadratic import HEAD, SCALING, Problem
from tests.start_oracles import start_of
from tests.toy import Toy

# The oracle of LoRA-FAIR searches for a minimum by itself.
SLOW = {"lora-fair": [pytest.mark.slow]}
every = pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=str(row), marks=SLOW.get(str(row), [])) for row in TABLE],
)

# Unequal ranks and unequal examples: four directions cannot hold the mean of all.
RANKS, EXAMPLES = (1, 2, 4, 3), (10, 70, 20, 40)
# Node 4 joins late; node 2 drops out and comes back; replies fail in every way.
EVENTS = [
    {"n4": "absent"},
    {"n4": "absent", "n2": "absent"},
    {"n3": "lost"},
    {"n1": "error", "n2": "crash"},
    {},
]


def toy(row: Row, **problem) -> Toy:
    settings = {"ranks": RANKS, "examples": EXAMPLES} | problem
    return Toy(row.make(), Problem(**settings))


def check(row: Row, run: Toy) -> None:
    oracle = expected(row, run.problem, run.history)
    found = run.model()
    assert set(found) == set(oracle)
    for name, value in found.items():
        close = row.tolerance * size(run.history, name)
        assert float((value - oracle[name]).norm()) <= close, name


@every
def test_global_model_is_the_oracle_in_every_round(row):
    run = toy(row)
    for events in EVENTS:
        events = {} if row.name == "centralized" else events
        assert run.round(**events)
        check(row, run)
    moved = sum(float(v.norm()) for name, v in run.model().items() if name != HEAD)
    assert (moved > 0.1) == (row.name not in ("fedsa-lora", "local"))


MEANS = ("fedit", "hetlora", "lora-fair", "fedex-lora", "fedrot-lora", "fedsa-lora")


@pytest.mark.parametrize("name", [*MEANS, "ffa-lora", "rolora", "ilora"])
def test_directions_that_nobody_returned_once_are_trained_again(name):
    """With A = 0 and B = 0 both gradients would be zero for ever."""
    method = METHODS[name]
    run = Toy(LoraStrategy(method()), Problem((2, 4, 4), (10, 20, 30), rate=0.003))
    run.round(n2="absent", n3="absent")  # before they have a B of their own, too
    run.round()
    run.round(n2="lost", n3="lost")
    for _ in range(4):
        run.round()
    for _, (B, A) in run.state.adapter.factors.items():
        assert bool(A[2:].any(dim=1).all())
        assert method.personal or bool(B[:, 2:].any(dim=0).all())


@every
def test_clients_start_from_what_the_equations_say(row):
    run = toy(row)
    for events in EVENTS:
        events = {} if row.name == "centralized" else events
        before, last = list(run.history), dict(run.grid.last)
        for t in run.round(**events):
            own = last.get(t.node)
            for m, value in start_of(row, run.problem, before, t, own).items():
                found = t.before().get(m)
                if found is None:  # every weight trains: it is in the head
                    found = (t.start.head[m].double() - run.problem.W0[m]) / SCALING
                close = 10 * row.tolerance * max(1.0, float(run.problem.W0[m].norm()))
                assert float((found - value).norm()) <= close, (m, t.rank)


@every
def test_one_client_alone_is_the_model(row):
    run = toy(row, ranks=(3,), examples=(5,))
    for _ in range(3):
        (client,) = run.round()
        check(row, run)
        has_factors = client.sent.factors.pairs and not run.strategy.method.personal
        if row.alone and has_factors:
            for name, value in client.model().items():
                close = row.tolerance * size(run.history, name)
                assert float((run.model()[name] - value).norm()) <= close


@every
def test_order_of_replies_changes_no_bit(row):
    there, back = toy(row), toy(row)
    back.grid.reverse = True
    for events in EVENTS:
        events = {} if row.name == "centralized" else events
        there.round(**events)
        back.round(**events)
    one, other = (
        run.strategy.method.model(run.state).named_tensors() for run in (there, back)
    )
    assert set(one) == set(other)
    for name, value in one.items():
        assert torch.equal(value, other[name])


@every
def test_weights_are_numbers_of_examples(row):
    """A client with nearly all examples decides; hetlora weighs factors by norm."""
    run = toy(row, ranks=(2, 2), examples=(1, 10**9))
    _, big = run.round() if row.name != "centralized" else (None, run.round()[0])
    if row.name == "local":
        return
    torch.testing.assert_close(run.model()[HEAD].float(), big.sent.head[HEAD])
    if row.exact and big.sent.factors.pairs:
        for name, value in big.model().items():
            torch.testing.assert_close(run.model()[name], value, atol=1e-6, rtol=1e-5)


@every
def test_a_round_without_replies_changes_nothing(row):
    run = toy(row, ranks=(2, 4), examples=(5, 6))
    run.round()
    before = run.model()
    run.round(n1="lost", n2="error")
    assert run.arrays_out is None
    for name, value in run.model().items():
        assert torch.equal(value, before[name])
    assert run.round()
    check(row, run)
