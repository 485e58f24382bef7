"""Every strategy on every kind of architecture, and what it exports, in plain PEFT."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from ilora_app.lora.factors import AdapterState
from ilora_app.methods import METHODS
from ilora_app.settings import Settings, parsing
from ilora_app.tasks import training
from ilora_app.tasks.task import TASKS
from tests import tiny_models
from tests.local_run import metrics, run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return {
        kind: tiny_models.make(kind, tmp_path_factory.mktemp(kind))
        for kind in tiny_models.ARCHITECTURES
    }


def job(named: dict[str, Any], folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        **parsing.dump(Settings()),
        "num-server-rounds": 1,
        "client-ranks": "2,4",
        "local-steps": 2,
        "batch-size": 8,
        "dirichlet-alpha": 10.0,
        "min-partition-size": 2,
        "learning-rate": 0.01,
        "output-dir": str(folder / "run"),
        "report": False,  # drawing it takes as long as the job
        **named,
        **{key.replace("_", "-"): value for key, value in changes.items()},
    }


PAIRS = [(kind, name) for kind in tiny_models.ARCHITECTURES for name in METHODS]
ALL_OF = ("bert", "ilora")
"""Every strategy on one architecture, every architecture with one strategy; what is in
neither takes half a minute in all."""


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [
        pytest.param(*pair, marks=() if set(pair) & set(ALL_OF) else pytest.mark.slow)
        for pair in PAIRS
    ],
)
def test_a_round_and_its_export(made, tmp_path, kind, strategy):
    if strategy == "linear-probe" and kind in ("gpt2", "llama"):
        pytest.skip("a language model has no classes")
    check(job(made[kind], tmp_path, strategy=strategy), strategy)


@pytest.mark.parametrize(
    ("kind", "targets", "saved"),
    [
        ("gpt2", "c_attn,c_fc", "lm_head"),  # transposed, not square, head tied
        ("llama", "q_proj,down_proj", "lm_head,norm"),
        ("llama", "v_proj", "embed_tokens"),
        ("vit", "q_proj,v_proj,fc1,fc2", "classifier,layernorm"),
        ("swin", "q_proj,v_proj,reduction", "classifier"),
        ("roberta", "query,key,value,output.dense", "classifier"),
    ],
)
@pytest.mark.parametrize("strategy", ["ilora", "fedex-lora"])
def test_layers_and_modules_of_choice(made, tmp_path, kind, targets, saved, strategy):
    chosen = {"target_modules": targets, "modules_to_save": saved}
    check(job(made[kind], tmp_path, strategy=strategy, **chosen), strategy)


def test_a_tied_layer_takes_no_increment_into_the_embeddings(made, tmp_path):
    chosen = {"target_modules": "c_attn,lm_head", "modules_to_save": ""}
    run_config = job(made["gpt2"], tmp_path, strategy="fedex-lora", **chosen)
    check(run_config, "fedex-lora")
    _, _, server = run(run_config | {"output-dir": str(tmp_path / "again")})
    backbone, model = server.prepared.backbone, server.strategy.global_model(None)
    words = backbone._peft.get_input_embeddings().weight
    before = words.detach().clone()
    size = server.prepared.settings.training.eval_batch_size
    backbone.install(model)
    factored = training.evaluate(backbone, server.prepared.test, size)
    backbone.install_merged(model)
    merged = training.evaluate(backbone, server.prepared.test, size)
    assert merged["loss"] == pytest.approx(factored["loss"], abs=1e-5)
    assert torch.equal(words, before)


def check(run_config: dict[str, Any], strategy: str) -> None:
    folder, _, server = run(run_config)
    table = metrics(folder)
    assert table["clients"].iloc[-1] == (1 if strategy == "centralized" else 3)
    if server.strategy.method.personal:
        assert not (folder / "adapter").exists()
        return
    assert math.isfinite(table["loss"].iloc[-1])
    moved = table["loss"].iloc[-1] != table["loss"].iloc[0]
    assert moved == server.strategy.method.trains
    trained: AdapterState = server.strategy.global_model(None)
    server.prepared.backbone.install(trained)
    batch = server.prepared.test.batch(list(range(8)))
    batch.pop("labels")
    with torch.inference_mode():
        server.prepared.backbone.model.eval()
        expected = server.prepared.backbone.model(**batch).logits
        assert expected.isfinite().all()
        torch.testing.assert_close(
            reloaded(server, folder)(**batch).logits, expected, atol=1e-5, rtol=1e-4
        )


def reloaded(server: Any, folder: Path) -> Any:
    """What a user of plain transformers and PEFT loads."""
    task = TASKS[server.prepared.settings.model.task]
    if server.strategy.method.whole_model:
        return task.auto_model.from_pretrained(folder / "model").eval()
    labels = server.prepared.labels
    options = {"num_labels": len(labels)} if labels else {}
    base = task.auto_model.from_pretrained(
        server.prepared.settings.model.model, ignore_mismatched_sizes=True, **options
    )
    return PeftModel.from_pretrained(base, folder / "adapter").eval()
