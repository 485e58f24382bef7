"""Tables and differences that documents quote of the study are those of its runs."""

from functools import partial
from pathlib import Path

import pytest

from benchmarks import heat_map, targets
from benchmarks.analysis import cell, difference, table
from benchmarks.design import TABLES
from benchmarks.figure import draw
from benchmarks.recorded import Study
from ilora_app.compare.intervals import Difference

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "benchmarks" / "results" / "evidence" / "runs.jsonl"
INTENTS, BANKING, CIFAR = "clinc150", "banking77", "cifar10"
TASKS = (INTENTS, BANKING, CIFAR, "e2e", "dolly")
DROPPED = "ilora, rest dropped"
MILD = ((INTENTS, "mild"), (BANKING, "mild"))
PLACES = (*[(task, "skewed") for task in TASKS], *MILD)
TRAINED = "fedit, trained head"


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(RUNS)


def text_of(name: str) -> str:
    """A document with its line ends taken for blanks."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


@pytest.mark.parametrize(
    ("task", "name", "setting", "reference"),
    [
        *[(task, "strategies", "skewed", "") for task in TASKS],
        *[(task, "strategies", "mild", "") for task in (INTENTS, BANKING)],
        *[(task, "corrections", "skewed", "") for task in (INTENTS, BANKING)],
        (INTENTS, "wire", "skewed", ""),
        (INTENTS, "ablation", "skewed", ""),
        *[(t, "headroom", "skewed", "linear-probe") for t in (INTENTS, BANKING, CIFAR)],
        *[(t, "headroom", "skewed", "centralized") for t in ("e2e", "dolly")],
    ],
)
def test_tables_are_those_of_the_runs(study, task, name, setting, reference):
    rows = list(TABLES[name])
    made = table(study, task, setting, rows, reference or rows[0])
    told = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    assert made
    assert not [line for line in made if line not in told]


def test_bytes_to_a_target_are_those_of_the_runs(study):
    told = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    made = targets.table(study)
    assert len(made) == 2 + len(TABLES["strategies"])
    assert not [line for line in made if line not in told]


def test_a_target_is_reached_at_the_first_evaluation_that_has_it():
    rows = [
        {"round": 0, "accuracy": 0.9, "loss": 0.1},
        {"round": 1, "bytes_up": 1_000_000, "bytes_down_head": 500_000},
        {"round": 2, "bytes_up": 1_000_000, "accuracy": 0.7, "loss": 1.0},
        {"round": 4, "bytes_up": 1_000_000, "accuracy": 0.8, "loss": 0.8},
    ]
    of = partial(targets.reached, {"rows": rows})
    assert of(0.7, False) == targets.Reached(2, 2.5)
    assert of(0.75, False) == targets.Reached(4, 3.5)
    assert of(0.8, True) == targets.Reached(4, 3.5)
    assert of(0.85, False) is None
    assert of(0.7, True) is None


@pytest.mark.parametrize(
    ("task", "one", "other", "which", "documents"),
    [
        *[
            (task, "fedit", "ilora", "global", ("README.md", "docs/results.md"))
            for task in (INTENTS, BANKING, CIFAR)
        ],
        (INTENTS, "flora", "ilora", "global", ("README.md", "docs/results.md")),
        (INTENTS, "fedgalore", "ilora", "global", ("docs/results.md",)),
        (CIFAR, "fedgalore", "ilora", "global", ("docs/results.md",)),
        (INTENTS, "fedex-lora", "ilora", "smallest", ("docs/results.md",)),
        *[
            (task, "ilora", DROPPED, "global", ("docs/results.md",))
            for task in (INTENTS, BANKING, CIFAR)
        ],
        (INTENTS, "fedit", TRAINED, "global", ("README.md", "docs/results.md")),
        (BANKING, "fedit", TRAINED, "global", ("README.md", "docs/results.md")),
        (INTENTS, "ilora, trained head", TRAINED, "global", ("docs/results.md",)),
        (INTENTS, "+ qr start", TRAINED, "global", ("docs/results.md",)),
        (INTENTS, "+ concatenated qr", "+ qr start", "global", ("docs/results.md",)),
        (
            INTENTS,
            "ilora, trained head",
            "+ concatenated qr",
            "global",
            ("README.md", "docs/results.md"),
        ),
        (INTENTS, "ilora", "centralized", "global", ("README.md", "docs/results.md")),
        (BANKING, "ilora", "centralized", "global", ("docs/results.md",)),
        (INTENTS, "ilora, published cut", "ilora", "global", ("docs/results.md",)),
        *[
            (task, f"{row} + control-variates", row, "global", ("docs/results.md",))
            for task in (INTENTS, BANKING)
            for row in (DROPPED, "fedit")
        ],
    ],
)
def test_differences_in_sentences_are_those_of_the_runs(
    study, task, one, other, which, documents
):
    cells = [cell(study, task, "skewed", row) for row in (one, other)]
    assert all(cells)
    found = difference(*cells, which)
    words = f"{found.mean:+.3f} ± {found.half:.3f}".replace("0.", ".")
    for document in documents:
        assert words in text_of(document), document


def gaps(study: Study, task: str, setting: str) -> dict[str, Difference]:
    """Of every strategy that is no form of ILoRA, less ILoRA: higher is better."""
    reference = cell(study, task, setting, "ilora")
    return {
        row: gap
        for row in TABLES["strategies"]
        if not row.startswith("ilora") and (found := cell(study, task, setting, row))
        if (gap := difference(found, reference))
    }


def test_no_strategy_is_better_than_ilora_and_none_is_level_on_all(study):
    """What docs/results.md and README say in words, at the level of the intervals."""
    assert "no strategy is better than ILoRA beyond its interval" in text_of(
        "README.md"
    )
    found = {place: gaps(study, *place) for place in PLACES}
    behind = {}
    for place, by in found.items():
        better = [row for row, g in by.items() if g.mean > 0 and g.excludes_zero]
        assert not better, place
        for row, gap in by.items():
            behind[row] = behind.get(row, False) or (gap.mean < 0 and gap.excludes_zero)
    assert all(behind.values()), behind
    level = [t for t in TASKS if not found[t, "skewed"]["flora"].excludes_zero]
    assert level == [t for t in TASKS if t != INTENTS]
    for task in (INTENTS, BANKING):
        for row in ("ffa-lora", "rolora", "lora-a2"):
            gap = found[task, "skewed"][row]
            assert gap.mean < 0, (task, row)
            assert gap.excludes_zero, (task, row)


def test_what_sending_the_rest_is_worth_and_costs(study):
    rows = {r: cell(study, "e2e", "skewed", r) for r in ("ilora", DROPPED, "flora")}
    level = difference(rows["flora"], rows["ilora"])
    other = difference(*[cell(study, "dolly", "skewed", r) for r in ("flora", "ilora")])
    more = difference(rows["ilora"], rows[DROPPED]).mean
    means = [
        -gaps(study, "e2e", "skewed")[row].mean
        for row in ("fedit", "hetlora", "fedrot-lora")
    ]
    part = rows["ilora"].megabytes() / rows["flora"].megabytes()
    said = [
        # Of a language model a difference of losses, where less is better.
        *[
            f"{-g.mean:+.3f} ± {g.half:.3f} nats".replace("0.", ".")
            for g in (level, other)
        ],
        f"{more:.2f} nats below that over two seeds",
        f"{min(means):.2f} to {max(means):.2f} between ILoRA and the means",
        f"at {part:.2f} of flora's bytes",
    ]
    for task, form in (
        (INTENTS, ".3f"),
        (BANKING, ".3f"),
        (CIFAR, ".3f"),
        ("e2e", ".2f"),
    ):
        new, old = (
            cell(study, task, "skewed", r).smallest() for r in ("ilora", DROPPED)
        )
        unit = " nats" if task == "e2e" else ""
        said.append(f"{new:{form}}{unit} in place of {old:{form}}")
    text = text_of("docs/results.md")
    assert not [words for words in said if words not in text]
    held_out = {r: c.mean("client_loss_mean") for r, c in rows.items()}
    every = [cell(study, "e2e", "skewed", row) for row in TABLES["strategies"]]
    least = min(c.mean("client_loss_mean") for c in every if c and len(c.runs) > 1)
    assert held_out["ilora"] == least
    assert f"({held_out['ilora']:.3f}, flora {held_out['flora']:.3f})" in text
    cost = {
        t: [
            cell(study, t, "skewed", r).megabytes() for r in ("ilora", "fedit", "flora")
        ]
        for t in TASKS
    }
    assert {f"{a / b:.1f}" for a, b, _ in cost.values()} == {"1.2", "1.5", "1.6"}
    assert all(1.35 < c / a < 2.55 for a, _, c in cost.values()), cost


def test_no_correction_is_ahead_on_both_tasks(study):
    gaps = {task: heat_map.added(study, task, "skewed") for task in (INTENTS, BANKING)}
    both = gaps[INTENTS].keys() & gaps[BANKING].keys()
    assert len({correction for _, correction in both}) == 8
    for key in both:
        ahead = [g[key] for g in gaps.values() if g[key].mean > 0]
        assert not (len(ahead) == 2 and all(g.excludes_zero for g in ahead)), key
    helped = {k for k in both if gaps[BANKING][k].mean > gaps[BANKING][k].half}
    assert helped == {("fedit", "fedsmoo"), ("fedit", "second-moments")}
    worst = min(g.mean for by in gaps.values() for g in by.values())
    assert f"cost up to {-worst:.3f}".replace("0.", ".") in text_of("docs/results.md")


def test_the_number_of_runs_and_their_hours(study):
    hours = sum(r.get("seconds", 0.0) for r in study.results.values()) / 3600
    sentence = f"{len(study.results)} runs, of about {hours:.1f} hours together"
    assert sentence in text_of("docs/results.md")


def test_the_figure_shows_every_row_of_all_tasks_with_all_seeds(study):
    figure = draw(study, "strategies", "skewed", [INTENTS, BANKING, CIFAR])
    [axes] = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert {"fedit", "flora", "fedgalore", "ffa-lora"} <= set(names)
    assert not {"ilora", "local", "fedsa-lora"} & set(names)
    assert len(axes.containers) == 3


def test_what_a_linear_probe_has_of_it(study):
    text = text_of("README.md").replace("of ILoRA's", "of")
    for task in (INTENTS, BANKING, CIFAR):
        rows = [cell(study, task, "skewed", row) for row in ("linear-probe", "ilora")]
        assert "{:.3f} of {:.3f}".format(*(row.final() for row in rows)) in text
