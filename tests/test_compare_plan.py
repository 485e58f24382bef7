"""From the words of the command to the runs and their order."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.compare import entries as rows_under
from ilora_app.compare.presets import Preset
from ilora_app.compare.request import Request, RequestError
from ilora_app.compare.rows import parse_pairs, parse_rows
from ilora_app.federation import validity
from ilora_app.methods import METHODS
from tests.made_up import DEFAULT, entry, finish, plan, rounds

NAMES = list(METHODS)
ROOT = Path(__file__).parent.parent


def test_all_is_every_strategy_and_repeated_rows_are_merged():
    rows, problems = parse_rows(f"all,{NAMES[0]},all")
    assert problems == []
    assert [row.name for row in rows] == NAMES
    assert not rows[0].optional, "a row that was named is no option"


def test_settings_are_read_by_their_type():
    rows, problems = parse_rows(
        'ilora+local-steps=4+client-ranks="2,4",ilora+learning-rate=1'
    )
    assert dict(rows[0].changes) == {
        "strategy": "ilora",
        "local-steps": 4,
        "client-ranks": "2,4",
    }
    (problem,) = problems
    assert "use --lr" in problem
    assert parse_pairs(["client-ranks=999"], "--set") == ({"client-ranks": "999"}, [])
    assert parse_pairs(["dataset='a b'"], "--set") == ({"dataset": "a b"}, [])


def test_every_mistake_in_rows_is_found_with_what_is_right():
    _, problems = parse_rows("ilor,ilora+local-step=3,ilora+init-gain=3,ilora+x")
    assert len(problems) == 4
    assert "expected all, or one of ilora" in problems[0]
    assert "did you mean local-steps" in problems[1]
    assert "one of paper, scaled" in problems[2]
    assert "'x': expected KEY=VALUE" in problems[3]
    assert parse_rows(" , ")[1]


def test_slugs_are_safe_and_distinct():
    rows, _ = parse_rows('ilora+client-ranks="2,4",ilora+client-ranks="2 ,4",ilora')
    slugs = [row.slug for row in rows]
    assert len(set(slugs)) == 3
    assert not set("".join(slugs)) & set('/\\," ')


def test_all_leaves_out_what_a_strategy_cannot_have(monkeypatch):
    def problems(settings):
        wrong = settings.method.drift_correction == "none"
        return {"drift-correction": "drift-correction = 'none': no"} if wrong else {}

    monkeypatch.setattr(validity, "problems", problems)
    rows, _ = parse_rows("all,all+drift-correction=none")
    entries, wrong, left_out = rows_under.make_entries([DEFAULT], rows, {})
    assert [e.row.name for e in entries] == NAMES
    assert (wrong, len(left_out)) == ([], len(NAMES))
    rows, _ = parse_rows("ilora,ilora+drift-correction=none")
    _, wrong, left_out = rows_under.make_entries([DEFAULT], rows, {})
    assert (len(wrong), left_out) == (1, [])


def test_rows_with_the_same_config_are_merged_under_each_preset():
    other = Preset("other", (("drift-correction", "none"),), None, "other")
    rows, _ = parse_rows("ilora,ilora+drift-correction=none")
    entries, _, _ = rows_under.make_entries([DEFAULT, other], rows, {})
    assert [(e.preset.name, e.row.name) for e in entries] == [
        ("default", "ilora"),
        ("default", "ilora+drift-correction=none"),
        ("other", "ilora"),
    ]


def test_a_preset_with_a_strategy_is_one_row_and_set_goes_over_presets():
    fixed = Preset("mine", (("strategy", "ilora"), ("local-steps", 2)), 5, "mine")
    rows, _ = parse_rows("ilora,ilora+control-scope=head")
    (only,), problems, _ = rows_under.make_entries([fixed], rows, {"local-steps": 3})
    assert problems == []
    assert (only.row.name, only.clients) == ("mine", 5)
    assert only.config == {"strategy": "ilora", "local-steps": 3}
    (only,), _, _ = rows_under.make_entries([fixed], rows, {}, clients=2)
    assert only.clients == 2


def test_the_strategy_of_a_preset_is_checked():
    wrong = Preset("mine", (("strategy", "nope"),), None, "mine")
    _, problems, _ = rows_under.make_entries([wrong], [], {})
    assert "strategy = 'nope': expected one of" in problems[0]


def test_no_run_waits_for_more_clients_than_there_are():
    rows, _ = parse_rows("ilora")
    _, problems, _ = rows_under.make_entries([DEFAULT], rows, {"min-train-nodes": 3}, 1)
    assert len(problems) == 2
    assert "min-available-nodes = 2: expected at most 1" in problems[1]


def test_choosing_goes_seed_by_seed_and_each_job_has_a_folder(tmp_path):
    rates, names = (0.001, 0.01), ("ilora", "ilora+local-steps=1")
    made = plan(tmp_path, *map(entry, names), rates=rates, seeds=3, select=2)
    jobs = made.choosing(DEFAULT)
    assert [(j.seed, j.row, j.rate) for j in jobs] == [
        (seed, name, rate) for seed in (0, 1) for name in names for rate in rates
    ]
    assert len({job.folder for job in jobs}) == len(jobs)
    folder = tmp_path / "runs/default/ilora/lr-0.001/seed-0"
    assert jobs[0].folder == folder
    wanted = {"seed": 0, "learning-rate": 0.001, "output-dir": str(folder)}
    assert wanted.items() <= jobs[0].config.items()
    assert made.size(made.entries[0]) == 3 + 2


def test_finalists_and_rates_that_a_search_adds_count_as_runs(tmp_path):
    rates = (0.001, 0.003, 0.01, 0.03)
    made = plan(tmp_path, entry(), rates=rates, seeds=3, near=True, finalists=2)
    assert made.size(made.entries[0]) == 3 + 2 * 2
    assert made.size(made.entries[0], tried=4) == 4 + 2 * 2


def test_one_rate_is_not_chosen(tmp_path):
    made = plan(tmp_path, entry(), seeds=3)
    assert made.choosing(DEFAULT) == []
    assert made.size(made.entries[0]) == 3


def test_rates_can_come_from_one_preset(tmp_path):
    other = Preset("other", (("local-steps", 2),), None, "other")
    made = plan(
        tmp_path,
        entry(preset=other),
        entry(),
        rates=(0.001, 0.01),
        rates_from="default",
    )
    assert [preset.name for preset in made.presets] == ["default", "other"]
    assert made.choosing(other) == []
    assert len(made.choosing(DEFAULT)) == 2
    assert [made.size(e) for e in made.entries] == [2, 3]


def test_a_finished_run_with_another_config_is_a_conflict(tmp_path):
    before = plan(tmp_path, entry())
    job = before.job(before.entries[0], 0.003, 0)
    finish(job, rounds(0.1))
    assert before.conflicts() == []
    changed = plan(tmp_path, entry(**{"local-steps": 2}))
    assert changed.conflicts() == ["local-steps (10, now 2) in 1 run"]


def test_all_mistakes_of_a_request_come_together(tmp_path):
    request = Request(
        strategies="nope",
        presets="default,nothing",
        seeds=0,
        lr="0.1,fast,-1",
        select_seeds=5,
        lr_from="scale",
        set=("seed=3", "local-steps"),
        clients=0,
        target="2",
    )
    with pytest.raises(RequestError) as caught:
        request.plan(tmp_path)
    assert len(caught.value.problems) == 11
    for part in ("nope", "nothing", "'fast'", "'-1'", "--seeds 0", "--select-seeds 5"):
        assert part in str(caught.value), part
    for part in ("--lr-from scale", "use --seeds", "KEY=VALUE", "--clients 0"):
        assert part in str(caught.value), part
    assert "--target 2: expected auto" in str(caught.value)


def test_a_request_is_kept_and_says_its_command(tmp_path):
    request = Request(
        strategies="ilora", set=("client-ranks=2,4", "dataset=a b"), engine="local",
        workers=2,
    )  # fmt: skip
    request.save(tmp_path)
    assert Request.load(tmp_path) == request
    command = request.command()
    assert command.startswith("ilora compare --strategies ilora --presets default")
    assert command.endswith("--set client-ranks=2,4 --set 'dataset=a b'")
    assert "--engine local --workers 2" in command
    assert "--engine" not in Request().command(), "what is the default is left out"
    assert request.command(tmp_path / "x y").endswith("--out 'x y'")
    with pytest.raises(RequestError, match="no comparison is in it"):
        Request.load(tmp_path / "none")


@pytest.mark.parametrize("more", [[], ["--report-only"]])
def test_a_file_is_no_place_for_a_comparison(tmp_path, more):
    file = tmp_path / "a.csv"
    file.write_text("a,b\n")
    for out in (file, file / "below"):
        result = CliRunner().invoke(app, ["compare", "--out", str(out), *more])
        assert result.exit_code == 2, result.exception
        assert f"--out {out}: expected a folder; {file} is a file" in result.output
    assert file.read_text() == "a,b\n"
