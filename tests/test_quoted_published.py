"""What is said of strategies as published."""

import pytest

from benchmarks.analysis import cell, difference, table
from benchmarks.design import TABLES
from benchmarks.recorded import Study
from tests.test_quoted_study import INTENTS, ROOT, RUNS, TRAINED, text_of

PUBLISHED = "ilora, trained head"


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(RUNS)


def less(study: Study, row: str, reference: str):
    cells = [cell(study, INTENTS, "skewed", name) for name in (row, reference)]
    return difference(*cells)


def test_the_table_is_that_of_the_runs(study):
    made = table(study, INTENTS, "skewed", list(TABLES["published"]), PUBLISHED)
    told = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    assert len(made) == 2 + len(TABLES["published"])
    assert not [line for line in made if line not in told]


def test_as_published_ilora_is_ahead_of_all_and_level_with_a_probe(study):
    gaps = {
        row: less(study, row, PUBLISHED)
        for row in TABLES["published"]
        if row != PUBLISHED
    }
    assert [r for r, gap in gaps.items() if not gap.excludes_zero] == [
        "ffa-lora, trained head"
    ]
    others = [-gap.mean for row, gap in gaps.items() if row != TRAINED]
    ends = f"{min(others):.3f} to {max(others):.3f}".replace("0.", ".")
    text = text_of("docs/results.md")
    assert f"of the ten others as published by {ends}" in text
    assert "(but ffa-lora, of two seeds)" in text
    probe = cell(study, INTENTS, "skewed", "linear-probe").final()
    finals = {r: cell(study, INTENTS, "skewed", r).final() for r in gaps}
    assert max(finals.values()) < probe - 0.02
    assert abs(cell(study, INTENTS, "skewed", PUBLISHED).final() - probe) < 0.002
    ends = f"{min(others):.3f} to {max(others):.3f}".replace("0.", ".")
    assert ends in text_of("README.md")


def test_no_correction_adds_to_the_default(study):
    rows = [row for row in TABLES["corrections"] if row.startswith("ilora + ")]
    gaps = {row.removeprefix("ilora + "): less(study, row, "ilora") for row in rows}
    assert len(gaps) == 6
    assert all(len(cell(study, INTENTS, "skewed", row).runs) == 5 for row in rows)
    text = text_of("docs/results.md")
    ends = [min(g.mean for g in gaps.values()), max(g.mean for g in gaps.values())]
    least, most = (f"{value:+.3f}".replace("0.", ".") for value in ends)
    assert "six differ from it" in text
    assert f"by {least} to {most}, none beyond its interval" in text
    assert not [row for row, gap in gaps.items() if gap.excludes_zero]
    assert all(gap.mean < 0.001 for gap in gaps.values())
