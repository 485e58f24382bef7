"""What the best row is ahead by, and the table for a paper that says so."""

import math
import re

import pytest
from scipy import stats

from ilora_app.compare.differences import behind_best
from ilora_app.compare.latex import escaped, latex
from ilora_app.compare.tables import markdown
from tests.made_up import entry, fail, finish, plan, rounds, section_of

FINALS = {
    "ilora": (0.80, 0.82, 0.84),
    "fedit": (0.79, 0.83, 0.82),
    "flora": (0.70, 0.72, 0.73),
    "centralized": (0.90, 0.90, 0.90),
}


@pytest.fixture
def three(tmp_path):
    made = plan(tmp_path, *map(entry, FINALS), seeds=3)
    for one in made.entries:
        for seed, value in enumerate(FINALS[one.row.name]):
            finish(made.job(one, 0.003, seed), rounds(0.1, value))
    return section_of(made)


def test_gaps_are_paired_and_corrected_for_their_number(three):
    tie, behind = behind_best(three)
    assert (tie.name, behind.name) == ("fedit", "flora"), "no bound is among them"
    oracle = stats.ttest_rel(FINALS["flora"], FINALS["ilora"])
    low, high = oracle.confidence_interval(0.95)
    assert behind.gap.mean - behind.gap.half == pytest.approx(low)
    assert behind.gap.mean + behind.gap.half == pytest.approx(high)
    assert behind.p == pytest.approx(2 * oracle.pvalue), "Holm, of two"
    assert (tie.tied, behind.tied) == (True, False)


def test_one_seed_tells_nothing(tmp_path):
    made = plan(tmp_path, entry("ilora"), entry("fedit"), seeds=1)
    for i, one in enumerate(made.entries):
        finish(made.job(one, 0.003, 0), rounds(0.1, 0.5 + i / 10))
    (row,) = behind_best(section_of(made))
    assert (row.gap.half, row.tied) == (math.inf, False)
    assert str(row.gap) == "-0.100"


def test_a_row_of_one_seed_is_none_of_those_that_p_is_corrected_for(tmp_path):
    finals = FINALS | {"hetlora": (0.5,)}
    made = plan(tmp_path, *map(entry, finals), seeds=3)
    for one in made.entries:
        for seed, value in enumerate(finals[one.row.name]):
            finish(made.job(one, 0.003, seed), rounds(0.1, value))
    found = {row.name: row for row in behind_best(section_of(made))}
    oracle = stats.ttest_rel(FINALS["flora"], FINALS["ilora"])
    assert found["flora"].p == pytest.approx(2 * oracle.pvalue), "of two, not of three"
    assert (found["hetlora"].p, found["hetlora"].tied) == (1.0, False)


def test_one_lucky_seed_is_not_the_best(tmp_path):
    finals = FINALS | {"hetlora": (0.95,)}
    made = plan(tmp_path, *map(entry, finals), seeds=3)
    for one in made.entries:
        for seed in made.seeds:
            job = made.job(one, 0.003, seed)
            if seed < len(finals[one.row.name]):
                finish(job, rounds(0.1, finals[one.row.name][seed]))
            else:
                fail(job, "no memory")
    section = section_of(made)
    names = [summary.name for summary in section.methods]
    assert names == ["ilora", "fedit", "flora", "hetlora"]
    assert section.target == pytest.approx(0.95 * 0.82)
    assert {row.name: row.tied for row in behind_best(section)} == {
        "fedit": True, "flora": False, "hetlora": False,
    }  # fmt: skip
    rows = latex([section], [])
    assert r"hetlora (1 of 3) & 0.950 &" in rows
    assert r"ilora & \textbf{0.820} $\pm$" in rows


def test_rows_that_differ_by_the_same_are_no_tie_and_not_sure(tmp_path):
    """Accuracies are whole numbers of test rows: a few seeds may well differ alike."""
    made = plan(tmp_path, entry(), entry("fedit"), entry("flora"), seeds=3)
    for name, less in (
        ("ilora", (0, 0, 0)),
        ("fedit", (2, 2, 2)),
        ("flora", (0, 1, 5)),
    ):
        (one,) = [e for e in made.entries if e.row.name == name]
        for seed, rows in enumerate(less):
            accuracy = (90 + seed - rows) / 100
            finish(made.job(one, 0.003, seed), rounds(0.1, accuracy))
    section = section_of(made)
    found = {row.name: row for row in behind_best(section)}
    assert (found["fedit"].gap.known, found["fedit"].tied) == (False, False)
    flora = found["flora"]
    assert flora.p == flora.gap.p < 1, "the other one tests nothing"
    assert "| fedit | -0.020 | – | 3 |" in markdown([section], [])


def test_people_read_them_below_the_table(three):
    text = markdown([three], [])
    assert "less that of ilora, paired by seed" in text
    assert "| fedit = | -0.007 ± " in text
    assert "| flora | -0.103 ± " in text


def test_the_table_for_a_paper_has_the_best_bold_and_ties_marked(three):
    text = latex([three], ["Command: `ilora compare`"])
    assert text.startswith("% Command: `ilora compare`\n")
    rows = dict(re.findall(r"^([a-z]+) & (.*) \\\\$", text, re.MULTILINE))
    assert rows["ilora"].startswith(r"\textbf{0.820} $\pm$ 0.020 &")
    assert rows["fedit"].startswith(r"0.813 $\pm$ 0.021$^{=}$ &")
    assert rows["flora"].startswith(r"0.717 $\pm$ 0.015 &")
    assert "textbf" not in rows["centralized"], "a bound takes part in nothing"
    width = len(re.search(r"tabular}{l(r*)}", text)[1])
    assert {row.count(" & ") for row in rows.values()} == {width - 1}
    assert text.count("{") == text.count("}")


def test_names_are_text_in_latex():
    assert escaped(r"a_b+c=50%\{x}") == r"a\_b+c=50\%\textbackslash{}\{x\}"
