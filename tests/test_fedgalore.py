"""FedGaLore: projectors, projected steps, moments that follow, what is refused."""

import pytest
import torch
from torch.optim import AdamW

from ilora_app import wire
from ilora_app.corrections import server_half
from ilora_app.federation.event_log import EventLog
from ilora_app.lora.projector import (
    projector,
    turned_moment,
)
from ilora_app.methods.fedgalore import FedGaLore
from ilora_app.settings import MethodSettings
from ilora_app.strategies import LoraStrategy
from tests.quadratic import HEAD, SCALING, Problem, weights
from tests.toy import Toy

MOMENTS = "moment/"


class Events:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict]] = []

    def event(self, kind: str, **facts: object) -> None:
        self.seen.append((kind, facts))


def toy(problem: Problem, sync: str = "ajive", every: int = 1) -> Toy:
    chosen = MethodSettings(drift_correction="second-moments", moment_sync=sync)
    correction = server_half(chosen, "head", False, True)
    return Toy(LoraStrategy(FedGaLore(every), drift_correction=correction), problem)


def test_at_full_rank_it_is_fedavg_with_adamw_on_the_weights():
    """Dense, with torch's own AdamW; eps is the one thing that s changes."""
    side = max(max(shape) for shape in Problem((1,), (1,)).shapes.values())
    problem = Problem((side, side), (10, 30), rate=0.01, steps=4)
    run = toy(problem, sync="none")
    W = {m: w.clone() for m, w in problem.W0.items()}
    head = torch.zeros_like(problem.heads[0])
    for _ in range(3):
        taken = run.round()
        ends = []
        for k in range(2):
            own = {m: w.clone().requires_grad_() for m, w in W.items()}
            own[HEAD] = head.clone().requires_grad_()
            groups = [
                {"params": [w], "lr": problem.rate * (SCALING if m != HEAD else 1.0)}
                for m, w in own.items()
            ]
            optimizer = AdamW(groups, weight_decay=0.0)
            for _ in range(problem.steps):
                optimizer.zero_grad()
                targets = {**problem.targets[k], HEAD: problem.heads[k]}
                sum(
                    ((w - targets[m]) ** 2).sum() / 2 for m, w in own.items()
                ).backward()
                optimizer.step()
            ends.append(own)
        p = weights(taken)
        mean = {
            m: sum(w * e[m].detach() for w, e in zip(p, ends, strict=True))
            for m in ends[0]
        }
        head = mean.pop(HEAD)
        W = mean
        model = run.model()
        for m, w in W.items():
            found = problem.W0[m] + SCALING * model[m].float()
            torch.testing.assert_close(found, w, atol=2e-5, rtol=0)
        torch.testing.assert_close(model[HEAD].float(), head, atol=2e-5, rtol=0)


@pytest.mark.parametrize("sync", ["means", "ajive"])
def test_synchronisation_on_identical_clients_changes_nothing(sync):
    one = Problem((3,), (10,))
    same = Problem(
        (3, 3), (10, 30), targets=one.targets[:1] * 2, heads=one.heads[:1] * 2
    )
    run = toy(same, sync)
    run.round()
    own = wire.decode_tensors(run.grid.replied[1].content[wire.CORRECTION])
    shared = run.strategy.drift_correction.more()["moment/"].named_tensors()
    sent = {n: v for n, v in own.items() if n.startswith(MOMENTS)}
    assert len(sent) == len(same.shapes) + 1
    for name, value in sent.items():
        assert float(value.max()) > 0
        torch.testing.assert_close(
            shared[name.removeprefix(MOMENTS)], value, rtol=1e-6, atol=0
        )


def test_moments_are_carried_on_and_follow_projectors():
    problem = Problem((1, 2, 3), (10, 20, 30), rate=0.01, steps=4)
    models = {}
    for sync in ("none", "means", "ajive"):
        run = toy(problem, sync)
        for _ in range(3):
            run.round()
        models[sync] = run.model()
    assert all(
        not models[a][m].allclose(models[b][m], atol=1e-6)
        for a, b in (("none", "means"), ("none", "ajive"))
        for m in problem.shapes
    )
    run = toy(problem, "means")
    run.round()
    held = run.strategy.drift_correction.more()["moment/"].named_tensors()
    before = dict(run.grid.last[3].start.factors.items())
    run.round()
    sent = wire.decode_tensors(run.grid.asked[3].content[wire.CORRECTION])
    for module, pair in run.grid.last[3].start.factors.items():
        right = not pair[0].any()
        name = f"{module}.{'lora_B' if right else 'lora_A'}"
        assert not any(n.endswith("lora_A") and right for n in sent if module in n)
        old, new = projector(before[module]), projector(pair)
        assert not old.allclose(new)
        v = held[name] if right else held[name].T
        turned = turned_moment(v, old, new)
        found = sent[MOMENTS + name]
        torch.testing.assert_close(found if right else found.T, turned)


@pytest.mark.parametrize(("every", "changes"), [(1, [1, 1, 1]), (2, [1, 0, 1])])
def test_projectors_stay_for_as_many_rounds_as_asked(every, changes):
    run = toy(Problem((2, 3), (10, 20), steps=3, rate=0.01), every=every)
    found = []
    for _ in changes:
        before = run.state.adapter
        run.round()
        pairs = zip(
            before.factors.items(), run.state.adapter.factors.items(), strict=True
        )
        same = [projector(a).equal(projector(b)) for (_, a), (_, b) in pairs]
        assert all(same) or not any(same)
        found.append(int(not any(same)))
    assert found == changes


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda S: 3 * S, "has norm 3"),
        (lambda S: S[:1], "expected float32 (3, 10)"),
        (lambda S: torch.full_like(S, torch.nan), "holds NaN or infinity"),
    ],
)
def test_a_sketch_that_is_none_leaves_the_reply_out(change, reason):
    run = toy(Problem((2, 3), (10, 20), steps=3, rate=0.01))
    replies = run.ask()
    for reply in replies:
        if reply.metadata.src_node_id == 2:
            found = wire.decode_tensors(reply.content[wire.EXTRA])
            module = next(iter(found))
            found[module] = change(found[module])
            reply.content[wire.EXTRA] = wire.encode_tensors(found)
    events = Events()
    run.strategy.events = EventLog(events)
    run.take(replies)
    assert run.state.step == 1
    ((name, facts),) = [one for one in events.seen if one[0] == "reply-left-out"]
    assert facts["node"] == 2
    assert reason in facts["reason"], (name, facts)


def test_the_next_projector_is_of_the_dense_gradients_of_the_clients():
    """In float64, from the equations: SGD, unequal ranks and weights, both sides."""
    problem = Problem((2, 3), (10, 30), steps=4, rate=0.01)
    run = Toy(LoraStrategy(FedGaLore(1)), problem)
    first = run.state.adapter.factors
    run.round()
    for module, (B, _) in first.items():
        right = not B.any()
        P, total = projector(first[module]).double(), 0.0
        for k, (rank, p) in enumerate(zip(problem.ranks, (0.25, 0.75), strict=True)):
            W0, target = problem.W0[module].double(), problem.targets[k][module]
            off = W0 - target.double()
            off = off if right else off.T  # as if projected from the right
            M, S = torch.zeros(len(off), rank).double(), 0.0
            for _ in range(problem.steps):
                G = off + SCALING * M @ P[:rank]
                S = S + SCALING * M.T @ G
                M = M - problem.rate * SCALING * G @ P[:rank].T
            padded = torch.zeros(P.shape).double()
            padded[:rank] = S / S.norm()
            total = total + p * padded
        V = torch.linalg.svd(total, full_matrices=False)[2]
        found = projector(run.state.adapter.factors[module]).double()
        torch.testing.assert_close(
            (found @ V.T).abs(), torch.eye(len(P)).double(), atol=1e-4, rtol=0
        )
