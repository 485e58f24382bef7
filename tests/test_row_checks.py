"""Models of which a layer sees other rows than its examples, and rows of many parts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from ilora_app.node.data import NodeData
from ilora_app.settings import Settings, TrainingSettings, parsing
from ilora_app.settings.parsing import ConfigError
from ilora_app.tasks import record_training, row_checks, stacked_training
from ilora_app.tasks.models import ModelError
from ilora_app.tasks.record_training import Noise, losses_of
from ilora_app.tasks.stacked_training import StackedClient
from tests import media, task_data, tiny_models
from tests.local_run import run
from tests.test_stacked_training import check

SMALL: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 80,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "pad_token_id": 2,
}
RECORD = {
    "dp": "record",
    "dp-noise-multiplier": 1.5,
    "dp-delta": 0.001,
    "drift-correction": "none",
    "client-ranks": "2,4",
    "num-server-rounds": 1,
    "report": False,
}


def deberta() -> Any:
    positions = {"relative_attention": True, "position_buckets": 16}
    more = {"pos_att_type": ["p2c", "c2p"], "share_att_key": True, "type_vocab_size": 0}
    return transformers.DebertaV2Config(
        **SMALL, **positions, **more, pooler_hidden_size=32, pooler_dropout=0.0
    )


def longformer() -> Any:
    return transformers.LongformerConfig(**SMALL, attention_window=[8, 8])


def convbert() -> Any:
    more = {"embedding_size": 32, "head_ratio": 2, "conv_kernel_size": 3}
    return transformers.ConvBertConfig(**SMALL, **more)


def modernbert() -> Any:
    more = {"cls_token_id": 1, "sep_token_id": 2, "local_attention": 8}
    drops = {"embedding_dropout": 0.0, "mlp_dropout": 0.0, "classifier_dropout": 0.0}
    small = {k: v for k, v in SMALL.items() if "dropout" not in k}
    return transformers.ModernBertConfig(
        **small, **more, **drops, bos_token_id=1, eos_token_id=2
    )


def named(config: Any, folder: Path, **changes: Any) -> dict[str, Any]:
    """Run config of texts and a tiny model of a config."""
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(folder / "model")
    tiny_models.tokenizer().save_pretrained(folder / "model")
    tiny_models._texts(folder / "data")
    return {
        **parsing.dump(Settings()),
        "task": "text-classification",
        "model": str(folder / "model"),
        "dataset": str(folder / "data"),
        "text-columns": "text",
        "label-column": "domain",
        "max-length": 24,
        "min-partition-size": 5,
        "batch-size": 8,
        **{key.replace("_", "-"): value for key, value in changes.items()},
    }


def node(config: dict[str, Any]) -> NodeData:
    settings = parsing.load(config)
    return NodeData(settings.model, settings.data, 0, 0, 2)


@pytest.mark.parametrize("make", [deberta, longformer])
def test_what_sees_other_rows_is_refused(make, tmp_path):
    data = node(named(make(), tmp_path))
    backbone, (examples, _) = data.backbone(), data.examples()[:2]
    with pytest.raises(ModelError, match=r"layer.0.*sees other rows than its examples"):
        record_training.check(backbone, examples)
    client = StackedClient(backbone.collect(), {}, examples, 0)
    with pytest.raises(ModelError, match="one behind the other: expected 1"):
        stacked_training.train(
            backbone, [client, client], TrainingSettings(), list(backbone.parameters())
        )
    assert not any(m._forward_pre_hooks for _, m in backbone.layers())


@pytest.mark.slow
@pytest.mark.parametrize("changes", [RECORD, {"clients-per-batch": 2}])
def test_it_is_told_before_the_first_round(changes, tmp_path):
    config = named(deberta(), tmp_path, output_dir=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="query_proj"):
        run(config | changes, 2)


@pytest.mark.slow
def test_a_norm_without_bias_is_refused_before_the_first_round(tmp_path):
    config = named(modernbert(), tmp_path, output_dir=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="normalises without a bias"):
        run(config | RECORD | {"head": "trained"}, 2)


@pytest.mark.parametrize("kind", tiny_models.ARCHITECTURES)
def test_windows_of_a_row_are_no_rows_and_can_be_stacked(kind, tmp_path):
    made = tiny_models.make(kind, tmp_path)
    data = node({**parsing.dump(Settings()), **made, "augment": False})
    backbone, examples = data.backbone(), data.examples()[0]
    assert bool(row_checks.mixing_layer(backbone, examples)) == (kind == "swin")
    assert not row_checks.mixing_layer(backbone, examples, parts=True)
    assert not row_checks.heeds_padding(backbone, examples)


def test_a_long_row_moves_no_other_where_padding_is_heard(tmp_path):
    """Its convolutions reach over the end of a row."""
    data = node(named(convbert(), tmp_path))
    backbone, examples = data.backbone(), data.examples()[0]
    order = examples.order()
    short, long = order[0], order[-1]
    with torch.no_grad():  # as large as what is learned makes them
        for value in backbone.model.parameters():
            value.mul_(4.0)
    both = losses_of(backbone, examples.batch([short, long]))[0]
    assert (both - losses_of(backbone, examples.batch([short]))).abs() > 1e-4
    assert row_checks.heeds_padding(backbone, examples)
    start, ends = backbone.collect(), []
    settings = TrainingSettings(
        optimizer="sgd", learning_rate=1.0, momentum=0.0, batch_size=8
    )
    for rows in ([short, long], [short], [long]):
        noise = Noise(1e9, 0.0, 0.25, 1, torch.zeros, lambda *_, rows=rows: rows)
        backbone.install(start)
        names = list(backbone.parameters())
        record_training.train(backbone, examples, settings, names, 1.0, noise)
        ends.append(backbone.collect().named_tensors())
    for name, value in start.named_tensors().items():
        apart = (ends[1][name] - value) + (ends[2][name] - value)
        assert torch.allclose(ends[0][name] - value, apart, atol=1e-6)


def test_rows_near_the_most_that_a_model_takes_are_filled_up_too(tmp_path):
    """By what is left; the model of these has no more positions."""
    config = convbert()
    config.max_position_embeddings = 24
    data = node(named(config, tmp_path))
    backbone, examples = data.backbone(), data.examples()[0]
    for value in backbone.model.parameters():
        value.data.mul_(4.0)
    rows = [{k: v * 9 for k, v in row.items()} for row in examples.rows]
    long = [{k: v[:23] for k, v in row.items()} for row in rows]
    whole = [{k: v[:24] for k, v in row.items()} for row in rows]
    assert row_checks.heeds_padding(backbone, replace(examples, rows=long))
    assert not row_checks.heeds_padding(backbone, replace(examples, rows=whole))


@pytest.mark.parametrize(("kind", "heard"), [("wav2vec2", True), ("whisper", False)])
def test_recordings_are_heard_with_what_they_are_filled_up_with(tmp_path, kind, heard):
    """Whisper's extractor gives all of them one length."""
    rate = 16_000 if kind == "whisper" else media.RATE
    model = media.audio_model(tmp_path / "model", kind, rate)
    sounds = media.recordings(tmp_path / "data", 18, rate)
    data = node(media.job("audio-classification", model, sounds))
    backbone, examples = data.backbone(), data.examples()[0]
    assert row_checks.heeds_padding(backbone, examples) == heard
    assert not row_checks.mixing_layer(backbone, examples)


@pytest.mark.slow
def test_a_plain_text_is_several_examples_and_is_refused(tmp_path):
    """Each would be clipped by itself, and the account is of rows."""
    made = tiny_models.make("llama", tmp_path / "made")
    rows = [{"text": f"please book flight number {i}"} for i in range(60)]
    rows[3]["text"] *= 40
    folder = tmp_path / "data"
    folder.mkdir()
    for name, part in (("train", rows), ("test", rows[5:20])):
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (folder / f"{name}.jsonl").write_text(lines)
    config = {
        **parsing.dump(Settings()),
        **RECORD,
        "task": "causal-lm",
        "model": made["model"],
        "dataset": str(folder),
        "partitioner": "iid",
        "max-length": 16,
        "output-dir": str(tmp_path / "run"),
    }
    with pytest.raises(ConfigError, match="expected an answer-column, or conv"):
        run(config, 2)
    data = node(config)
    backbone, examples = data.backbone(), data.examples()[0]
    assert len(examples) > examples.count
    noise = Noise(1.0, 1.0, 0.25, 1)
    with pytest.raises(ModelError, match="would be clipped by itself"):
        record_training.train(backbone, examples, TrainingSettings(), [], 1.0, noise)


@pytest.mark.slow
def test_what_a_decoder_reads_is_there_when_clients_are_stacked(tmp_path):
    job = task_data.job("seq2seq-lm", tmp_path)
    file = Path(job["model"]) / "config.json"
    still = json.loads(file.read_text()) | {"dropout_rate": 0.0}
    file.write_text(json.dumps(still))
    keys = ("task", "model", "dataset", "max-length")
    check({k: job[k] for k in keys} | {"partitioner": "iid"})
