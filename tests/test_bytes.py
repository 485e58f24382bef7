"""What goes up and down in arrays, against the formulas, to the last byte."""

from math import prod

import pytest

from benchmarks.formulas import FORMULAS, HEADLESS, Sizes
from ilora_app import wire
from ilora_app.settings import MethodSettings
from tests.oracles import TABLE, Row
from tests.quadratic import HEAD_SHAPE, Problem
from tests.toy import Toy

SHAPES = {"encoder.query": (40, 30), "encoder.value": (24, 36)}
RANKS = (1, 2, 3)
WHOLE = sum(d_out * d_in for d_out, d_in in SHAPES.values())
SIZES = Sizes(64, 66, len(SHAPES), RANKS, WHOLE)
HEAD = prod(HEAD_SHAPE)
L = SIZES.both


def floats(content, *records: str) -> int:
    """Numbers in the array records named, 4 bytes each."""
    there = [content[r] for r in records if r in content]
    parts = [p for record in there for p in wire.unpack(record, "record").values()]
    assert all(p.dtype == "float32" for p in parts)
    found = sum(prod(p.shape) for p in parts)
    sent = sum(len(array.data) for record in there for array in record.values())
    assert sent <= 4 * found + 16 * len(there) + 70 * len(parts)
    return found


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


plain = [row for row in TABLE if str(row) not in ("hetlora", "lora-a2")]


@pytest.mark.parametrize("row", plain, ids=str)
def test_floats_up_and_down_are_the_formula(row):
    up, down = FORMULAS[str(row)]
    for number, t, asked, replied in rounds(row, 4):
        of, alone = (SIZES, t.rank, number), str(row) in HEADLESS
        head = 0 if alone else HEAD
        assert floats(replied, wire.ARRAYS, wire.EXTRA) == up(*of) + head
        head = 0 if alone and number > 1 else HEAD
        assert floats(asked, wire.ARRAYS, wire.BASE) == down(*of) + head
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
        assert sum(int(mask.sum()) for mask in masks.values()) == t.rank * len(SHAPES)
        side = 0 if number % 2 else 1
        sent = sum(int(masks[m].sum()) * SHAPES[m][side] for m in masks)
        assert floats(replied, wire.ARRAYS) == sent + HEAD
        assert floats(replied, wire.SLOTS) == max(RANKS) * len(SHAPES)
        assert floats(asked, wire.ARRAYS) == SIZES.changed(max(RANKS), number) + HEAD


def test_every_strategy_has_a_formula():
    assert {str(row) for row in TABLE} <= set(FORMULAS)


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
        "ffa-lora": 2 * SIZES.d_out + HEAD,
        "rolora": L(2) + HEAD,  # two factors have changed since
        "lora-a2": L(3) + HEAD,
        "local": 0,
    }
    run.round()
    got = floats(run.grid.asked[2].content, wire.ARRAYS)
    assert got == (missed[name] if fault == "absent" else everything)
    assert len(run.grid.taken) == 3
