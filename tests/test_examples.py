"""The examples run as they stand, in this process, with a tiny model."""

import re
import tomllib

import pytest
import torch
from flwr.app import Context, MessageType, RecordDict
from flwr.serverapp.strategy import Result
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from ilora_app import client_app, wire
from ilora_app.federation.training import Training
from ilora_app.federation.waiting import FederationError, UntrainedError
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.methods import METHODS, Method
from ilora_app.strategies import ILoRA
from tests.example_apps import EXAMPLES, load, needs_trl, run_config_of
from tests.local_run import metrics, run
from tests.oracles import Row
from tests.quadratic import Dense, Problem
from tests.test_strategies import EVENTS, check, toy

ROOT = EXAMPLES.parent


@pytest.mark.parametrize(
    "folder",
    [
        "strategy_in_my_serverapp",
        "client_half_in_my_loop",
        "add_a_method",
        "trainer_in_my_client",
        pytest.param("sft_trainer_in_my_client", marks=needs_trl),
    ],
)
def test_flower_takes_them_for_apps(folder, names, monkeypatch):
    config = tomllib.loads((EXAMPLES / folder / "pyproject.toml").read_text())
    monkeypatch.syspath_prepend(str(EXAMPLES / folder))
    if (EXAMPLES / folder / "my_data.py").exists():
        load(folder, "my_data")
    for reference in config["tool"]["flwr"]["app"]["components"].values():
        module, _, attribute = reference.partition(":")
        assert hasattr(load(folder, module), attribute)


def test_the_strategy_in_a_server_of_ones_own(
    names, capsys, tmp_path, tiny_model, small_data
):
    folder = "strategy_in_my_serverapp"
    run_config = run_config_of(folder) | {
        "model": tiny_model,
        "dataset": small_data,
        "output-dir": str(tmp_path / "adapter"),
    }
    grid = LocalGrid(client_app.app, run_config, nodes=3)
    app = load(folder, "server_app").app
    app(grid, Context(1, 0, {}, RecordDict(), run_config))
    lines = re.findall(r"round (\d): accuracy (0\.\d+)", capsys.readouterr().out)
    assert [number for number, _ in lines] == ["0", "1", "2", "3"]
    assert float(lines[-1][1]) > 0.15
    base = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=10)
    PeftModel.from_pretrained(base, tmp_path / "adapter")


class Busy(LocalGrid):
    """Nodes whose first answer does not come in time, so many times."""

    misses = 0

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        if messages[0].metadata.message_type == MessageType.QUERY and self.misses:
            self.misses -= 1
            return []
        return super().send_and_receive(messages, timeout=timeout)


def busy_start(misses: int, run_config) -> Result:
    grid = Busy(client_app.app, run_config, nodes=2)
    grid.misses = misses
    layers = {"layer": (torch.zeros(6, 2), torch.ones(2, 5))}
    start = AdapterState(LoraFactors(layers), {})
    strategy = ILoRA(fraction_evaluate=0.0)
    return strategy.start(grid, wire.model_record(start.named_tensors()), num_rounds=2)


def test_a_strategy_waits_for_the_first_answers_of_busy_nodes(run_config, monkeypatch):
    asked = []
    monkeypatch.setattr(Training, "configure", lambda *a: asked.append(len(a[3])) or [])
    with pytest.raises(UntrainedError):  # as nobody is sent anything to train on
        busy_start(2, run_config)
    assert asked == [2, 2], "nobody is missing in the first round"


def test_a_strategy_of_which_nobody_hears_ends_with_an_error(run_config):
    with pytest.raises(FederationError, match="no node can take part in round 1"):
        busy_start(1000, run_config)


def test_a_strategy_whose_nodes_all_fail_ends_with_an_error_that_says_why(run_config):
    """Real nodes, that cannot install factors for a layer that they do not have."""
    with pytest.raises(UntrainedError) as error:
        busy_start(0, run_config)
    assert "none of 2 rounds had usable replies" in str(error.value)
    assert "(2 nodes)" in str(error.value)


@pytest.mark.slow
def test_the_client_half_in_a_loop_of_ones_own(names, capsys):
    folder = "client_half_in_my_loop"
    run_config = run_config_of(folder) | {"steps": 4, "rate": 0.003}
    load(folder, "my_data")
    grid = LocalGrid(load(folder, "client_app").app, run_config, nodes=3)
    app = load(folder, "server_app").app
    app(grid, Context(1, 0, {}, RecordDict(), run_config))
    losses = re.findall(r"'train_loss': (\d\.\d+)", capsys.readouterr().out)
    assert len(losses) == 3
    assert float(losses[-1]) < float(losses[0]) - 0.2


def test_the_pages_show_the_examples_as_they_are():
    for page in ("library.md", "add-a-method.md"):
        text = (ROOT / "docs" / page).read_text()
        shown = re.findall(
            r"\[`(examples/[^`]+\.py)`\].*?```python\n(.*?)```", text, re.S
        )
        assert shown, page
        for name, code in shown:
            assert (ROOT / name).read_text() == code, name


def entrywise_median(problem: Problem, history: list) -> Dense:
    """Medians over the clients that hold an entry; where none does, it stays."""
    first = max(history[0], key=lambda taken: taken.rank).start.factors
    model = {m: [t.double() for t in pair] for m, pair in first.items()}
    rank = max(problem.ranks)
    for taken in filter(None, history):
        for module, sides in model.items():
            for side in (0, 1):
                grown = torch.full((len(taken), *sides[side].shape), torch.nan).double()
                for held, t in zip(grown, taken, strict=True):
                    value = t.sent.factors[module][side].double()
                    held.narrow(1 - side, 0, min(t.rank, rank)).copy_(value)
                found = grown.nanmedian(dim=0).values
                sides[side] = torch.where(found.isnan(), sides[side], found)
    return {module: B @ A for module, (B, A) in model.items()}


@pytest.fixture
def median(names, monkeypatch) -> type[Method]:
    """The method of the page, registered."""
    method = load("add_a_method", "median").Median
    monkeypatch.setitem(METHODS, "median", method)
    return method


def test_a_method_in_one_file_agrees_with_its_oracle(median):
    row = Row("median", entrywise_median)
    made = toy(row)
    for events in EVENTS:
        assert made.round(**events)
        check(row, made)


def test_one_client_of_three_cannot_move_it_far(median):
    made = toy(Row("median", entrywise_median), ranks=(2, 2, 2), examples=(1, 1, 10**6))
    replies = made.ask()
    honest = [made.grid.taken[node].sent.factors for node in (1, 2)]
    made.take(replies)
    for module, (B, A) in made.state.adapter.factors.items():
        for side, value in ((0, B), (1, A)):
            low, high = (
                torch.stack([h[module][side] for h in honest]).amin(0),
                torch.stack([h[module][side] for h in honest]).amax(0),
            )
            assert ((low - 1e-6 <= value) & (value <= high + 1e-6)).all()


def test_it_runs_through_the_whole_app(median, run_config):
    folder, _, _ = run(run_config | {"strategy": "median", "num-server-rounds": 3})
    table = metrics(folder)
    assert table["loss"].iloc[-1] < table["loss"].iloc[0]
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
