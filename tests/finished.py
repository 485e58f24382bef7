"""Small finished runs of every task, to export and to predict with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from typer.testing import CliRunner

from ilora_app.cli import app
from tests import tiny_models
from tests.local_run import run
from tests.test_architectures import job

# name -> (architecture, settings)
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", {"num_server_rounds": 2, "strategy": "flora"}),
    "vit": ("vit", {"image_size": 24}),
    # Transposed layers that are not square, and a head that was tied to the embeddings.
    "gpt2": ("gpt2", {"target_modules": "c_attn,c_fc", "modules_to_save": "lm_head"}),
    # A projector on either side.
    "llama": (
        "llama",
        {"target_modules": "q_proj,down_proj", "strategy": "fedgalore"},
    ),
    "whole": ("bert", {"strategy": "fedavg-full"}),
}


@dataclass(frozen=True)
class Finished:
    """A run, and what its server's model says of some test examples."""

    folder: Path
    config: dict[str, Any]
    server: Any
    batch: dict[str, torch.Tensor]
    logits: torch.Tensor


def finish(name: str, folder: Path) -> Finished:
    """Run one of ``RUNS``."""
    kind, settings = RUNS[name]
    run_config = job(tiny_models.make(kind, folder), folder, **settings)
    path, _, server = run(run_config)
    server.prepared.backbone.install(server.strategy.global_model(None))
    server.prepared.backbone.model.eval()
    batch = server.prepared.test.batch(list(range(8)))
    batch.pop("labels")
    with torch.inference_mode():
        logits = server.prepared.backbone.forward(batch).logits
    return Finished(path, run_config, server, batch, logits)


def ilora(*words: object) -> Any:
    """Call the command; returns click's result."""
    return CliRunner().invoke(app, [str(word) for word in words])


def objects(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]
