"""Apps of the examples, imported as Flower does; a grid that keeps what they see."""

import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flwr.app import MessageType

from ilora_app.launch.local_grid import LocalGrid

EXAMPLES = Path(__file__).parent.parent / "examples"
needs_trl = pytest.mark.skipif(
    importlib.util.find_spec("trl") is None,
    reason="trl is not installed: pip install 'trl>=1.16,<2'",
)
MODULES = ("my_data", "client_app", "server_app", "median")


def load(folder: str, name: str) -> ModuleType:
    """Import a file of an example under its own name, as Flower does."""
    spec = importlib.util.spec_from_file_location(
        name, EXAMPLES / folder / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def apps(folder: str) -> tuple[ModuleType, ModuleType]:
    """Modules of its server and its client."""
    load(folder, "my_data")
    return load(folder, "server_app"), load(folder, "client_app")


def run_config_of(folder: str) -> dict[str, Any]:
    """The run config of an example."""
    text = (EXAMPLES / folder / "pyproject.toml").read_text()
    return tomllib.loads(text)["tool"]["flwr"]["app"]["config"]


class Watched(LocalGrid):
    """Keeps what a node has when it trains: the message, its state, its context."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[tuple[Any, Any, Any]] = []

    def _answer(self, messages: list[Any]) -> list[Any]:
        for message in messages:
            if message.metadata.message_type == MessageType.TRAIN:
                context = self._contexts[message.metadata.dst_node_id]
                self.seen.append((message.content, context.state.copy(), context))
        replies = super()._answer(messages)
        for reply in replies:
            assert not reply.has_error(), reply.error.reason
        return replies
