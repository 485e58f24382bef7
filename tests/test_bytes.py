"""What goes up and down in arrays, against the formulas, to the last byte."""

from math import prod

import pytest

from ilora_app import wire
from ilora_app.settings import MethodSettings
from tests.oracles import TABLE, Row
from tests.quadratic import HEAD_SHAPE, Problem
from tests.toy import Toy

SHAPES = {"encoder.query": (40, 30), "encoder.value": (24, 36)}
D_OUT, D_IN, LAYERS = 64, 66, 2
RANKS = (1, 2, 3)
R_MIN, R_MAX, RHO = 1, 3, 6
HEAD = prod(HEAD_SHAPE)
WHOLE = sum(d_out * d_in for d_out, d_in in SHAPES.values())


def floats(content, *records: str) -> int:
    """Numbers in the array records named, 4 bytes each."""
    arrays = [a for r in records if r in content for a in content[r].values()]
    assert all(a.dtype == "float32" for a in arrays)
    found = sum(prod(a.shape) for a in arrays)
    assert sum(len(a.data) for a in arrays) <= 4 * found + 200 * len(arrays)
    return found


def L(rank: int) -> int:
    return rank * (D_OUT + D_IN)


def turn(number: int) -> int:
    """Sides of the factor that trains in a round of alternation."""
    return D_OUT if number % 2 else D_IN


def changed(rank: int, number: int) -> int:
    """Both factors at first, then the one that trained in the round before."""
    return L(rank) if number == 1 else rank * turn(number - 1)


# name -> (up, down) of factors, offsets and base, for a rank and a round from 1.
FORMULAS = {
    "ilora": (
        lambda r, t: L(r),
        lambda r, t: L(r) + (t > 1) * LAYERS * r * R_MAX,
    ),
    # The increment of a round holds the rho trained and the r_max received directions.
    "ilora-merge": (lambda r, t: L(r), lambda r, t: L(r) + (t > 1) * L(RHO + R_MAX)),
    "ilora-svd": (lambda r, t: L(r), lambda r, t: L(r)),
    "ilora-default": (lambda r, t: L(r), lambda r, t: L(r)),
    "ilora-products": (lambda r, t: L(r), lambda r, t: L(r)),
    "ilora-update": (lambda r, t: L(r), lambda r, t: L(r)),
    "ilora-update-svd": (lambda r, t: L(r), lambda r, t: L(r)),
    "fedit": (lambda r, t: L(r), lambda r, t: L(r)),
    "fedit-qr": (lambda r, t: L(r), lambda r, t: L(r) + LAYERS * r * R_MAX),
    "flora": (lambda r, t: L(r), lambda r, t: (t > 1) * L(RHO)),
    "ffa-lora": (
        lambda r, t: r * D_OUT,
        lambda r, t: r * D_OUT + (t == 1) * r * D_IN,
    ),
    "lora-fair": (lambda r, t: L(r), lambda r, t: L(r)),
    "flexlora": (lambda r, t: L(r), lambda r, t: L(r)),
    "raflora": (lambda r, t: L(r), lambda r, t: L(r)),
    "fedrot-lora": (lambda r, t: L(r), lambda r, t: L(r)),
    # What was learned, and a sketch of each gradient: of the other side together.
    "fedgalore": (lambda r, t: L(r), lambda r, t: L(r) + (t > 1) * L(R_MAX)),
    # Of an index that all clients hold, weights that sum to 1 leave one direction less.
    "fedex-lora": (lambda r, t: L(r), lambda r, t: L(r) + (t > 1) * L(RHO - R_MIN)),
    "rolora": (lambda r, t: r * turn(t), changed),
    "fedsa-lora": (lambda r, t: r * D_IN, lambda r, t: r * D_IN),
    "centralized": (lambda r, t: L(R_MAX), lambda r, t: L(R_MAX)),
    "local": (lambda r, t: -HEAD, lambda r, t: L(r) if t == 1 else -HEAD),
    "fedavg-full": (lambda r, t: WHOLE, lambda r, t: WHOLE),
}


def federation(row: Row, settings: MethodSettings | None = None) -> Toy:
    problem = Problem(RANKS, (10, 20, 30), shapes=SHAPES, steps=4, rate=0.002)
    return Toy(row.make(), problem, settings)


def rounds(row: Row, count: int, settings: MethodSettings | None = None):
    """Ranks and records of every client in every round."""
    run = federation(row, settings)
    for number in range(1, count + 1):
        for t in run.round():
            asked, replied = (box[t.node] for box in (run.grid.asked, run.grid.replied))
            yield number, t, asked.content, replied.content


plain = [row for row in TABLE if str(row) in FORMULAS]


@pytest.mark.parametrize("row", plain, ids=str)
def test_floats_up_and_down_are_the_formula(row):
    up, down = FORMULAS[str(row)]
    for number, t, asked, replied in rounds(row, 4):
        assert floats(replied, wire.ARRAYS, wire.EXTRA) == up(t.rank, number) + HEAD
        assert floats(asked, wire.ARRAYS, wire.BASE) == down(t.rank, number) + HEAD
        assert set(asked.array_records) <= {wire.ARRAYS, wire.BASE}


def test_hetlora_sends_factors_at_the_rank_a_client_has_come_to():
    (row,) = (row for row in TABLE if row.name == "hetlora")
    ranks: dict[int, int] = {}
    for _, t, asked, replied in rounds(row, 6, MethodSettings(hetlora_lambda=9.0)):
        assert (
            floats(asked, wire.ARRAYS) == L(ranks.get(t.node, RANKS[t.node - 1])) + HEAD
        )
        assert floats(replied, wire.ARRAYS) == L(t.upload.rank) + HEAD
        ranks[t.node] = t.upload.rank
    assert sum(ranks.values()) < sum(RANKS)


def test_lora_a2_sends_its_budget_of_slots_and_receives_one_factor():
    (row,) = (row for row in TABLE if row.name == "lora-a2")
    for number, t, asked, replied in rounds(row, 4):
        masks = t.upload.slots
        assert sum(int(mask.sum()) for mask in masks.values()) == t.rank * LAYERS
        side = 0 if number % 2 else 1
        sent = sum(int(masks[m].sum()) * SHAPES[m][side] for m in masks)
        assert floats(replied, wire.ARRAYS) == sent + HEAD
        assert floats(replied, wire.SLOTS) == R_MAX * LAYERS
        assert floats(asked, wire.ARRAYS) == changed(R_MAX, number) + HEAD


def test_every_strategy_has_a_formula():
    assert {str(row) for row in TABLE} - set(FORMULAS) == {"hetlora", "lora-a2"}


@pytest.mark.parametrize("name", ["ffa-lora", "rolora", "lora-a2", "local"])
@pytest.mark.parametrize("fault", ["absent", "lost", "error", "crash"])
def test_what_a_node_missed_is_sent_again_and_no_more(name, fault):
    (row,) = (row for row in TABLE if row.name == name)
    run = federation(row)
    for _ in range(2):
        run.round()
    run.round(n2=fault)
    everything = {2: L(2), 3: L(3)}[3 if name == "lora-a2" else 2] + HEAD
    missed = {
        "ffa-lora": 2 * D_OUT + HEAD,
        "rolora": L(2) + HEAD,  # two factors have changed since
        "lora-a2": L(3) + HEAD,
        "local": 0,
    }
    run.round()
    got = floats(run.grid.asked[2].content, wire.ARRAYS)
    assert got == (missed[name] if fault == "absent" else everything)
    assert len(run.grid.taken) == 3
