"""The rate of a row where there is no accuracy, and where nothing is held out."""

import csv
import io

import pytest

from ilora_app.compare import plots, rates, runner
from ilora_app.compare.report import about_lines
from ilora_app.compare.request import Request, RequestError
from ilora_app.compare.tables import cells, heads, markdown, raw
from tests.made_up import entry, finish, plan, section_of

GRID = (0.001, 0.003, 0.01)
LOSSES = dict(zip(GRID, (0.9, 0.4, 0.7), strict=True))


class Regressions:
    """An engine whose runs have a rank correlation, and a loss on held-out data."""

    name = "made-up"

    def __init__(self, held_out: bool = True) -> None:
        self.held_out, self.ran = held_out, []

    def run(self, jobs, watch) -> None:
        for job in jobs:
            self.ran.append((job.rate, job.seed))
            score = 0.5 + job.seed / 10 + (job.row != "ilora") / 50
            rows = [
                {"round": n, "loss": 1.0, "spearman": value}
                for n, value in enumerate((0.1, score))
            ]
            rows[1] |= {"client_loss_mean": LOSSES[job.rate]} if self.held_out else {}
            finish(job, rows)

    def close(self) -> None:
        pass


@pytest.fixture
def regressions(tmp_path):
    """Three seeds of two rows, whose rates were chosen among three."""
    made = plan(tmp_path, entry(), entry("fedit"), rates=GRID, seeds=3)
    engine = Regressions()
    runner.run(made, engine, None)
    return made, engine


def test_without_an_accuracy_the_rate_is_chosen_by_the_loss(regressions):
    made, engine = regressions
    choice = rates.choose(made, made.entries[0])
    assert (choice.rate, choice.edge) == (0.003, False)
    assert [rate for rate, seed in engine.ran if seed > 0] == [0.003] * 4
    about = " ".join(about_lines(made, Request(), [section_of(made)]))
    assert "by loss on the clients' held-out data" in about
    assert "Rank correlation on the test split." in about


def test_rows_without_an_accuracy_are_held_against_each_other_all_the_same(regressions):
    made, _ = regressions
    section = section_of(made)
    best, other = section.methods
    assert (best.name, other.name) == ("fedit", "ilora")
    row = dict(zip(heads(section), cells(section, other), strict=True))
    assert row["final"] == "0.600 ± 0.100"
    assert section.target == pytest.approx(0.95 * 0.62)
    found = list(csv.DictReader(io.StringIO(raw([section]))))
    assert [float(r["final_spearman_mean"]) for r in found] == pytest.approx(
        [0.62, 0.6]
    )
    assert "final_accuracy_mean" not in found[0]
    text = markdown([section], [])
    assert "Final rank correlation less that of fedit" in text
    assert "| ilora | -0.020 |" in text, "the same gap three times has no interval"
    final = plots.pictures([section])[0]
    assert final.title == "Final rank correlation"
    assert "ilora: 0.6000 ± 0.1000, 3 seeds" in final.svg()


def test_runs_that_say_nothing_of_held_out_data_are_not_waited_for(tmp_path):
    made = plan(tmp_path, entry(), rates=GRID, seeds=3)
    runner.run(made, Regressions(held_out=False), None)
    text = markdown([section_of(made)], [])
    assert "ilora: no rate is chosen, as its runs say nothing of held-out data" in text
    assert "still to come" not in text


@pytest.mark.parametrize("key", ["fraction-evaluate", "holdout-fraction"])
def test_rates_are_not_tried_where_nothing_could_choose_between_them(tmp_path, key):
    asked = {"strategies": "ilora", "set": (f"{key}=0",)}
    with pytest.raises(RequestError) as caught:
        Request(**asked, lr="0.001,0.01").plan(tmp_path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"--lr 0.001,0.01: expected one rate, as with {key} = 0 ")
    made, _ = Request(**asked, lr="0.01").plan(tmp_path)
    assert made.rates == (0.01,)
    Request(strategies="ilora", lr="0.001,0.01").plan(tmp_path)
