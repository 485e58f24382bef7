"""What applies c - c_k: equal to an optimizer that is fed it by hand."""

import pytest
import torch
from torch.optim import SGD, AdamW

from ilora_app.corrections.hooks import GradientCorrection

SHAPE = (5, 3)


def run(optimizer, settings, steps=3):
    """Train one matrix with a hook; returns it, the raw gradients, and the hook."""
    w = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).requires_grad_()
    added = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    other = torch.zeros(2, requires_grad=True)  # trained, and not corrected
    stepper = optimizer([w, other], **settings)
    hook = GradientCorrection({"w": w}, {"w": added})
    hook.attach(stepper)
    raw, sizes = [], [4, 4, 2, 3, 1][:steps]
    for size in sizes:
        stepper.zero_grad()
        ((torch.sin(w) ** 2).sum() + other.sum()).backward()
        raw.append(w.grad.clone())
        hook.examples = size
        stepper.step()
    return w.detach(), added, raw, sizes, hook


@pytest.mark.parametrize("optimizer", [AdamW, SGD])
def test_corrected_gradient_is_what_the_optimizer_sees(optimizer):
    settings = {"lr": 0.1, "weight_decay": 0.3}
    found, added, raw, sizes, hook = run(optimizer, settings)
    fed = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    fed.requires_grad_()
    plain = optimizer([fed], **settings)
    for _ in sizes:
        plain.zero_grad()
        (torch.sin(fed) ** 2).sum().backward()
        fed.grad += added
        plain.step()
    assert torch.equal(found, fed)
    mean = sum(s * g for s, g in zip(sizes, raw, strict=True)) / sum(sizes)
    torch.testing.assert_close(hook.mean_gradient()["w"], mean)


@pytest.mark.parametrize("optimizer", [AdamW, SGD])
def test_a_correction_of_zero_changes_nothing(optimizer):
    w, plain = (torch.ones(SHAPE, requires_grad=True) for _ in range(2))
    steppers = [optimizer([x], lr=0.1) for x in (w, plain)]
    GradientCorrection({"w": w}, {"w": torch.zeros(SHAPE)}).attach(steppers[0])
    for x, stepper in zip((w, plain), steppers, strict=True):
        (torch.sin(x) ** 2).sum().backward()
        stepper.step()
    assert torch.equal(w, plain)
