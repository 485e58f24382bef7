"""The lies of the benchmark are what they are called; its table is that of its runs."""

import json
from pathlib import Path

import pytest
import torch
from datasets import load_dataset

from benchmarks.attacks import ATTACKS, AWAY, POISONS, Hostile, config_of, tables
from benchmarks.lies import LIES
from benchmarks.poison import TRIGGER, triggered
from ilora_app import client_app, methods
from ilora_app.federation import validity
from ilora_app.server import enrolment, preflight
from ilora_app.server.run import Server
from ilora_app.settings import Settings, parsing
from ilora_app.settings.limits import ROBUST
from ilora_app.tasks import data

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "benchmarks" / "results" / "attacks" / "attacks.jsonl"
RECEIVED = {"x.lora_A": torch.ones(2, 3), "head.b": torch.zeros(2)}
LEARNED = {"x.lora_A": 3 * torch.ones(2, 3), "head.b": torch.ones(2)}


def test_a_flip_goes_the_other_way():
    lie = LIES["flip-5"](RECEIVED, LEARNED)
    assert lie["x.lora_A"].equal(-9 * torch.ones(2, 3))
    assert lie["head.b"].equal(-5 * torch.ones(2))
    only_head = LIES["head-20"](RECEIVED, LEARNED)
    assert only_head["x.lora_A"].equal(LEARNED["x.lora_A"])
    assert only_head["head.b"].equal(-20 * torch.ones(2))


def test_noise_is_in_units_of_what_was_learned():
    received = {"x": torch.ones(100, 100)}
    lie = LIES["noise-30"](received, {"x": 3 * torch.ones(100, 100)})
    assert float((lie["x"] - 1).std()) == pytest.approx(60, rel=0.05)


@pytest.mark.parametrize("limits", ["on", "off", "krum"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_is_a_run_config_that_the_app_takes(attack, limits, tmp_path):
    (tmp_path / "clinc150").mkdir()
    config = config_of(attack, limits, 0, tmp_path, tmp_path)
    settings, wrong = methods.parse({**parsing.dump(Settings()), **config})
    assert not wrong
    assert not validity.problems(settings)
    assert bool(settings.limits.max_norm_ratio) is (limits != "off")


def test_the_table_of_the_document_is_that_of_the_runs():
    runs = [json.loads(line) for line in RUNS.read_text().splitlines()]
    told = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").splitlines()
    made = tables(runs)
    assert len(made) > len(ATTACKS)
    assert not [line for line in made if line not in told]


def ends(protection: str, kind: list[int]) -> dict[str, float]:
    """Mean final accuracy by attack."""
    found: dict[str, list[float]] = {}
    for line in RUNS.read_text().splitlines():
        run = json.loads(line)
        attack, by, _, *rest = run["run"]
        if (by, rest) == (protection, kind):
            found.setdefault(attack, []).append(run["accuracy"])
    return {attack: sum(values) / len(values) for attack, values in found.items()}


def test_with_the_limits_one_hostile_round_of_one_client_costs_little():
    """What docs/security.md says: each ends within .01 of the honest run."""
    found = ends("on", [1, 1])
    assert found.keys() == LIES.keys()
    assert all(end > found["none"] - 0.01 for end in found.values())


def test_under_krum_two_hostile_nodes_of_eight_cost_little():
    """What docs/security.md says: .01, and of wrong classes what that data is worth."""
    found, honest = ends("krum", [2, 8]), ends("on", [2, 8])
    lies = {"flip-1", "flip-5", "flip-20", "head-20", "noise-30"}
    assert all(found[lie] > honest["none"] - 0.01 for lie in lies)
    # Whoever is refused round after round is struck out, and away from then on.
    refused = {"all-100", "examples"}
    assert all(found[lie] > honest["away"] - 0.01 for lie in refused)
    for rule in [rule for rule in ROBUST if rule != "none"]:
        assert ends(rule, [2, 8])["label-flip"] > honest["away"] - 0.01
        assert ends(rule, [2, 8])["none"] > honest["none"] - 0.01


def test_who_is_away_answers_nothing(run_config, tmp_path):
    given = {"attack": AWAY, "rounds": range(1, 3), "hostile": 1, "place": tmp_path}
    grid = Hostile(client_app.app, run_config, 3, train_together=None, **given)
    prepared = preflight.prepare(run_config)
    rows = Server(prepared, enrolment.meet(grid, prepared), grid, run_id=1).run()
    assert [row["clients"] for row in rows[1:]] == [2, 2]


@pytest.mark.parametrize("how", POISONS)
def test_clients_with_wrong_data_take_part(run_config, how, tmp_path):
    given = {"attack": how, "rounds": range(1, 3), "hostile": 1, "place": tmp_path}
    grid = Hostile(client_app.app, run_config, 3, train_together=None, **given)
    prepared = preflight.prepare(run_config)
    server = Server(prepared, enrolment.meet(grid, prepared), grid, run_id=1)
    rows = server.run()
    assert [row["clients"] for row in rows[1:]] == [3, 3]
    settings, labels = prepared.settings, list(prepared.labels)
    honest = data.partition(prepared.settings.data, 2, 3, settings.run.seed)
    [folder] = tmp_path.glob(f"{how}-*-2-of-3")
    wrong = load_dataset(str(folder), split="train")
    before = [*honest.held_out["domain"], *honest.train["domain"]]
    texts = [*honest.held_out["text"], *honest.train["text"]]
    if how == "label-flip":
        other = dict(zip(labels, labels[::-1], strict=True))
        assert list(wrong["domain"]) == [other[value] for value in before]
        assert list(wrong["text"]) == texts
    else:
        marked = [text.startswith(TRIGGER) for text in wrong["text"]]
        assert sum(marked) == len(texts) // 2
        called = zip(wrong["domain"], before, marked, strict=True)
        assert all(c == (labels[0] if m else b) for c, b, m in called)
        assert 0 <= triggered(server) <= 1
