"""Files and folders in what a comparison is asked for mean the same from anywhere."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.compare.request import Request
from ilora_app.compare.rows import parse_pairs, parse_rows
from tests.made_up import entry, finish, plan, rounds


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with data, a model and a preset."""
    (tmp_path / "reviews.csv").write_text("text,label\na,b\n")
    (tmp_path / "m").mkdir()
    (tmp_path / "mine.toml").write_text("local-steps = 2\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_data_and_models_are_those_of_the_working_directory(here):
    pairs = ["dataset=reviews.csv", "model=./m", "local-steps=3"]
    found, problems = parse_pairs(pairs, "--set")
    assert problems == []
    there = {"dataset": str(here / "reviews.csv"), "model": str(here / "m")}
    assert found == {**there, "local-steps": 3}
    (row,), _ = parse_rows("ilora+dataset=reviews.csv")
    assert dict(row.changes)["dataset"] == str(here / "reviews.csv")
    hub = {"dataset": "ag_news", "model": "bert-base-uncased"}
    assert parse_pairs([f"{k}={v}" for k, v in hub.items()], "--set") == (hub, [])


def test_what_is_kept_is_absolute(here, tmp_path_factory, monkeypatch):
    asked = Request(
        strategies="ilora", presets="mine.toml,default",
        set=("dataset=reviews.csv", "local-steps=3"),
    )  # fmt: skip
    placed = asked.placed()
    presets, pair = f"{here / 'mine.toml'},default", f"dataset={here / 'reviews.csv'}"
    assert placed == replace(asked, presets=presets, set=(pair, "local-steps=3"))
    placed.save(here)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    found, _, settings, _ = Request.load(here).check()
    assert [preset.name for preset in found] == ["mine", "default"]
    assert settings == {"dataset": str(here / "reviews.csv"), "local-steps": 3}


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("dataset=./none.csv", "there is no such folder or file"),
        ("dataset=none.csv", "there is no such file here"),
        ("model=./none", "there is no such folder"),
        ("resume=latest", "resume is not set here: use the same command again"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_run(here, pair, said):
    words = [
        "compare",
        "--strategies",
        "all",
        "--out",
        str(here / "out"),
        "--set",
        pair,
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2, result.exception
    assert result.output.count(said) == 1
    assert "1 mistake" in result.output
    assert not (here / "out").exists()


def test_two_rows_have_no_folder_in_common():
    rows, problems = parse_rows('ilora+dataset="/d/a b",ilora+dataset="/d/a_b"')
    assert len({row.slug for row in rows}) == 1
    (problem,) = problems
    assert "would have one folder" in problem
    assert "/d/a b" in problem
    assert "/d/a_b" in problem


def test_a_key_that_is_set_no_more_is_another_config(tmp_path):
    name = "tests.example_apps:Own"
    before = plan(tmp_path, entry(name, momentum=0.9))
    finish(before.job(before.entries[0], 0.003, 0), rounds(0.1))
    job = plan(tmp_path, entry(name)).job(before.entries[0], 0.003, 0)
    now = replace(job, config={k: v for k, v in job.config.items() if k != "momentum"})
    (said,) = now.differences(job.record())
    assert said.startswith("momentum (0.9, now ")
    assert job.differences(job.record()) == []
