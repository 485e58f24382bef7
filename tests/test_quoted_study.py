"""Tables and differences that documents quote of the study are those of its runs."""

from pathlib import Path

import pytest

from benchmarks import heat_map
from benchmarks.analysis import cell, difference, table
from benchmarks.design import TABLES
from benchmarks.figure import draw
from benchmarks.recorded import Study

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "benchmarks" / "results" / "evidence" / "runs.jsonl"
INTENTS, BANKING, CIFAR = "clinc150", "banking77", "cifar10"
TASKS = (INTENTS, BANKING, CIFAR, "e2e", "dolly")
ILORA_SENT = "ilora, rest sent"
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
        (INTENTS, "ablation", "skewed", ""),
        *[(t, "headroom", "skewed", "linear-probe") for t in (INTENTS, BANKING, CIFAR)],
        ("dolly", "headroom", "skewed", "centralized"),
    ],
)
def test_tables_are_those_of_the_runs(study, task, name, setting, reference):
    rows = list(TABLES[name])
    made = table(study, task, setting, rows, reference or rows[0])
    told = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    assert made
    assert not [line for line in made if line not in told]


@pytest.mark.parametrize(
    ("task", "one", "other", "which", "documents"),
    [
        (INTENTS, "ilora", "fedit", "global", ("README.md", "docs/results.md")),
        (BANKING, "ilora", "fedit", "global", ("README.md", "docs/results.md")),
        (INTENTS, "fedex-lora", "ilora", "smallest", ("docs/results.md",)),
        (BANKING, "fedex-lora", "ilora", "smallest", ("docs/results.md",)),
        (INTENTS, "fedgalore", "ilora", "smallest", ("docs/results.md",)),
        (BANKING, "fedgalore", "ilora", "smallest", ("docs/results.md",)),
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
        (BANKING, ILORA_SENT, "ilora", "global", ("README.md", "docs/results.md")),
        (CIFAR, "fedgalore", "ilora", "global", ("docs/results.md",)),
        (CIFAR, "flora", "ilora", "global", ("README.md", "docs/results.md")),
        (CIFAR, "fedit", "ilora", "global", ("docs/results.md",)),
        *[
            (task, f"{row} + control-variates", row, "global", ("docs/results.md",))
            for task in (INTENTS, BANKING)
            for row in ("ilora", "fedit")
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


def test_no_strategy_is_better_than_ilora_and_those_named_are_no_worse(study):
    """What docs/results.md and README say in words, at the level of the intervals."""
    for task in (INTENTS, BANKING):
        reference = cell(study, task, "skewed", "ilora")
        gaps = {
            row: difference(found, reference)
            for row in TABLES["strategies"]
            if not row.startswith("ilora")
            and (found := cell(study, task, "skewed", row))
        }
        better = [r for r, g in gaps.items() if g.mean > 0 and g.excludes_zero]
        assert not better
        for row in ("fedit", "hetlora", "fedex-lora", "fedgalore"):
            assert not gaps[row].excludes_zero, (task, row)
        for row in ("ffa-lora", "rolora", "lora-a2"):
            assert gaps[row].mean < 0, (task, row)
            assert gaps[row].excludes_zero, (task, row)


def test_flora_is_ahead_where_nothing_but_factors_is_learned(study):
    cells = [cell(study, "e2e", "skewed", row) for row in ("flora", "ilora")]
    found = difference(*cells)
    words = f"{found.mean:.3f} ± {found.half:.3f} nats".replace("0.", ".")
    assert words in text_of("docs/results.md")
    assert words in text_of("README.md")
    assert [len(one.runs) for one in cells] == [5, 2]


def test_what_sending_the_rest_is_worth(study):
    sent, default = ILORA_SENT, "ilora"
    rows = {row: cell(study, "e2e", "skewed", row) for row in (sent, default, "flora")}
    level = difference(rows[sent], rows["flora"])
    words = f"{level.mean:+.3f} ± {level.half:.3f}".replace("0.", ".")
    more = difference(rows[sent], rows[default]).mean
    part = rows[sent].megabytes() / rows["flora"].megabytes()
    said = [
        words,
        f"{more:.2f} nats".replace("0.", ".", 1),
        f"at {part:.2f} of its bytes",
    ]
    small = [cell(study, BANKING, "skewed", row).smallest() for row in (sent, default)]
    said.append("hold {:.3f} in place of {:.3f}".format(*small))
    text = text_of("docs/results.md")
    assert not [words for words in said if words not in text]
    assert all(words in text_of("README.md") for words in said[:3])
    held_out = {r: c.mean("client_loss_mean") for r, c in rows.items()}
    every = [cell(study, "e2e", "skewed", row) for row in TABLES["strategies"]]
    least = min(c.mean("client_loss_mean") for c in every if c and len(c.runs) > 1)
    assert held_out[sent] == least
    assert f"({held_out[sent]:.3f}, flora {held_out['flora']:.3f})" in text


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


def test_the_figure_shows_every_row_of_both_tasks_with_all_seeds(study):
    figure = draw(study, "strategies", "skewed", [INTENTS, BANKING])
    [axes] = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert {"fedit", "flora", "fedgalore", "ffa-lora"} <= set(names)
    assert not {"ilora", "local", "fedsa-lora"} & set(names)
    assert len(axes.containers) == 2
