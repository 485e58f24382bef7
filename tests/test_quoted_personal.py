"""What documents say of methods whose clients keep models of their own."""

from pathlib import Path

import pytest

from benchmarks import analysis, personal
from benchmarks.analysis import cell
from benchmarks.design import PERSONAL, TABLES
from benchmarks.recorded import COMMITTED, Run, Study

ROOT = Path(__file__).parent.parent
PLACES = [
    *[(task, "skewed") for task in ("clinc150", "banking77", "cifar10")],
    *[(task, "mild") for task in ("clinc150", "banking77")],
]


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(COMMITTED)


def said(name: str) -> str:
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def gap(study: Study, task: str, setting: str, row: str):
    cells = [cell(study, task, setting, name) for name in (row, "ilora")]
    return personal.own_difference(*cells)


@pytest.mark.parametrize(("task", "setting"), PLACES)
def test_tables_are_those_of_the_runs(study, task, setting):
    told = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    made = personal.table(study, task, setting)
    assert len(made) == 2 + len(TABLES["personal"])
    assert not [line for line in made if line not in told]
    assert all(line.endswith("| 5 |") for line in made[2:])


def test_they_stand_in_no_table_of_the_model_that_all_share():
    assert not set(PERSONAL) & TABLES["strategies"].keys()
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    study = text.split("## The study of strategies")[1].split("\n## ")[0]
    blocks = [b.splitlines() for b in study.split("\n\n") if b.startswith("| ")]
    rows = [(b[0], line) for b in blocks for line in b]
    found = {head for head, line in rows if line.startswith(("| fedsa", "| local"))}
    assert len(found) == len(PLACES)
    assert all("clients' own data" in head for head in found)


@pytest.mark.parametrize("row", ["fedsa-lora", "local"])
@pytest.mark.parametrize(("task", "setting"), PLACES)
def test_sentences_are_those_of_the_runs(study, task, setting, row):
    text = said("docs/results.md").split("- **A client that will only ever see")[1]
    found = gap(study, task, setting, row)
    words = f"{found.mean:+.3f} ± {found.half:.3f}".replace("0.", ".")
    if row == "fedsa-lora":
        assert words in text.split("- **What it costs**")[0]
        assert found.excludes_zero == ((task, setting) != ("banking77", "mild"))
    elif (task, setting) == ("cifar10", "skewed"):
        assert words in text
    elif setting == "mild":
        assert f"{-found.mean:.3f}"[1:] in text
    if (task, row) == ("clinc150", "fedsa-lora"):
        assert words.lstrip("+-") in said("README.md")


def run_of(row: str, seed: int, own: float, test: float) -> tuple[Run, dict]:
    end = {"round": 12, "client_accuracy_mean": own, "accuracy": test, "bytes_up": 0}
    end |= {"client_accuracy_worst": own / 2}
    return Run("a", "skewed", row, 0.003, seed), {"rows": [end], "seconds": 1.0}


def test_rows_are_ordered_and_paired_by_what_clients_have_on_their_own(tmp_path):
    study = Study(tmp_path / "runs.jsonl")
    # The same gap in every seed would have no interval.
    for row, own, more, test in (
        ("ilora", 0.5, 0.01, 0.9), ("local", 0.75, 0.0101, 0.25),
    ):  # fmt: skip
        for seed in range(3):
            study.add(*run_of(row, seed, own + more * seed, test))
            for rate in (0.001, 0.01):  # tried too, and worse
                run, result = run_of(row, seed, 0.1, 0.1)
                study.add(Run(run.task, run.setting, row, rate, seed), result)
    study.add(*run_of("ilora", 3, 0.0, 0.0))  # a seed of one row alone pairs nothing
    found = personal.own_difference(
        *[cell(study, "a", "skewed", r) for r in ("local", "ilora")]
    )
    assert (found.mean, found.seeds) == (pytest.approx(0.2501), 3)
    lines = personal.table(study, "a", "skewed")
    assert lines[2].startswith("| local | 0.760 | **+0.250 ± 0.000** | 0.380 | 0.250 |")
    assert lines[3].startswith("| ilora | 0.383 |  | 0.191 | 0.675 |")
    assert analysis.table(study, "a", "skewed", ["local", "ilora"], "ilora")[
        2
    ].startswith("| ilora |")
