"""Private adapters: trained beside the shared one, and nothing of them in a message."""

from statistics import fmean
from typing import Any

import pytest
import torch

from ilora_app import wire
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.initialisation import standard_factors
from ilora_app.methods import METHODS
from ilora_app.node.client_state import ClientState
from ilora_app.node.node import Node
from ilora_app.node.private_part import private_part
from ilora_app.settings.method import CORRECTIONS
from ilora_app.tasks import training
from ilora_app.tasks.private_adapter import PrivateAdapter
from tests.local_run import metrics, run

pytestmark = pytest.mark.slow

STRATEGIES = [n for n, m in METHODS.items() if m.trains and not m.whole_model]


def arrays(message: Any) -> list[torch.Tensor]:
    """Every tensor of a message, whatever it is called."""
    return [
        tensor
        for record in message.content.array_records.values()
        for tensor in wire.decode_tensors(record).values()
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_of_it_is_in_any_message(tiny_config, tmp_path, strategy):
    sizes = []
    for rank in (0, 5):
        replies: list[Any] = []

        def keep(reply: Any, into: list[Any] = replies) -> Any:
            into.append(reply)
            return reply

        job = {**tiny_config, "strategy": strategy, "private-rank": rank}
        _, grid, _ = run(
            {**job, "output-dir": str(tmp_path / f"run-{rank}")}, tamper=keep
        )
        sizes.append([[a.shape for a in arrays(m)] for m in (*grid.sent, *replies)])
        if not rank:
            continue
        held = [
            ClientState(context.state).tensors("private-adapter")
            for context in grid._contexts.values()
        ]
        trained = [one for one in held if one]
        assert trained
        for one in trained:
            moved = [v for n, v in one.items() if n.endswith("lora_B") and v.any()]
            assert moved  # B began at zero
            for message in replies:
                for sent in arrays(message):
                    for value in one.values():
                        assert sent.shape != value.shape or not sent.equal(value)
    assert sizes[0] == sizes[1]


def test_clients_are_measured_with_both_and_the_global_model_with_the_shared_one(
    tiny_config, tmp_path
):
    job = {**tiny_config, "private-rank": 4, "output-dir": str(tmp_path / "run")}
    folder, grid, server = run(job)
    rows = metrics(folder)
    last = rows.iloc[-1]
    backbone, model = server.prepared.backbone, server.strategy.global_model(None)
    size = server.prepared.settings.training.eval_batch_size
    backbone.install(model)
    shared = training.evaluate(backbone, server.prepared.test, size)
    assert last["loss"] == pytest.approx(shared["loss"], rel=1e-5)

    losses = []
    for node, context in grid._contexts.items():
        member = Node.of(context)
        state = ClientState(context.state)
        backbone = member.data.backbone()
        rank = member.rank
        share = server.strategy.method.share(server.strategy.state, rank)
        backbone.install(share.adapter, share.offset(backbone.directions))
        assert private_part(member, backbone, state) is not None
        _, held_out = member.data.examples()
        losses.append(training.evaluate(backbone, held_out, size)["loss"])
        backbone.install(share.adapter, share.offset(backbone.directions))
        without = training.evaluate(backbone, held_out, size)["loss"]
        assert losses[-1] != without, node
    assert last["client_loss_mean"] == pytest.approx(fmean(losses), rel=1e-5)


def test_private_adapters_are_the_same_in_every_run(tiny_config, tmp_path):
    job = {**tiny_config, "private-rank": 4, "num-server-rounds": 3}
    ends = []
    for name in ("one", "two"):
        _, grid, _ = run({**job, "output-dir": str(tmp_path / name)})
        states = [ClientState(c.state) for c in grid._contexts.values()]
        ends.append([state.tensors("private-adapter") for state in states])
    for one, other in zip(*ends, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_nodes_whose_inputs_differ_by_a_known_transformation_need_a_private_part(shift):
    """y = M x_true, and node k sees x = x_true + shift Q_k x_true: one layer, SGD.

    What they share is M; what undoes Q_k is each node's own. Without a difference a
    private part gains nothing, with one it does.
    """
    draw = torch.Generator().manual_seed(0)
    M = torch.randn(6, 6, generator=draw)
    seen = [
        torch.eye(6) + shift * torch.outer(*torch.randn(2, 6, generator=draw)) / 6
        for _ in range(3)
    ]
    x = torch.randn(3, 64, 6, generator=draw)

    def loss_of(private: bool) -> float:
        W = torch.zeros(6, 6, requires_grad=True)
        own = [standard_factors({"m": (6, 6)}, 2, draw)["m"] for _ in seen]
        own = [tuple(t.clone().requires_grad_() for t in pair) for pair in own]
        optimizer = torch.optim.Adam([W, *(t for pair in own for t in pair)], lr=0.02)
        for _ in range(600):
            optimizer.zero_grad()
            losses = []
            for k, T in enumerate(seen):
                layer = W + own[k][0] @ own[k][1] if private else W
                losses.append((x[k] @ T.T @ layer.T - x[k] @ M.T).square().mean())
            sum(losses).backward()
            optimizer.step()
        return float(sum(losses).detach())

    alone, both = loss_of(False), loss_of(True)
    if shift:
        assert both < 0.2 * alone
    else:
        assert max(alone, both) < 1e-3


@pytest.mark.parametrize("name", sorted(set(CORRECTIONS) - {"fedsmoo", "fedglomo"}))
def test_a_correction_corrects_the_shared_adapter_alone(tiny_config, tmp_path, name):
    """The first round is that of no correction; the private part has no direction."""
    job = {**tiny_config, "strategy": "hetlora", "private-rank": 3}
    folder, grid, _ = run(
        {**job, "drift-correction": name, "output-dir": str(tmp_path / name)}
    )
    assert metrics(folder)["train_loss"].iloc[1:].notna().all()
    for context in grid._contexts.values():
        held = ClientState(context.state).tensors("private-adapter")
        assert held
        assert all(value.isfinite().all() for value in held.values())
        assert any(v.any() for n, v in held.items() if n.endswith("lora_B"))


def test_the_weight_is_a_factor_on_the_private_product(tiny_config, tmp_path):
    """w B_p A_p is (w B_p) A_p at a weight of 1, and nothing at B_p = 0."""
    _, grid, _ = run({**tiny_config, "output-dir": str(tmp_path / "run")})
    member = Node.of(next(iter(grid._contexts.values())))
    backbone, (_, held_out) = member.data.backbone(), member.data.examples()
    start = AdapterState(LoraFactors({}), backbone.initial_head())
    draw = torch.Generator().manual_seed(0)
    drawn = standard_factors(backbone.shapes(), 3, draw)
    losses = {}
    for weight, scale in ((0.5, 1.0), (1.0, 0.5), (1.0, 0.0)):
        B = {m: torch.ones(len(B), 3) * scale for m, (B, _) in drawn.items()}
        factors = LoraFactors({m: (B[m], A) for m, (_, A) in drawn.items()})
        backbone.install(start)
        PrivateAdapter(backbone, 3, weight).install(factors)
        losses[weight, scale] = training.evaluate(backbone, held_out, 16)["loss"]
    backbone.install(start)
    plain = training.evaluate(backbone, held_out, 16)["loss"]
    assert losses[0.5, 1.0] == pytest.approx(losses[1.0, 0.5], rel=1e-6)
    assert losses[1.0, 0.0] == pytest.approx(plain, rel=1e-6)
    assert losses[0.5, 1.0] != pytest.approx(plain, rel=1e-4)
