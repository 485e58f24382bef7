"""DoRA: steps are PEFT's, and magnitudes are averaged as the head is."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from ilora_app import wire
from ilora_app.federation.validity import problems
from ilora_app.lora.factors import MAGNITUDE, AdapterState
from ilora_app.methods import METHODS, resolve
from ilora_app.settings import TrainingSettings, parsing
from ilora_app.tasks import training
from ilora_app.tasks.optimizers import groups_of
from tests.local_run import metrics, run
from tests.plain_peft import Both

MERGES = ("flora", "fedex-lora", "fedgalore")
RATES = {"adamw": 3e-3, "sgd": 0.05}


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize(("rslora", "dropout"), [(False, 0.0), (True, 0.3)])
def test_steps_are_those_of_peft_with_use_dora(tiny_model, optimizer, rslora, dropout):
    both = Both(tiny_model, 4, use_dora=True, use_rslora=rslora, lora_dropout=dropout)
    lengths = [n for n in both.backbone.parameters() if n.endswith(MAGNITUDE)]
    assert len(lengths) == len(both.backbone.shapes()) == 4
    rate = RATES[optimizer]
    chosen = TrainingSettings(
        optimizer=optimizer, learning_rate=rate, weight_decay=0.1, local_steps=3,
        clip_grad_norm=0.1, batch_size=4,
    )  # fmt: skip
    training.train(both.backbone, both.examples, chosen, seed=5)
    stepper: Any = AdamW(both.trained, rate, weight_decay=0.1)
    if optimizer == "sgd":
        stepper = SGD(both.trained, rate, momentum=0.9, weight_decay=0.1)
    torch.manual_seed(5)  # of the dropout
    draw = torch.Generator().manual_seed(5)
    both.peft.train()
    for indices in both.examples.drawn(4, 3, 1, draw):
        stepper.zero_grad()
        both.peft(**both.examples.batch(indices, draw)).loss.backward()
        assert float(nn.utils.clip_grad_norm_(both.trained, 0.1)) > 0.1
        stepper.step()
    both.compare(1e-9)
    start = both.start.head
    assert all(
        float((both.theirs(n).detach() - start[n.removeprefix("head.")]).abs().max())
        > 1e-4
        for n in lengths
    )


def test_without_a_step_it_is_the_base(tiny_model):
    """Magnitudes begin as the lengths of rows of W0; evaluation keeps them apart."""
    both, plain = Both(tiny_model, 4, use_dora=True), Both(tiny_model, 4)
    head = both.backbone.initial_head()
    lengths = {n: v for n, v in head.items() if n.endswith(MAGNITUDE)}
    for name, W0 in both.backbone.base_weights():
        torch.testing.assert_close(
            lengths[name + MAGNITUDE], W0.norm(dim=1).float(), rtol=1e-6, atol=0
        )
    zero = {m: (0.0 * B, A) for m, (B, A) in both.start.factors.items()}
    for each in (both, plain):
        state = AdapterState(
            type(both.start.factors)(zero), each.backbone.initial_head()
        )
        each.backbone.install(state)
    found, expected = (
        training.evaluate(each.backbone, each.examples, 12)["loss"]
        for each in (both, plain)
    )
    assert found == pytest.approx(expected, rel=1e-6)
    longer = {n: 1.5 * v if n in lengths else v for n, v in head.items()}
    trained = AdapterState(both.start.factors, longer)
    both.backbone.install(trained)
    beside = training.evaluate(both.backbone, both.examples, 12)["loss"]
    assert abs(beside - expected) > 1e-6
    both.backbone.install_merged(trained)
    assert training.evaluate(both.backbone, both.examples, 12)["loss"] == beside


def test_what_magnitudes_are_not_of_is_not_installed(tiny_model):
    both = Both(tiny_model, 4, use_dora=True)
    name = next(iter(both.backbone.shapes()))
    offset = {m: pair for m, pair in both.start.factors.items() if m == name}
    T = {name: torch.zeros(both.backbone.shapes()[name])}
    without = AdapterState(both.start.factors, {})
    for wrong in ((both.start, offset), (both.start, None, T), (without,)):
        with pytest.raises(ValueError, match="DoRA: expected magnitudes for all"):
            both.backbone.install(*wrong)


def test_the_rate_of_the_head_is_not_that_of_magnitudes():
    named = {
        f"layer{MAGNITUDE}": nn.Parameter(torch.ones(2)),
        "classifier.bias": nn.Parameter(torch.ones(2)),
    }
    flat = {f"head.{name}": value for name, value in named.items()}
    groups = groups_of(flat, TrainingSettings(learning_rate=1.0), 0.1)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert [rates[id(p)] for p in named.values()] == [1.0, 0.1]


def refused(**config: object) -> str:
    settings, wrong = parsing.parse({"use-dora": True, **_keys(config)})
    assert not wrong
    return problems(settings).get("use-dora", "")


def _keys(config: dict[str, object]) -> dict[str, object]:
    return {key.replace("_", "-"): value for key, value in config.items()}


def test_a_method_that_changes_the_base_is_refused():
    said = {name: refused(strategy=name) for name in METHODS}
    assert {name for name, why in said.items() if why} == {
        "ilora", "fedavg-full", "linear-probe", *MERGES,
    }  # fmt: skip
    assert "trains every weight" in said["fedavg-full"]
    assert "trains nothing" in said["linear-probe"]
    for name in MERGES:
        assert (
            "into the base of every client" in said[name] or "leave over" in said[name]
        )
    assert "residual = 'send'" in said["ilora"]
    assert not refused(strategy="ilora", residual="drop")
    assert "cut = 'product'" in refused(strategy="ilora", cut="product")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"initialisation": "qr"}, "initialisation = 'qr' takes its start out"),
        ({"head": "ridge"}, "which head = 'ridge' does not train"),
        ({"head_rate": "0"}, "which head-rate = '0' freezes"),
        ({"quantisation": "4bit"}, "quantisation = '4bit' would have every step"),
        ({"private_rank": 2}, "private-rank = 2: what a client keeps"),
        ({"wire_dtype": "int8"}, "wire-dtype = 'int8' would round magnitudes"),
        ({"dp": "record"}, "Opacus has no gradients of single rows"),
        ({"round_deadline": 5.0}, "a deadline counts the steps of a head as one"),
    ],
)
def test_a_setting_under_which_it_makes_no_sense_is_refused(changed, said):
    assert said in refused(strategy="fedit", **changed)


def test_all_reasons_are_told_at_once():
    text = refused(
        strategy="fedit", head="ridge", private_rank=1, wire_dtype="bfloat16"
    )
    assert text.count("; ") == 2
    settings = parsing.load({"use-dora": True, "clients-per-batch": 4})
    assert (
        "magnitudes train client by client" in problems(settings)["clients-per-batch"]
    )


def test_the_head_trains_where_that_is_left():
    for strategy in ("fedit", "ilora"):
        chosen = parsing.load({"strategy": strategy, "use-dora": True})
        assert resolve(chosen).head.head == "trained"


@pytest.mark.slow
def test_magnitudes_of_a_round_are_the_weighted_mean(tiny_config, tmp_path):
    replies: list[tuple[float, dict[str, torch.Tensor]]] = []

    def see(reply: Any) -> Any:
        content = reply.content
        if (
            wire.ARRAYS in content.array_records
            and wire.METRICS in content.metric_records
        ):
            flat = wire.decode_tensors(content.array_records[wire.ARRAYS])
            examples = content.metric_records[wire.METRICS][wire.EXAMPLES]
            if any(n.endswith(MAGNITUDE) for n in flat):
                replies.append((float(examples), flat))
        return reply

    job = tiny_config | {
        "strategy": "fedit", "use-dora": True, "output-dir": str(tmp_path / "run"),
        "num-server-rounds": 1,
    }  # fmt: skip
    _, _, server = run(job, tamper=see)
    assert len(replies) == 3
    found = server.strategy.global_model().named_tensors()
    whole = sum(n for n, _ in replies)
    lengths = [n for n in found if n.endswith(MAGNITUDE)]
    assert len(lengths) == 4
    for name in lengths:
        mean = sum(n / whole * flat[name].double() for n, flat in replies)
        torch.testing.assert_close(found[name].double(), mean, rtol=1e-6, atol=0)
        assert len({tuple(flat[name].tolist()) for _, flat in replies}) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy",
    [
        name
        if name in ("hetlora", "fedsa-lora")
        else pytest.param(name, marks=pytest.mark.long)
        for name in sorted(
            METHODS.keys() - {"fedit", "fedavg-full", "linear-probe", *MERGES}
        )
    ],
)
def test_a_run_trains_magnitudes(tiny_config, tmp_path, strategy):
    job = tiny_config | {"strategy": strategy, "output-dir": str(tmp_path / "run")}
    job |= {"residual": "drop"} if strategy == "ilora" else {}
    plain, _, _ = run(job | {"output-dir": str(tmp_path / "plain")})
    folder, _, server = run(job | {"use-dora": True})
    found, expected = metrics(folder), metrics(plain)
    if not METHODS[strategy].personal:
        before = expected["loss"].iloc[0]
        assert found["loss"].iloc[0] == pytest.approx(before, rel=1e-5)
    assert found["train_loss"].iloc[-1] != expected["train_loss"].iloc[-1]
    assert server.prepared.settings.head.head == "trained"
    state = server.strategy.state.adapter.head
    start = server.prepared.backbone.initial_head()
    moved = [
        float((state[n] - start[n]).abs().max()) for n in state if n.endswith(MAGNITUDE)
    ]
    assert len(moved) == 4
    assert all(m > 0 for m in moved) == (strategy != "local")
