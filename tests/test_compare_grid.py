"""``ilora compare --grid``: what a value of a setting is worth, paired by seed."""

import json
import math

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.compare import heat_map
from ilora_app.compare.grid import Grid
from ilora_app.compare.intervals import Difference
from ilora_app.compare.request import Request, RequestError
from ilora_app.settings.method import CORRECTIONS
from tests.made_up import entry, finish, plan, rounds, section_of

TEXT = "strategy x drift-correction"


def made_up(tmp_path, cells: dict[str, list[float | None]]):
    """A section with a final accuracy for every seed of every row."""
    seeds = max(map(len, cells.values()))
    made = plan(tmp_path, *map(entry, cells), seeds=seeds)
    for one in made.entries:
        for seed, value in enumerate(cells[one.row.name]):
            if value is not None:
                finish(made.job(one, 0.003, seed), rounds(0.1, value))
    return section_of(made)


def test_the_grid_is_every_strategy_with_every_correction_and_none_first():
    grid = Grid.parse(TEXT)
    assert grid.values[0] == "none"
    assert set(grid.values) == {"none", *CORRECTIONS}
    found, left_out = Request("fedit,ilora", grid=TEXT, seeds=1).plan("out")
    names = [one.row.name for one in found.entries]
    for value in grid.values:
        assert f"fedit+drift-correction={value}" in names
    refused = {f"ilora+drift-correction={name}" for name in ("fedsmoo", "fedglomo")}
    assert not refused & set(names)
    assert all(any(text.startswith(name) for text in left_out) for name in refused)


@pytest.mark.parametrize(
    "text", ["drift-correction", "strategy x learning-rate", "seed x drift-correction"]
)
def test_another_grid_is_refused_with_the_keys_that_there_are(text):
    right = "expected 'strategy x KEY' with KEY one of"
    with pytest.raises(RequestError, match=right):
        Request("fedit", grid=text).plan("out")


def test_differences_are_paired_by_seed_with_the_interval_of_student_s_t(tmp_path):
    section = made_up(
        tmp_path,
        {
            "fedit+drift-correction=none": [0.5, 0.7, 0.6, None],
            "fedit+drift-correction=fedprox": [0.52, 0.73, 0.61, 0.9],
            "fedit+drift-correction=fedzmg": [None, 0.6, None, None],
            "ilora+drift-correction=none": [0.8, 0.8, 0.8, 0.8],
        },
    )
    found = Grid.parse(TEXT).differences(section)
    gaps = np.array([0.02, 0.03, 0.01])
    interval = stats.t.interval(0.95, 2, gaps.mean(), stats.sem(gaps))
    one = found["fedit", "fedprox"]
    assert (one.mean - one.half, one.mean + one.half) == pytest.approx(interval)
    assert one.seeds == 3
    assert found["fedit", "fedzmg"] == Difference(pytest.approx(-0.1), math.inf, 1.0, 1)
    assert set(found) == {("fedit", "fedprox"), ("fedit", "fedzmg")}


def test_an_interval_covers_the_true_difference_at_its_level(tmp_path):
    """400 comparisons of five seeds; seeds differ more than methods do."""
    draw = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        gaps = 0.02 + 0.01 * draw.standard_normal(5)
        half = stats.t.ppf(0.975, 4) * gaps.std(ddof=1) / math.sqrt(5)
        hits += abs(gaps.mean() - 0.02) <= half
    assert hits / 400 == pytest.approx(0.95, abs=0.03)
    base = 0.5 + 0.1 * draw.standard_normal(5)
    gaps = 0.02 + 0.001 * draw.standard_normal(5)
    section = made_up(
        tmp_path,
        {
            "fedit+drift-correction=none": list(base),
            "fedit+drift-correction=fedprox": list(base + gaps),
        },
    )
    (one,) = Grid.parse(TEXT).differences(section).values()
    assert one.mean == pytest.approx(gaps.mean())
    assert one.excludes_zero
    assert one.half < 0.01 < np.std(base)  # not that of the seeds


def test_the_table_and_the_heat_map_show_them(tmp_path):
    section = made_up(
        tmp_path,
        {
            "fedit+drift-correction=none": [0.5, 0.7],
            "fedit+drift-correction=fedprox": [0.6, 0.8002],
            "ilora+drift-correction=none": [0.8, 0.8],
        },
    )
    grid = Grid.parse(TEXT)
    lines = grid.markdown(section)
    assert lines[2].startswith("| | control-variates | fedprox |")
    assert lines[4] == "| fedit | – | **+0.100 ± 0.001** | – | – | – | – | – | – |"
    assert lines[5] == "| ilora | – | – | – | – | – | – | – | – |"
    assert heat_map.draw(grid, [section])["png"].startswith(b"\x89PNG")
    empty = made_up(tmp_path / "empty", {"fedit+drift-correction=none": [None]})
    assert heat_map.draw(grid, [empty])["png"].startswith(b"\x89PNG")


@pytest.mark.long
def test_a_grid_of_real_runs_from_the_command(tmp_path, tiny_model, small_data):
    changes = {
        "model": json.dumps(tiny_model),
        "dataset": json.dumps(small_data),
        "head": '"trained"',
        "local-steps": "1",
        "num-server-rounds": "1",
        "min-partition-size": "1",
        "client-ranks": '"2,4"',
    }
    words = ["compare", "--strategies", "fedit,flora", "--grid", TEXT, "--seeds", "2"]
    words += ["--lr", "0.003", "--clients", "2", "--engine", "local", "--json"]
    words += ["--out", str(tmp_path / "out")]
    for key, value in changes.items():
        words += ["--set", f"{key}={value}"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    table = (tmp_path / "out" / "table.md").read_text()
    assert "## default: drift-correction" in table
    (row,) = [line for line in table.splitlines() if line.startswith("| fedit | ")]
    assert row.count("±") == len(CORRECTIONS)
    (row,) = [line for line in table.splitlines() if line.startswith("| flora | ")]
    assert row.count("±") == 5  # no basis: no fedsmoo, no fedglomo, no c on factors
    assert (tmp_path / "out" / "grid.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "What drift-correction is worth" in page


@pytest.mark.parametrize(
    ("colour", "text"),
    [
        ("#7f3b08", "white"),
        ("#e08214", "black"),
        ("#2d004b", "white"),
        ("#f7f7f7", "black"),
    ],
)
def test_text_on_a_cell_can_be_told_from_it(colour, text):
    assert heat_map.text_on(colour) == text
