"""``ilora compare`` with real runs of a tiny model: run, resume, fail, report."""

import csv
import json
from pathlib import Path
from typing import Any

import pandas
import pytest
from typer.testing import CliRunner, Result

from ilora_app.cli import app
from ilora_app.compare.runner import locked
from ilora_app.settings import Settings, parsing
from tests.local_run import metrics, run

pytestmark = pytest.mark.slow  # runs jobs in worker processes

OUTPUTS = {"table.md", "table.csv", "table.tex", "index.html"} | {
    f"{name}.{kind}"
    for name in ("final", "curves", "cost")
    for kind in ("png", "pdf", "svg")
}
ROWS = "ilora,ilora+drift-correction=none"


def compare(out: Path, settings: dict[str, Any], *words: str) -> Result:
    """The command with a tiny job; ``words`` go last and win."""
    pairs = [f"--set={key}={value}" for key, value in settings.items()]
    command = ["compare", "--out", str(out), "--engine", "local", "--clients", "3"]
    command += ["--workers", "1", "--seeds", "2", "--lr", "0.003,0.03", *pairs]
    return CliRunner().invoke(app, [*command, *words])


@pytest.fixture(scope="module")
def tiny(tiny_model, small_data) -> dict[str, Any]:
    """What makes a run take a second."""
    return {
        "model": tiny_model,
        "dataset": small_data,
        "num-server-rounds": 2,
        "local-steps": 2,
        "min-partition-size": 5,
        "client-ranks": "2,4,8",
        "eval-batch-size": 100,
        "report": "false",
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory, tiny) -> tuple[Path, Result]:
    """Two rows, two rates and two seeds, three runs a row; and the linear probe."""
    out = tmp_path_factory.mktemp("comparison")
    return out, compare(out, tiny, "--strategies", ROWS)


def runs(out: Path) -> dict[str, Any]:
    files = sorted(out.glob("runs/**/seed-*.json"))
    return {str(f.relative_to(out / "runs")): json.loads(f.read_text()) for f in files}


def test_it_runs_the_grid_on_one_seed_and_the_chosen_rate_on_the_others(done):
    out, result = done
    assert result.exit_code == 0, result.output
    assert {file.name for file in out.iterdir()} > OUTPUTS
    found = runs(out)
    assert len(found) == 3 + 3 + 2, "the linear probe has one rate"
    assert {record["status"] for record in found.values()} == {"finished"}
    seeds = [name for name in found if name.endswith("seed-1.json")]
    assert len(seeds) == 3, "one rate a row"
    lines = result.output.splitlines()
    assert lines[0].startswith("[1/8] default / ilora / lr 0.003 / seed 0: accuracy 0.")
    assert [line for line in lines if line.startswith("[8/8]")]


def test_rows_differ_in_what_they_say_and_in_nothing_else(done):
    out, _ = done
    places = [out / "runs/default" / row for row in ROWS.split(",")]
    configs = [
        json.loads((place / "lr-0.003/seed-0.json").read_text())["config"]
        for place in places
    ]
    differing = {key for key in configs[0] if configs[0][key] != configs[1][key]}
    assert differing == {"drift-correction", "output-dir"}


def test_the_table_holds_the_numbers_of_the_run_folders(done):
    out, _ = done
    rows = list(csv.DictReader((out / "table.csv").open()))
    kinds = {"method": ROWS.split(","), "bound": ["linear-probe"]}
    kinds["baseline"] = ["guessing the commonest class"]
    for kind, names in kinds.items():
        assert {row["method"] for row in rows if row["kind"] == kind} == set(names)
    for row in (row for row in rows if row["kind"] == "method"):
        place = out / "runs/default" / row["method"]
        place /= f"lr-{float(row['learning_rate']):g}"
        tables = [metrics(place / f"seed-{seed}", times=True) for seed in (0, 1)]
        last = [table.iloc[-1] for table in tables]
        for column, name in (
            ("final_accuracy", "accuracy"),
            ("worst_client", "client_accuracy_worst"),
            ("accuracy_r4", "accuracy_r4"),
        ):
            values = pandas.Series([row[name] for row in last])
            assert float(row[f"{column}_mean"]) == pytest.approx(values.mean())
            assert float(row[f"{column}_std"]) == pytest.approx(values.std(ddof=1))
        up = pandas.Series([table["bytes_up"].mean() / 1e6 for table in tables])
        assert float(row["mb_up_mean"]) == pytest.approx(up.mean())


def test_a_run_in_a_worker_is_the_run_of_the_app_to_the_last_bit(done, tiny, tmp_path):
    """Also the last of several in one process, whose caches are full by then."""
    out, _ = done
    (name,) = [n for n in runs(out) if n.startswith("default/ilora/") and "seed-1" in n]
    record = runs(out)[name]
    settings = parsing.dump(Settings()) | record["config"]
    folder, *_ = run(settings | {"output-dir": str(tmp_path / "run")}, nodes=3)
    theirs = metrics(out / "runs" / name.removesuffix(".json"))
    pandas.testing.assert_frame_equal(metrics(folder), theirs, check_exact=True)


def test_finished_runs_are_not_run_again_and_interrupted_ones_are(done, tiny):
    out, _ = done
    before = {name: (out / "runs" / name).stat().st_mtime_ns for name in runs(out)}
    removed = "default/ilora/lr-0.003/seed-0.json"
    (out / "runs" / removed).unlink()
    half = out / "runs" / removed.removesuffix(".json") / "half-written"
    half.write_text("")
    result = compare(out, tiny, "--strategies", ROWS)
    assert result.exit_code == 0, result.output
    assert "7 of 8 runs are there already" in result.output
    after = {name: (out / "runs" / name).stat().st_mtime_ns for name in runs(out)}
    assert {name for name in before if before[name] != after[name]} == {removed}
    assert not half.exists()


def test_another_config_under_the_same_name_is_refused(done, tiny):
    out, _ = done
    result = compare(out, tiny, "--strategies", ROWS, "--set", "local-steps=3")
    assert result.exit_code == 2
    assert "local-steps (2, now 3) in 8 runs" in result.output
    assert "choose another --out" in result.output


def test_a_second_comparison_in_the_folder_is_refused(done, tiny):
    out, _ = done
    with locked(out):
        result = compare(out, tiny, "--strategies", ROWS)
    assert result.exit_code == 2
    assert "a comparison is at work in it" in result.output


def test_the_report_alone_can_be_written_again(done):
    out, _ = done
    before = (out / "table.csv").read_text()
    for name in OUTPUTS:
        (out / name).unlink()
    words = ["compare", "--out", str(out), "--report-only"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert (out / "table.csv").read_text() == before
    assert {file.name for file in out.iterdir()} > OUTPUTS


def test_a_script_reads_what_the_table_holds(done):
    out, _ = done
    words = ["compare", "--out", str(out), "--report-only", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    said = json.loads(line)
    assert (said["folder"], said["failures"]) == (str(out), [])
    assert {Path(file).name for file in said["files"]} == OUTPUTS
    rows = list(csv.DictReader((out / "table.csv").open()))
    texts = [
        {key: "" if v is None else str(v) for key, v in row.items()}
        for row in said["rows"]
    ]
    assert texts == rows


def test_a_failed_run_shows_with_its_reason_and_is_run_again(tmp_path, tiny):
    words = ("--strategies", "ilora,ilora+client-ranks=999", "--lr", "0.003")
    words += ("--seeds", "1")
    result = compare(tmp_path, tiny, *words)
    assert result.exit_code == 1
    reason = "client-ranks = 999: expected ranks up to 32"
    for name in ("table.md", "index.html"):
        text = (tmp_path / name).read_text()
        assert reason in text
        assert "client-ranks=999, lr 0.003, seed 0" in text
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    finished, failed = ["finished", "finished", "computed"], ["failed"]
    assert [row["status"] for row in rows] == finished + failed
    assert reason in rows[-1]["reason"]
    log = tmp_path / "runs/default/ilora+client-ranks=999/lr-0.003/seed-0.log"
    assert "ConfigError" in log.read_text()
    again = compare(tmp_path, tiny, *words, "--json")
    assert "2 of 3 runs are there already" in again.stderr
    assert "[3/3]" in again.stderr
    assert again.exit_code == 1
    (failure,) = json.loads(again.stdout)["failures"]
    assert failure["runs"] == "ilora+client-ranks=999, lr 0.003, seed 0"
    assert reason in failure["reason"]


def test_mistakes_come_together_and_nothing_is_run(tmp_path, tiny):
    out = tmp_path / "out"
    result = compare(out, tiny, "--strategies", "nope", "--lr", "x", "--set", "y=1")
    assert result.exit_code == 2
    for part in ("3 mistakes", "--strategies nope", "--lr 'x'", "y = 1"):
        assert part in result.output, part
    assert not out.exists()
