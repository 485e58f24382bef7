"""A tiny real model and a small real data set, in local folders."""

import gc
import importlib.util
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from ilora_app.federation import waiting
from ilora_app.settings import Settings, parsing
from ilora_app.tasks import models, sources
from tests.example_apps import MODULES

# A million objects of libraries are made now, and none of them is to be collected.
gc.disable()

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def _take_from_the_clone(name: str) -> None:
    """Import a package that lies beside the tests, whatever else has its name.

    Opacus installs a ``benchmarks`` of its own, which would come first.
    """
    folder = Path(__file__).parent.parent / name
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


_take_from_the_clone("benchmarks")

LONGEST = ("test_resume.py", "test_architectures.py", "test_app.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long first: with several workers none is left alone with it.

    What is long is slow as well, and left out with it.
    """
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")

    def key(item: pytest.Item) -> tuple[bool, bool]:
        slow = item.get_closest_marker("slow") is not None
        return not slow, item.path.name not in LONGEST

    items.sort(key=key)


def pytest_collection_finish() -> None:
    """From here on only what tests leave behind is looked through."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _poll_often():
    """Nodes in this process are there at once, or never."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "_POLL_SECONDS", 0.01)
        yield


@pytest.fixture(scope="session", autouse=True)
def _node_state(tmp_path_factory: pytest.TempPathFactory):
    """Nodes keep their state here, and not under the home of who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ILORA_STATE", str(tmp_path_factory.mktemp("nodes")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _models_of_tests(tmp_path_factory: pytest.TempPathFactory):
    """Base models of what is exported are found again where the tests make them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ILORA_MODELS", str(tmp_path_factory.getbasetemp()))
        yield


@pytest.fixture
def heeds_hangups():
    """As in a terminal: under nohup processes inherit that SIGHUP is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch):
    """Modules of the examples are forgotten again."""
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(scope="session")
def minilm() -> str:
    """Folder of the packaged encoder; the extra ``test`` installs it."""
    return models.locate(MINILM)[0]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> str:
    """A BERT with two layers of width 32, untrained, and a real tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
        )
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with 400 training and 100 test rows of the packaged set."""
    folder = tmp_path_factory.mktemp("small-clinc")
    for split, rows in (("train", 400), ("test", 100)):
        lines = (
            (sources.PACKAGED / "clinc150" / f"{split}.jsonl").read_text().splitlines()
        )
        (folder / f"{split}.jsonl").write_text("\n".join(lines[:rows]) + "\n")
    return str(folder)


@pytest.fixture(scope="session")
def tiny_config(tiny_model: str, small_data: str) -> dict[str, Any]:
    """Run config of a job that takes half a second, without its folder."""
    return parsing.dump(Settings()) | {
        "model": tiny_model,
        "dataset": small_data,
        "num-server-rounds": 2,
        "local-steps": 3,
        "min-partition-size": 5,
        "client-ranks": "2,4,8",
        # An untrained encoder has no features that are worth a ridge head.
        "head": "trained",
        "label-column": "domain",
        "report": False,  # it takes longer than the job
    }


@pytest.fixture
def run_config(tiny_config: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Run config of a job that takes half a second."""
    return tiny_config | {"output-dir": str(tmp_path / "run")}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Small finished runs of every task, by name: see ``tests.finished``."""
    from tests.finished import RUNS, finish

    return {name: finish(name, tmp_path_factory.mktemp(name)) for name in RUNS}


def read_events(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Events of one kind, in order."""
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


@pytest.fixture
def section(tmp_path) -> Any:
    """Part of a comparison: two methods, a bound, and one that failed; two seeds."""
    from tests.made_up import entry, fail, finish, plan, rounds, section_of

    names = ("ilora", "ilora+control-scope=head", "centralized", "ilora+local-steps=1")
    made = plan(tmp_path, *map(entry, names))
    low, high, bound, broken = made.entries
    more = {"client_accuracy_worst": 0.25, "accuracy_r2": 0.5, "accuracy_r16": 0.6}
    finish(made.job(low, 0.003, 0), rounds(0.1, 0.5, 0.6, **more))
    finish(made.job(low, 0.003, 1), rounds(0.1, 0.3, 0.4))
    finish(made.job(high, 0.003, 0), rounds(0.1, 0.9, 0.8, megabytes=2.0))
    finish(made.job(high, 0.003, 1), rounds(0.1, "", 0.8, megabytes=2.0))
    for seed in (0, 1):
        finish(made.job(bound, 0.003, seed), rounds(0.1, 0.9, 0.95, megabytes=0.0))
        fail(made.job(broken, 0.003, seed), "the run config has 1 mistake:\n  - a|b")
    return section_of(made)
