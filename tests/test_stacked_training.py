"""Clients trained as one batch: each ends where it would have ended alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ilora_app.corrections.fedprox import FedProxClient
from ilora_app.corrections.hooks import GradientCorrection
from ilora_app.lora.factors import AdapterState, LoraFactors, group_of
from ilora_app.node.data import NodeData
from ilora_app.settings import Settings, parsing
from ilora_app.tasks import quantised, stacked_training, training
from ilora_app.tasks.stacked_training import StackedClient
from tests import tiny_models

pytestmark = pytest.mark.slow

RANKS = (2, 4, 3, 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    found = {}
    for kind in tiny_models.ARCHITECTURES:
        found[kind] = tiny_models.make(kind, tmp_path_factory.mktemp(kind))
        file = Path(found[kind]["model"]) / "config.json"
        config = json.loads(file.read_text())
        without = {key: 0.0 for key in config if "drop" in key}
        file.write_text(json.dumps(config | without))
    return found


def nodes(named: dict[str, Any], **changes: Any) -> tuple[Settings, list[NodeData]]:
    settings = parsing.load(
        {
            **parsing.dump(Settings()),
            "dirichlet-alpha": 1.0,
            "min-partition-size": 5,
            "batch-size": 8,
            "local-steps": 3,
            "learning-rate": 0.01,
            **named,
            **{key.replace("_", "-"): value for key, value in changes.items()},
        }
    )
    count = len(RANKS)
    data = [NodeData(settings.model, settings.data, 0, k, count) for k in range(count)]
    return settings, data


def starts(data: list[NodeData], qr: bool) -> list[AdapterState]:
    """Random factors and heads, or the directions of the base as the qr start has."""
    backbone = data[0].backbone()
    generator = torch.Generator().manual_seed(1)
    found = []
    for rank in RANKS:
        factors = backbone.directions(rank)
        if not qr:
            factors = LoraFactors(
                {
                    m: (
                        0.1 * torch.randn(B.shape, generator=generator),
                        0.1 * torch.randn(A.shape, generator=generator),
                    )
                    for m, (B, A) in factors.items()
                }
            )
        head = {
            name: value + 0.1 * torch.randn(value.shape, generator=generator)
            for name, value in backbone.initial_head().items()
        }
        found.append(AdapterState(factors, head))
    return found


def alone(
    backbone: Any, client: StackedClient, settings: Settings, trained: list[str]
) -> tuple[training.Outcome, AdapterState]:
    backbone.install(client.start, client.offset)
    everything = backbone.parameters()
    parameters = {name: everything[name] for name in trained}
    hook = client.hook(parameters)
    outcome = training.train(
        backbone,
        client.examples,
        settings.training,
        client.seed,
        trained,
        [hook] if hook else [],
        [make(parameters) for make in client.penalties],
        settings.head.rate,
    )
    return outcome, backbone.collect()


def check(
    named: dict[str, Any],
    qr: bool = False,
    hook: Any = None,
    penalties: Any = (),
    groups: tuple[str, ...] = ("lora_A", "lora_B", "head"),
    **changes: Any,
) -> list[AdapterState]:
    """Train together and alone; compare to 1e-5 of what training moved."""
    settings, data = nodes(named, **changes)
    backbone = data[0].backbone()
    clients = [
        StackedClient(
            start,
            start.factors.pairs if qr else {},
            one.examples()[0],
            100 + k,
            (lambda parameters, k=k: hook(k, parameters)) if hook else lambda p: None,
            penalties,
        )
        for k, (start, one) in enumerate(zip(starts(data, qr), data, strict=True))
    ]
    trained = [
        name for name in clients[0].start.named_tensors() if group_of(name) in groups
    ]
    together = stacked_training.train(
        backbone, clients, settings.training, trained, settings.head.rate
    )
    assert not any("forward" in m.__dict__ for m in backbone.model.modules())
    for client, (outcome, found) in zip(clients, together, strict=True):
        expected_outcome, expected = alone(backbone, client, settings, trained)
        assert outcome.loss == pytest.approx(expected_outcome.loss, rel=1e-5)
        assert outcome.examples == expected_outcome.examples
        start = client.start.named_tensors()
        for name, value in expected.named_tensors().items():
            got = found.named_tensors()[name]
            torch.testing.assert_close(got, value, rtol=0, atol=1e-5)
            assert (value != start[name]).any() == (name in trained)
    return [found for _, found in together]


@pytest.mark.parametrize("kind", tiny_models.ARCHITECTURES)
def test_clients_of_unequal_rank_and_size_end_as_they_would_alone(made, kind):
    # SGD: AdamW's first steps are the signs of gradients that may be next to nothing.
    check(made[kind], optimizer="sgd", learning_rate=0.1)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_so_they_do_with_adamw_and_what_the_base_gives_up(made, kind):
    check(made[kind], qr=True, weight_decay=0.1)


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_so_they_do_over_a_quantised_base(tmp_path, monkeypatch, bits):
    """On the CPU, without the packing of its own for models that do not train."""
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(quantised, "problem", lambda *_: "")
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
    named = tiny_models.make("llama", tmp_path, width=256)
    check(named, quantisation=bits, optimizer="sgd", learning_rate=0.1)


@pytest.mark.parametrize("groups", [("lora_B",), ("lora_A", "lora_B")])
def test_what_is_frozen_stays(made, groups):
    check(made["bert"], groups=groups, optimizer="sgd")


def test_gradients_are_clipped_client_by_client(made):
    clipped = {"optimizer": "sgd", "clip-grad-norm": 0.05, "learning-rate": 1.0}
    ends = check(made["roberta"], **clipped)
    free = check(made["roberta"], **clipped | {"clip-grad-norm": 0.0})
    for one, other in zip(ends, free, strict=True):
        flat = other.named_tensors()
        assert any((flat[n] != v).any() for n, v in one.named_tensors().items())


def test_the_head_has_its_own_rate_and_the_logits_their_prior(made):
    check(made["vit"], optimizer="sgd", head_rate="0.5", logit_adjustment=1.0)


def test_each_client_has_its_own_correction_and_penalty(made):
    hooks = []

    def hook(k: int, parameters: Any) -> GradientCorrection:
        shift = {n: torch.full_like(p, 0.01 * (k + 1)) for n, p in parameters.items()}
        hooks.append((k, GradientCorrection(parameters, shift)))
        return hooks[-1][1]

    check(
        made["bert"],
        hook=hook,
        penalties=[FedProxClient(1.0).penalty],
        optimizer="sgd",
    )
    for k in range(len(RANKS)):
        together, by_itself = (h.mean_gradient() for i, h in hooks if i == k)
        for name, value in by_itself.items():
            torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-6)


def test_a_failure_gives_the_model_back(made):
    settings, data = nodes(made["bert"])
    backbone = data[0].backbone()

    def broken(parameters: Any) -> Any:
        return lambda: parameters["no such parameter"]

    clients = [
        StackedClient(start, {}, one.examples()[0], 0, penalties=[broken])
        for start, one in zip(starts(data, False), data, strict=True)
    ]
    with pytest.raises(KeyError, match="no such parameter"):
        stacked_training.train(
            backbone,
            clients,
            settings.training,
            list(clients[0].start.named_tensors()),
        )
    assert not any("forward" in m.__dict__ for m in backbone.model.modules())


def test_clients_with_unequal_numbers_of_batches_are_refused(made):
    settings, data = nodes(made["bert"])
    epochs = replace(settings.training, local_steps=0, batch_size=2)
    clients = [
        StackedClient(start, {}, one.examples()[0], 0)
        for start, one in zip(starts(data, False), data, strict=True)
    ]
    with pytest.raises(ValueError, match="zip"):
        stacked_training.train(
            data[0].backbone(), clients, epochs, list(clients[0].start.named_tensors())
        )
