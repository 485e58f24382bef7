"""The lies of the benchmark are what they are called; its table is that of its runs."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.attacks import ATTACKS, config_of, table
from ilora_app import methods
from ilora_app.federation import validity
from ilora_app.settings import Settings, parsing

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "benchmarks" / "results" / "attacks" / "attacks.jsonl"
RECEIVED = {"x.lora_A": torch.ones(2, 3), "head.b": torch.zeros(2)}
LEARNED = {"x.lora_A": 3 * torch.ones(2, 3), "head.b": torch.ones(2)}


def test_a_flip_goes_the_other_way():
    lie = ATTACKS["flip-5"](RECEIVED, LEARNED)
    assert lie["x.lora_A"].equal(-9 * torch.ones(2, 3))
    assert lie["head.b"].equal(-5 * torch.ones(2))
    only_head = ATTACKS["head-20"](RECEIVED, LEARNED)
    assert only_head["x.lora_A"].equal(LEARNED["x.lora_A"])
    assert only_head["head.b"].equal(-20 * torch.ones(2))


def test_noise_is_in_units_of_what_was_learned():
    received = {"x": torch.ones(100, 100)}
    lie = ATTACKS["noise-30"](received, {"x": 3 * torch.ones(100, 100)})
    assert float((lie["x"] - 1).std()) == pytest.approx(60, rel=0.05)


@pytest.mark.parametrize("limits", ["on", "off"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_is_a_run_config_that_the_app_takes(attack, limits, tmp_path):
    (tmp_path / "clinc150").mkdir()
    config = config_of(attack, limits, 0, tmp_path, tmp_path)
    settings, wrong = methods.parse({**parsing.dump(Settings()), **config})
    assert not wrong
    assert not validity.problems(settings)
    assert bool(settings.limits.max_norm_ratio) is (limits == "on")


def test_the_table_of_the_document_is_that_of_the_runs():
    runs = [json.loads(line) for line in RUNS.read_text().splitlines()]
    told = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").splitlines()
    made = table(runs)
    assert len(made) > len(ATTACKS)
    assert not [line for line in made if line not in told]


def test_with_the_limits_one_hostile_round_of_one_client_costs_little():
    """What docs/security.md says: each ends within .01 of the honest run."""
    runs = [json.loads(line) for line in RUNS.read_text().splitlines()]
    ends = {
        attack: run["accuracy"]
        for run in runs
        for attack, limits, _, hostile, rounds in [run["run"]]
        if (limits, hostile, rounds) == ("on", 1, 1)
    }
    assert ends.keys() == ATTACKS.keys()
    assert all(end > ends["none"] - 0.01 for end in ends.values())
