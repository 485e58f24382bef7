"""Run config: types, ranges, names, and all mistakes at once."""

import re
import tomllib
from pathlib import Path

import pytest

from ilora_app.compare.jobs import Job, Record
from ilora_app.federation import validity
from ilora_app.runs.resume import differences
from ilora_app.settings import Settings, parsing

ROOT = Path(__file__).parent.parent


def test_defaults_in_pyproject_are_those_of_the_settings():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["flwr"]["app"]["config"] == parsing.dump(Settings())


def test_every_key_has_help_and_its_default_is_right():
    for _, key, entry in parsing.options():
        assert entry.metadata["help"].endswith("."), key
    assert parsing.load(parsing.dump(Settings())) == Settings()


def test_keys_are_unique():
    keys = [key for _, key, _ in parsing.options()]
    assert len(keys) == len(set(keys))


def test_values_are_read():
    settings = parsing.load({"learning-rate": 1, "client-ranks": "2, 4", "seed": 3})
    assert settings.training.learning_rate == 1.0
    assert settings.ranks == (2, 4)
    assert settings.run.seed == 3


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("client-ranks", "2,x", 'such as "2,4,8,16"'),
        ("client-ranks", "", 'such as "2,4,8,16"'),
        ("client-ranks", "0,2", 'such as "2,4,8,16"'),
        ("client-ranks", 4, "text in quotes"),
        ("dirichlet-alpha", 0.0, "a number above 0"),
        ("dirichlet-alpha", -1, "a number above 0"),
        ("lora-scaling", 0, "between 1e-06 and 1e+06"),
        ("learning-rate", "fast", "a number"),
        ("learning-rate", float("nan"), "a finite number"),
        ("learning-rate", True, "a number"),
        ("num-server-rounds", 0, "1 or more"),
        ("num-server-rounds", 2.5, "a whole number"),
        ("holdout-fraction", 1.0, "0 or more and below 1"),
        ("fraction-train", 1.5, "above 0, up to 1"),
        ("decomposition", "lu", "one of qr, pivoted-qr, svd"),
        ("text-columns", "a,b,c", "one column, or two"),
        ("model", " ", "a name or a folder"),
    ],
)
def test_a_wrong_value_names_key_value_and_what_is_right(key, value, right):
    with pytest.raises(parsing.ConfigError) as caught:
        parsing.load({key: value})
    (problem,) = caught.value.problems
    written = "true" if value is True else repr(value)
    assert problem.startswith(f"{key} = {written}: expected ")
    assert right in problem


@pytest.mark.parametrize("value", [True, False, 3, -1e-5, 2.0, "auto", "a 'b'", ""])
def test_a_value_is_shown_as_toml_reads_it(value):
    found = tomllib.loads(f"key = {parsing.shown(value)}")["key"]
    assert (found, type(found)) == (value, type(value))


def test_settings_that_do_not_go_together_are_shown_as_toml_has_them():
    """Of every check that a run goes through, as each writes its own sentence."""
    masked = {"secure-aggregation": True, "dp": "record"}
    wrong = [
        mistakes({"task": "regression", "secure-aggregation": True}),
        mistakes({"strategy": "fedavg-full", **masked}),
        mistakes({"strategy": "fedavg-full", "use-rslora": True}),
        differences({"packing": True}, {"packing": False}),
        Job("p", "r", 1.0, 0, 1, Path("x"), {"packing": True}).differences(
            Record("", "", 0.0, "", 1, {"packing": False}, {}, "")
        ),
    ]
    for said in wrong:
        assert re.search(r"\b(true|false)\b", " ".join(said)), said
        assert not re.search(r"\b(True|False)\b", " ".join(said)), said


def mistakes(config: dict[str, object]) -> list[str]:
    """Every mistake that the server finds in a run config by itself."""
    settings, found = parsing.parse(config)
    return [*found.values(), *validity.problems(settings).values()]


def test_an_unknown_key_suggests_the_nearest():
    with pytest.raises(parsing.ConfigError, match="did you mean learning-rate"):
        parsing.load({"learnin-rate": 1e-3})


def test_all_mistakes_come_together():
    wrong = {"client-ranks": "2,x", "learning-rate": -1.0, "no-such-thing": 1}
    with pytest.raises(parsing.ConfigError) as caught:
        parsing.load(wrong)
    assert len(caught.value.problems) == 3
    assert "3 mistakes" in str(caught.value)
    assert all(key in str(caught.value) for key in wrong)
