"""Everything wrong before round 1: one message, with key, value and what is right."""

import json
import shutil
from pathlib import Path

import pytest

from ilora_app.federation.waiting import FederationError
from ilora_app.server import enrolment, preflight
from ilora_app.server.run import Server
from ilora_app.settings.parsing import ConfigError
from tests.local_run import FaultyGrid, client_app


def problems(run_config: dict) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        preflight.prepare(run_config)
    return caught.value.problems


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"strategy": "fedfoo"}, "strategy = 'fedfoo': expected one of ilora"),
        ({"client-ranks": "2,64"}, "client-ranks = 64: expected ranks up to 32"),
        ({"target-modules": "q_proj"}, "target-modules = 'q_proj': no layer of"),
        (
            {"modules-to-save": "classifier,score"},
            "modules-to-save = 'classifier,score",
        ),
        ({"target-modules": "query,valeu"}, "target-modules = 'query,valeu': no layer"),
        ({"target-modules": "dense"}, "target-modules = 'dense': bert.pooler.dense"),
        ({"target-modules": "query,classifier"}, "target-modules = 'query,classifier'"),
        (
            {"modules-to-save": "pooler"},
            "modules-to-save = 'pooler': classifier starts",
        ),
        ({"model": "/no/such/folder"}, "model = '/no/such/folder': there is no such"),
        ({"model": "~nosuchuser/x"}, "model = '~nosuchuser/x': there is no such"),
        ({"max-length": 513}, "max-length = 513: expected at most 512"),
        ({"dataset": "/no/such/data"}, "dataset = '/no/such/data': there is no such"),
        ({"text-columns": "query"}, "text-columns = 'query': "),
        ({"label-column": "label"}, "label-column = 'label': "),
        ({"test-split": "testing"}, "test-split = 'testing': "),
        ({"train-split": "training"}, "train-split = 'training': "),
        ({"output-dir": "runs/one"}, "output-dir = 'runs/one': expected an absolute"),
    ],
)
def test_each_mistake_is_named(run_config, changes, expected):
    found = problems(run_config | changes)
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_mistakes_of_one_kind_come_together(run_config):
    wrong = {
        "text-columns": "query",
        "label-column": "class",
        "target-modules": "q_proj",
        "modules-to-save": "classifier,head",
    }
    found = problems(run_config | wrong)
    assert len(found) == 4
    splits = {"train-split": "learning", "test-split": "testing"}
    found = problems(run_config | splits)
    assert len(found) == 2
    assert all("has the splits train, test" in p for p in found)


def test_a_wrong_value_is_not_reported_again_by_its_default(run_config):
    (found,) = problems(run_config | {"label-column": 5})
    assert found.startswith("label-column = 5: expected text")


def test_a_broken_model_folder_is_a_mistake(run_config, tiny_model, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (found,) = problems(run_config | {"model": str(broken)})
    assert "cannot be loaded" in found


def test_a_missing_column_lists_the_columns(run_config):
    (found,) = problems(run_config | {"label-column": "label"})
    assert "text, intent, domain" in found


def test_targets_that_match_nothing_list_the_layers(run_config):
    (found,) = problems(run_config | {"target-modules": "q_proj"})
    assert "query" in found
    assert "value" in found


def test_mistakes_of_every_kind_come_together(run_config):
    wrong = {
        "client-ranks": "2,x",
        "dataset": "/no/such/data",
        "model": "/no/such/model",
        "output-dir": "relative",
        "strategy": "fedfoo",
        "learnin-rate": 0.1,
    }
    found = "\n".join(problems(run_config | wrong))
    assert all(f"{key} = " in found for key in wrong)


def test_a_run_never_writes_over_another(run_config, tmp_path):
    (tmp_path / "metrics.csv").write_text("round\n")
    (found,) = problems(run_config | {"output-dir": str(tmp_path)})
    assert "a new or empty folder" in found
    assert (tmp_path / "metrics.csv").read_text() == "round\n"


def test_a_data_set_with_no_test_split(run_config, small_data, tmp_path):
    shutil.copy(Path(small_data) / "train.jsonl", tmp_path / "train.jsonl")
    changes = {"dataset": str(tmp_path), "test-fraction": 0.0}
    found = problems(run_config | changes)
    assert any(p.startswith("test-split = 'test': ") for p in found)


def test_one_class_is_too_few(run_config, tmp_path):
    rows = [{"text": f"row {i}", "domain": "only"} for i in range(40)]
    for name in ("train", "test"):
        lines = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    found = problems(run_config | {"dataset": str(tmp_path)})
    assert any("two classes or more" in p for p in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nodes", "node_configs", "changes", "expected"),
    [
        (500, {}, {}, "num-supernodes = 500: .* has 400 training examples"),
        (60, {}, {"min-partition-size": 30}, "min-partition-size = 30: no Dirichlet"),
        (2, {0: {"lora-rank": 0}, 1: {"lora-rank": "x"}}, {}, "lora-rank: expected"),
        (2, {0: {"lora-rank": 99}, 1: {"lora-rank": 99}}, {}, "ranks up to 32"),
        (2, {0: {"partition-id": 7}, 1: {"partition-id": 7}}, {}, "expected 0 to 1"),
    ],
)
def test_nodes_that_cannot_take_part_say_why(
    run_config, nodes, node_configs, changes, expected
):
    run_config |= changes
    grid = FaultyGrid(client_app.app, run_config, nodes, node_configs=node_configs)
    with pytest.raises(FederationError, match=expected) as caught:
        enrolment.meet(grid, preflight.prepare(run_config))
    assert len(str(caught.value).splitlines()) <= 3  # the same reason is said once


@pytest.mark.slow
def test_a_partition_with_no_examples_is_skipped_and_a_small_one_trains(run_config):
    run_config |= {"dirichlet-alpha": 0.02, "min-partition-size": 0, "batch-size": 64}
    grid = FaultyGrid(client_app.app, run_config, 40)
    prepared = preflight.prepare(run_config)
    federation = enrolment.meet(grid, prepared)
    empty = [r for r in federation.left_out.values() if "holds no examples" in r]
    assert len(empty) + len(federation.members) == 40
    assert empty
    sizes = [member.examples for member in federation.members]
    assert min(sizes) < 64
    server = Server(prepared, federation, grid, run_id=1)
    rows = server.run()
    assert rows[-1]["clients"] == len(federation.members)


def test_too_few_nodes_end_with_a_message(run_config):
    run_config |= {"min-available-nodes": 3, "round-timeout": 0.2}
    grid = FaultyGrid(client_app.app, run_config, 2)
    with pytest.raises(FederationError, match=r"min-available-nodes .* asks for 3"):
        enrolment.meet(grid, preflight.prepare(run_config))
