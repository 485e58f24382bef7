"""Training by a Trainer: what it comes to is what ilora's own loop comes to."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim import SGD

from ilora_app import client_app
from ilora_app.corrections.hooks import GradientCorrection
from ilora_app.trainer import DriftCorrectionCallback
from tests.trainer_client import federate, trainer_app

SETTINGS = {
    "num-server-rounds": 3,
    "fraction-evaluate": 0.0,
    "base-dropout": False,
    "activation-cache": 0,
    "learning-rate": 0.01,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "trainer"),
    [
        # The last batch of the epoch is smaller, and weighs less in c_k.
        ({"local-steps": 0, "local-epochs": 1}, {}),
        # The gradient is clipped before it is corrected, in both loops.
        (
            {"local-steps": 4, "gradient-accumulation": 2, "clip-grad-norm": 0.05},
            {"max_grad_norm": 0.05},
        ),
        pytest.param(
            {"drift-correction": "fedprox", "proximal-mu": 3.0},
            {},
            marks=pytest.mark.long,
        ),
        pytest.param(
            {"use-dora": True, "strategy": "fedit"}, {}, marks=pytest.mark.long
        ),
        pytest.param({"drift-correction": "fedzmg"}, {}, marks=pytest.mark.long),
    ],
    ids=["an epoch", "accumulated and clipped", "fedprox", "dora", "fedzmg"],
)
def test_a_trainer_comes_to_what_the_own_loop_comes_to(
    run_config, tmp_path, own, trainer
):
    config = run_config | {"drift-correction": "control-variates"} | SETTINGS | own
    ours = federate(client_app.app, config)
    config |= {"output-dir": str(tmp_path / "other")}
    theirs = federate(trainer_app(tmp_path / "trainer", **trainer), config)
    assert list(theirs) == list(ours)
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=1e-6, msg=name)
    if config["drift-correction"] == "control-variates":
        assert (
            sum(float(v.norm()) for n, v in ours.items() if n.startswith("c ")) > 0.01
        )


class Loop:
    """Calls a callback as a Trainer does."""

    def __init__(self, callback: DriftCorrectionCallback, model: nn.Module) -> None:
        self.model = model
        self.optimizer = SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
        self._callback = callback
        self.tell("on_train_begin")

    def tell(self, event: str) -> None:
        given = {
            "model": self.model,
            "optimizer": SimpleNamespace(optimizer=self.optimizer),
        }
        getattr(self._callback, event)(
            SimpleNamespace(world_size=1), None, None, **given
        )

    def step(self, *batches: torch.Tensor) -> None:
        self.tell("on_step_begin")
        rows = sum(map(len, batches))
        for batch in batches:
            (self.model(input=batch).sum() / rows).backward()
        self.tell("on_pre_optimizer_step")
        self.optimizer.step()
        self.optimizer.zero_grad()


def corrected() -> tuple[Loop, GradientCorrection, nn.Linear]:
    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)
    named = {"w": model.weight}
    hook = GradientCorrection(named, {"w": torch.tensor([[10.0, 0.0]])})
    return (
        Loop(DriftCorrectionCallback(named, [hook, None], [None]), model),
        hook,
        model,
    )


def test_a_step_is_corrected_once_and_weighs_all_its_examples():
    loop, hook, model = corrected()
    loop.step(torch.ones(3, 2), torch.ones(1, 2))
    assert model.weight.tolist() == [[-11.0, -1.0]]
    model.eval()
    model(input=torch.ones(50, 2))
    model.train()
    loop.step(4 * torch.ones(2, 2))
    mean = hook.mean_gradient()["w"]
    torch.testing.assert_close(mean, torch.full((1, 2), (4 * 1.0 + 2 * 4.0) / 6))


def test_training_again_does_not_correct_twice():
    loop, _, model = corrected()
    loop.tell("on_train_end")
    assert not model._forward_pre_hooks
    loop.tell("on_train_begin")
    loop.step(torch.ones(1, 2))
    assert model.weight.tolist() == [[-11.0, -1.0]]


def test_an_optimizer_of_something_else_is_refused():
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"does not hold far.w .*FSDP"):
        Loop(DriftCorrectionCallback({"far.w": other.weight}), model)
    with pytest.raises(ValueError, match=r"holds bias .*Freeze"):
        Loop(DriftCorrectionCallback({"w": model.weight}), model)
