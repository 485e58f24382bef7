"""The table under differential privacy, of made-up runs whose differences are known."""

import math
import random

import pytest

from benchmarks import private_table
from benchmarks.private import Record, Run
from benchmarks.private_design import CLIENT, LADDER, LEVELS

RATE, CLIP = CLIENT.rates[0], CLIENT.clips[1]
BEHIND = {"ilora": 0.0, "ilora-qr": 0.0, "flexlora": 0.3}
BEHIND |= {"fedit": 0.2, "ffa-lora": 0.1, "fedavg-full": 0.4}


def result(loss: float) -> dict:
    start = {"round": 0, "loss": 4.5, "perplexity": math.exp(4.5)}
    end = {"round": 4, "loss": loss, "perplexity": math.exp(loss)}
    end["client_loss_mean"] = loss
    return {"rows": [start, end], "seconds": 36.0}


@pytest.fixture
def record(tmp_path) -> Record:
    """The chosen rate and clip, those beside them, and five seeds of each level."""
    made, draw = Record(tmp_path / "private.jsonl"), random.Random(0)
    place = LADDER.index(RATE), LADDER.index(CLIP)
    for row in CLIENT.rows:
        own = random.Random(row)
        for level in LEVELS:
            private = level != "none"
            for i, rate in enumerate(LADDER):
                for j, clip in enumerate(LADDER) if private else [(place[1], 0.0)]:
                    away = abs(i - place[0]) + abs(j - place[1])
                    if away == 1 and level in ("4", "none"):
                        run = Run("e2e", row, level, rate, clip, 0)
                        made.add(run, result(5.0))
        for seed in range(5):
            hardness = draw.gauss(0, 0.5)  # that all rows share
            for level in LEVELS:
                clip = CLIP if level != "none" else 0.0
                noise = 0.0002 * own.random() + (1 / float(level) if clip else 0)
                made.add(
                    Run("e2e", row, level, RATE, clip, seed),
                    result(3.0 + hardness + noise + BEHIND[row]),
                )
        draw = random.Random(0)
    return made


def test_differences_are_paired(record):
    found = private_table.gaps(record, "e2e", list(CLIENT.rows), LEVELS)
    assert set(found) == {(r, v) for r in CLIENT.rows if r != "ilora" for v in LEVELS}
    for (row, _), (gap, p) in found.items():
        assert gap.mean == pytest.approx(BEHIND[row], abs=1e-3)
        assert gap.seeds == 5
        assert (p < 0.05) is (BEHIND[row] > 0)


def test_a_row_has_its_losses_and_what_they_are_above_ilora(record):
    lines = private_table.table(record, "e2e")
    assert len(lines) == 2 + 2 * len(CLIENT.rows) - 1
    ends = private_table.losses(record, "e2e", "fedit", "1")
    mean = sum(ends.values()) / 5
    at = next(i for i, line in enumerate(lines) if line.startswith("| fedit"))
    assert f"| {RATE:g}, {CLIP:g} | {mean:.3f} ± " in lines[at]
    assert lines[at + 1].count("**+0.200 ± 0.000**") == len(LEVELS)
    assert not any("**" in line for line in lines if "ilora-qr" in line)
    assert private_table.untrained(record, "e2e") == pytest.approx(4.5)


def test_runs_that_chose_are_not_counted(record):
    record.add(Run("e2e", "fedit", "1", LADDER[0], CLIP, 0), result(0.1))
    assert min(private_table.losses(record, "e2e", "fedit", "1").values()) > 2


def test_a_panel_for_each_task_and_a_line_for_each_row(record):
    [axes] = private_table.draw(record, ["e2e"]).axes
    names = axes.get_legend_handles_labels()[1]
    assert names == list(CLIENT.rows)
    assert [t.get_text() for t in axes.get_xticklabels()] == [*LEVELS[:-1], "no noise"]
