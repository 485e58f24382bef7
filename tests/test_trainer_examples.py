"""The examples around a Trainer run as they stand, in this process."""

import re

import pytest
import torch
from flwr.app import ConfigRecord, Context, RecordDict
from transformers import Trainer

from ilora_app import wire
from ilora_app.corrections import ControlVariates
from ilora_app.launch.superlink import superlink
from ilora_app.lora.factors import AdapterState
from ilora_app.lora.initialisation import standard_factors
from ilora_app.settings import MethodSettings
from ilora_app.strategies import ILoRA
from ilora_app.tasks.backbone import Backbone
from ilora_app.trainer import ClientRound
from tests.example_apps import EXAMPLES, Watched, apps, load, needs_trl, run_config_of
from tests.trainer_client import arguments


def losses(folder: str, capsys, **changes) -> tuple[list[float], Watched]:
    """Train loss of every round, and the grid."""
    server, client = apps(folder)
    run_config = run_config_of(folder) | changes
    grid = Watched(client.app, run_config, nodes=3)
    server.app(grid, Context(1, 0, {}, RecordDict(), run_config))
    text = capsys.readouterr().out
    found = re.findall(r"^round \d: .*'train_loss': (\d+\.\d+)", text, re.M)
    assert len(found) == run_config["rounds"]
    return [float(loss) for loss in found], grid


def wrapped(backbone: Backbone) -> list[str]:
    """Modules whose ``forward`` is not that of their class."""
    named = backbone.model.named_modules()
    return [name for name, module in named if "forward" in vars(module)]


def corrects(grid: Watched) -> None:
    """Every node is sent c and keeps c_k from the second round on."""
    content, state, _ = grid.seen[-1]
    c = wire.decode_tensors(content.array_records[wire.CORRECTION])
    assert sum(float(value.norm()) for value in c.values()) > 0
    assert "control-variate-pending" in state


@pytest.mark.slow
def test_a_trainer_in_a_client(names, capsys):
    found, grid = losses("trainer_in_my_client", capsys, rounds=2, steps=3)
    assert found[-1] < found[0] - 0.1
    corrects(grid)


@pytest.mark.slow
@needs_trl
def test_an_sft_trainer_in_a_client(names, capsys):
    found, grid = losses("sft_trainer_in_my_client", capsys, rounds=2, steps=8)
    assert found[-1] < found[0] - 0.5
    corrects(grid)
    model = load("sft_trainer_in_my_client", "my_data").my_model("tiny")
    assert not wrapped(model), "nothing is left for other rounds"


@needs_trl
def test_the_template_says_what_the_assistant_says(names):
    data = load("sft_trainer_in_my_client", "my_data")
    tokenizer = data.my_model("tiny").processor
    (row,) = data.my_rows(0, len(data.CHATS))
    found = tokenizer.apply_chat_template(
        row["messages"],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    marked = zip(found["input_ids"], found["assistant_masks"], strict=True)
    said = tokenizer.decode([token for token, own in marked if own])
    assert said == row["messages"][1]["content"] + " </s>"


def test_a_correction_that_is_no_matter_of_steps_is_refused(names, tiny_model):
    backbone = load("trainer_in_my_client", "my_data").my_model(tiny_model)
    factors = standard_factors(backbone.shapes(), 4, torch.Generator())
    start = AdapterState(factors, backbone.initial_head())
    settings = MethodSettings(control_estimator="full-pass")
    strategy = ILoRA(drift_correction=ControlVariates())
    content = strategy_message(strategy, start)
    with pytest.raises(ValueError, match=r"ControlVariates replaces .*'local-mean'"):
        ClientRound.begin(content, RecordDict(), backbone, ILoRA.client_half(settings))
    half = ILoRA.client_half(MethodSettings())
    taken = ClientRound.begin(content, RecordDict(), backbone, half)
    with pytest.raises(ValueError, match=r"no step was corrected.*taken\.callback"):
        taken.reply(1, 0.0)


def test_what_trainers_put_around_a_model_is_taken_off(names, tiny_model, tmp_path):
    backbone = load("trainer_in_my_client", "my_data").my_model(tiny_model)
    factors = standard_factors(backbone.shapes(), 4, torch.Generator())
    start = AdapterState(factors, backbone.initial_head())
    content = strategy_message(ILoRA(drift_correction=ControlVariates()), start)
    batch = dict(backbone.processor(["a", "b"], return_tensors="pt"))
    batch["labels"] = torch.tensor([0, 1])
    half = ILoRA.client_half(MethodSettings())
    before = wrapped(backbone)
    taken = ClientRound.begin(content, RecordDict(), backbone, half)
    trainer = Trainer(
        backbone.model,
        arguments(tmp_path, bf16=True, use_cpu=True, max_steps=1),
        train_dataset=[0, 1],
        data_collator=lambda _: batch,
        callbacks=[taken.callback],
    )
    trainer.train()
    assert "forward" in vars(backbone.model), "mixed precision wraps it"
    reply = taken.reply(2, 1.0)
    assert wrapped(backbone) == before
    assert backbone.forward(batch).logits.dtype == torch.float32
    assert wire.CORRECTION in reply


def strategy_message(strategy: ILoRA, start: AdapterState) -> RecordDict:
    """What a strategy sends the first node in round 1."""
    folder = "trainer_in_my_client"
    client = load(folder, "client_app")
    run_config = run_config_of(folder)
    grid = Watched(client.app, run_config, nodes=2)
    arrays = wire.model_record(start.named_tensors())
    strategy.begin(arrays)
    return next(iter(strategy.configure_train(1, arrays, ConfigRecord(), grid))).content


@pytest.mark.long
def test_a_trainer_in_two_processes_of_a_flower_client(tmp_path, tiny_model):
    """In Flower's engine, whose nodes are processes that Ray has started."""
    log = tmp_path / "run.log"
    settings = f"model='{tiny_model}' steps=3 rounds=2 processes=2"
    nodes = "num-supernodes=2 client-resources-num-cpus=1 init-args-num-cpus=2"
    with superlink(tmp_path) as link:
        link.run(EXAMPLES / "trainer_in_my_client", settings, nodes, log, 500)
        assert list(link.statuses().values()) == ["finished:completed"], log.read_text()
    assert re.findall(r"round (\d): {'clients': (\d)", log.read_text()) == [
        ("1", "2"),
        ("2", "2"),
    ]
