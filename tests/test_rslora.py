"""rsLoRA: steps on factors of one scaling are PEFT's steps on a client's own."""

import json
from typing import Any

import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.optim import SGD, AdamW

from ilora_app.corrections.directed_client import DirectedAdamW
from ilora_app.federation.validity import problems
from ilora_app.methods import METHODS
from ilora_app.settings import ModelSettings, TrainingSettings
from ilora_app.tasks import record_training, training
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.optimizers import groups_of
from ilora_app.tasks.record_training import Noise
from ilora_app.trainer import ClientRound
from tests import test_stacked_training
from tests.plain_peft import LABELS, Both
from tests.test_stacked_training import made  # noqa: F401
from tests.test_together import end, job  # noqa: F401
from tests.test_validity import settings

RATES = {"adamw": 3e-3, "sgd": 0.05}


@pytest.mark.parametrize(
    ("rank", "optimizer", "decay", "most"),
    [
        (2, "adamw", 0.0, 0.0),
        (2, "sgd", 0.1, 5e-4),
        (8, "sgd", 0.0, 0.0),
        (8, "adamw", 0.1, 5e-4),
        (16, "adamw", 0.1, 5e-4),
        (16, "sgd", 0.0, 0.0),
    ],
)
def test_steps_are_those_of_peft_with_use_rslora(
    tiny_model, rank, optimizer, decay, most
):
    private, rate = 3 if rank == 2 else 0, RATES[optimizer]
    both = Both(tiny_model, rank, private, use_rslora=True)
    chosen = TrainingSettings(
        optimizer=optimizer, learning_rate=rate, weight_decay=decay,
        clip_grad_norm=most, local_steps=3, batch_size=4,
    )  # fmt: skip
    beside = both.private.parameters() if both.private else None
    training.train(both.backbone, both.examples, chosen, seed=5, beside=beside)
    own = [p for n, p in both.held.items() if ".private." in n]
    mine = {id(p) for p in own}  # they have a limit of their own
    shared = [p for p in both.trained if id(p) not in mine]
    stepper: Any = AdamW(both.trained, rate, weight_decay=decay)
    if optimizer == "sgd":
        stepper = SGD(both.trained, rate, momentum=0.9, weight_decay=decay)
    draw = torch.Generator().manual_seed(5)
    both.peft.train()
    for indices in both.examples.drawn(4, 3, 1, draw):
        stepper.zero_grad()
        both.peft(**both.examples.batch(indices, draw)).loss.backward()
        for part in (shared, own) if most else ():
            assert not part or float(nn.utils.clip_grad_norm_(part, most)) > most
        stepper.step()
    both.compare(1e-9)


def test_a_row_is_clipped_by_the_norm_that_it_has_in_peft(tiny_model):
    both = Both(tiny_model, 2, use_rslora=True)
    batches, most = [[0, 3], [1, 2, 4]], 0.05
    first, second = (torch.Generator().manual_seed(7) for _ in range(2))
    rows = iter(batches)
    noise = Noise(
        most, 0.8, 0.25, len(batches),
        lambda shape: torch.randn(tuple(shape), generator=first, dtype=torch.float64),
        lambda *_: next(rows),
    )  # fmt: skip
    chosen = TrainingSettings(learning_rate=3e-3, batch_size=8)
    names = list(both.backbone.parameters())
    record_training.train(both.backbone, both.examples, chosen, names, 1.0, noise)
    model = GradSampleModule(both.peft, loss_reduction="sum")
    # In the order in which ours draw noise.
    groups = groups_of(both.backbone.parameters(), chosen, 1.0, rslora=True)
    ours = {id(p): n for n, p in both.backbone.parameters().items()}
    order = [both.theirs(ours[id(p)]) for g in groups for p in g["params"]]
    stepper = DPOptimizer(
        AdamW(order, 3e-3, weight_decay=0.0), noise_multiplier=0.8,
        max_grad_norm=most, expected_batch_size=0.25 * 12, generator=second,
    )  # fmt: skip
    model.train()
    for batch in map(both.examples.batch, batches):
        stepper.zero_grad()
        logits, labels = model(**batch).logits, batch["labels"]
        nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
        stepper.step()
    both.compare(1e-7)


def test_the_step_of_a_direction_has_the_same_groups():
    """With nothing to follow FedAdamW takes AdamW's step, of rsLoRA as well."""
    chosen = TrainingSettings(learning_rate=0.01, weight_decay=0.2)
    ends = []
    for directed in (True, False):
        B = nn.Parameter(torch.linspace(-1, 1, 6).view(3, 2))
        groups = groups_of({"layer.lora_B": B}, chosen, 1.0, rslora=True)
        stepper: Any = AdamW(groups, lr=0.01, weight_decay=0.2)
        if directed:
            stepper = DirectedAdamW(groups, chosen, 1.0, 0.0)
            stepper.begin(B, torch.zeros_like(B), 0.0, None)
        for number in (1, 2, 3):
            B.grad = 1e-8 * number * torch.arange(6.0).view(3, 2)  # where eps counts
            stepper.step()
        ends.append(B.detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-6, atol=0)


def test_a_method_without_a_scaling_is_refused():
    refused = {n: problems(settings(n, use_rslora=True)) for n in METHODS}
    said = {n: found["use-rslora"] for n, found in refused.items() if found}
    assert set(said) == {"fedavg-full", "linear-probe", "fedgalore"}
    assert "trains every weight" in said["fedavg-full"]
    assert "trains nothing" in said["linear-probe"]
    assert "projectors" in said["fedgalore"]


def test_a_trainer_has_an_optimizer_of_its_own(tiny_model):
    chosen = ModelSettings(model=tiny_model, use_rslora=True)
    backbone = load_backbone(chosen, LABELS, 0)
    with pytest.raises(ValueError, match=r"use-rslora = true: expected false.*Trainer"):
        ClientRound.begin(None, None, backbone, None)


@pytest.mark.slow
@pytest.mark.parametrize("most", [0.0, 0.1])
def test_clients_of_one_rank_train_as_one_batch(made, monkeypatch, most):  # noqa: F811
    monkeypatch.setattr(test_stacked_training, "RANKS", (2, 2, 2))
    how: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.1}
    ends = [
        test_stacked_training.check(
            made["bert"], clip_grad_norm=most, use_rslora=on, **how
        )
        for on in (True, False)
    ]
    a, b = (end[0].named_tensors() for end in ends)
    assert any(not value.equal(b[name]) for name, value in a.items())


@pytest.mark.slow
def test_those_of_other_ranks_do_not(job, tmp_path):  # noqa: F811
    """A run ends as it does one by one, and other than without rsLoRA."""
    chosen = {"client_ranks": "2,4,2", "local_steps": 2}
    _, one = end(job, tmp_path / "one", use_rslora=True, **chosen)
    _, found = end(job, tmp_path / "m", use_rslora=True, clients_per_batch=3, **chosen)
    _, plain = end(job, tmp_path / "plain", **chosen)
    for name, value in one.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    assert any(not torch.allclose(v, plain[n], atol=1e-4) for n, v in one.items())
    file = tmp_path / "one" / "adapter" / "adapter_config.json"
    config = json.loads(file.read_text())
    assert (config["use_rslora"], config["lora_alpha"]) == (False, 2.0 * config["r"])
