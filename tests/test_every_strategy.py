"""Every strategy through the whole app, with a real model, in this process."""

import pytest
import torch
from flwr.app import MessageType
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from ilora_app.methods import METHODS
from tests.conftest import read_events
from tests.local_run import metrics, run

pytestmark = pytest.mark.slow

PERSONAL = ("fedsa-lora", "local")


@pytest.mark.parametrize("name", METHODS)
def test_it_learns_and_its_export_is_the_model_that_was_evaluated(run_config, name):
    run_config |= {"strategy": name, "num-server-rounds": 3, "evaluate-every": 2}
    if name in ("centralized", "local"):
        run_config["local-steps"] = 20
    folder, _, server = run(run_config)
    table = metrics(folder)
    assert not read_events(folder, "reply-left-out")
    assert not read_events(folder, "model-unchanged")
    measured = table["loss"].dropna()
    assert list(measured.index) == ([2, 3] if name in PERSONAL else [0, 2, 3])
    if name in ("centralized", "local"):  # this little data is soon learned by heart
        assert table["train_loss"].iloc[-1] < table["train_loss"].iloc[1]
    elif name == "linear-probe":
        assert measured.nunique() == 1
    elif name != "fedsa-lora":
        assert measured.iloc[-1] < measured.iloc[0]
    assert ("drift" in table) == (name not in PERSONAL)
    assert (
        table["held_out_accuracy"].iloc[-1] >= table["client_accuracy_worst"].iloc[-1]
    )
    ranks = {f"accuracy_r{rank}" for rank in server.membership.ranks}
    assert ranks <= set(table)
    if name in PERSONAL:
        assert not list(folder.glob("adapter*"))
        return
    kind = AutoModelForSequenceClassification
    if name == "fedavg-full":
        loaded = kind.from_pretrained(folder / "model")
    else:
        base = kind.from_pretrained(run_config["model"], num_labels=10)
        loaded = PeftModel.from_pretrained(base, folder / "adapter")
    found = _loss(loaded.eval(), server)
    assert found == pytest.approx(measured.iloc[-1], abs=1e-5)


def _loss(model: torch.nn.Module, server) -> float:
    total = 0.0
    with torch.inference_mode():
        for batch in server.prepared.test.batches(50):
            total += float(model(**batch).loss) * len(batch["labels"])
    return total / len(server.prepared.test)


def test_pooled_training_does_not_mind_a_node_that_is_not_there(run_config):
    run_config |= {"strategy": "centralized"}
    folder, grid, _ = run(run_config, arrivals={2: 3})
    assert not read_events(folder, "reply-left-out")
    assert list(metrics(folder)["clients"].iloc[1:]) == [1, 1]
    asked = [
        m.metadata.dst_node_id
        for m in grid.sent
        if m.metadata.message_type == MessageType.TRAIN
    ]
    assert asked == [1, 1]


def test_a_node_that_comes_to_full_fine_tuning_keeps_its_rank(run_config):
    run_config |= {"strategy": "fedavg-full"}
    _, _, server = run(run_config, arrivals={2: 3})
    assert server.membership.ranks == [2, 4, 8]


def test_pruned_ranks_are_trained_and_measured_as_such(run_config):
    run_config |= {
        "strategy": "hetlora", "hetlora-gamma": 0.5, "hetlora-lambda": 1.0,
        "drift-correction": "control-variates", "num-server-rounds": 4,
    }  # fmt: skip
    folder, _, server = run(run_config)
    assert not read_events(folder, "reply-left-out")
    assert max(server.membership.ranks) <= 4
    largest = max(server.membership.ranks)
    assert f"accuracy_r{largest}" in metrics(folder)


def test_a_rate_of_evaluation(run_config):
    run_config |= {"num-server-rounds": 5, "evaluate-every": 2}
    table = metrics(run(run_config)[0])
    assert list(table.index[table["accuracy"].notna()]) == [0, 2, 4, 5]
    assert list(table.index[table["client_accuracy_mean"].notna()]) == [2, 4, 5]
