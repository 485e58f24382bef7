"""What stays with a client, what it chooses to send, and what its memory adds up to."""

import pytest
import torch

from ilora_app import wire
from ilora_app.corrections import ControlVariates
from ilora_app.lora.factors import only
from ilora_app.methods import METHODS
from ilora_app.settings import MethodSettings
from ilora_app.strategies import FedSALoRA, Local, LoRAA2
from tests.builders import SHAPES
from tests.controlled import control_of
from tests.oracles import TABLE, Row, padded
from tests.packets import opened
from tests.quadratic import HEAD, Problem
from tests.toy import Toy

RANKS, EXAMPLES = (1, 2, 4), (10, 70, 20)


def names(content) -> set[str]:
    return {n for record in content.array_records.values() for n in opened(record)}


def test_fedsa_averages_a_and_b_never_leaves_its_client():
    run = Toy(FedSALoRA(), Problem(RANKS, EXAMPLES))
    own: dict[int, dict] = {}
    for faults in ({}, {"n2": "absent"}, {"n1": "lost"}, {}):
        before = run.state.adapter.factors
        for t in run.round(**faults):
            for box in (run.grid.asked, run.grid.replied):
                shared = names(box[t.node].content)
                assert shared == {f"{m}.lora_A" for m in SHAPES} | {f"head.{HEAD}"}
            for module, (B, A) in t.start.factors.items():
                assert torch.equal(A, before[module][1][: t.rank])
                mine = own.get(t.node, {}).get(module, torch.zeros_like(B))
                assert torch.equal(B, mine)
        for node, t in run.grid.taken.items():
            own[node] = {m: B for m, (B, _) in t.trained.factors.items()}
        if (
            "n1" in faults
        ):  # its work went into no mean, and its own B moved all the same
            state = run.grid._contexts[1].state
            kept = wire.decode_tensors(state.array_records["own-groups"])
            own[1] = {m: kept[f"{m}.lora_B"] for m in SHAPES}
        for module, (_, A) in run.state.adapter.factors.items():
            mean = padded(run.history[-1], 1, module, max(RANKS))
            torch.testing.assert_close(A.double(), mean, atol=1e-7, rtol=1e-6)
    assert all(B.norm() > 0 for kept in own.values() for B in kept.values())


def test_local_clients_go_on_alone_from_one_start():
    run = Toy(Local(), Problem(RANKS, EXAMPLES))
    initial = run.state.adapter
    last: dict[int, dict] = {}
    for faults in ({}, {"n2": "absent"}, {}):
        for t in run.round(**faults):
            first = initial.cut(t.rank).named_tensors()
            start = last.get(t.node, first)
            for name, value in t.start.named_tensors().items():
                assert torch.equal(value, start[name])
            assert names(run.grid.replied[t.node].content) == set()
            last[t.node] = t.trained.named_tensors()
    for name, value in run.state.adapter.named_tensors().items():
        assert torch.equal(value, initial.named_tensors()[name])


def own_control(run: Toy, node: int) -> dict[str, torch.Tensor]:
    """c_k of a client: what it holds, and the pending one where the server took it."""
    state = run.grid._contexts[node].state
    found: dict[str, torch.Tensor] = {}
    if "control-variate" in state:
        found |= wire.decode_tensors(state.array_records["control-variate"])
    if "control-variate-pending" in state:
        record = state.config_records["control-variate-pending-round"]
        if record[
            "control-variate-pending-round"
        ] == run.strategy.drift_correction.last_taken(node):
            pending = state.array_records["control-variate-pending"]
            found |= wire.decode_tensors(pending)
    return found


@pytest.mark.parametrize(
    "row", [row for row in TABLE if METHODS[row.name].control_scopes], ids=str
)
def test_server_control_is_the_sum_of_what_clients_keep(row: Row):
    """c = sum_k pad(c_k) / N after faults of every kind, for every strategy."""
    scope = METHODS[row.name].control_scopes[0]
    correction = ControlVariates("all", scope=scope, weights="uniform")
    settings = MethodSettings(hetlora_lambda=9.0)
    problem = Problem((1, 2, 4, 3), (10, 70, 20, 40), rate=0.003)
    run = Toy(row.make(drift_correction=correction), problem, settings)
    late = {"n4": "absent"}
    for faults in (late, late | {"n2": "lost"}, {"n3": "crash"}, {"n1": "error"}, {}):
        assert run.round(**faults)
        members = run.strategy.membership.members
        c = control_of(run.strategy)
        for name, value in c.items():
            total = torch.zeros_like(value)
            for member in members:
                own = own_control(run, member.node_id)
                if name in own:
                    part = own[name]
                    total[tuple(slice(0, n) for n in part.shape)] += part
            mean = total / len(members)
            torch.testing.assert_close(value, mean, atol=1e-5, rtol=1e-5)
    trained = only(c, run.strategy.method.plan(run.state).up)
    assert trained
    assert all(value.norm() > 0 for value in trained.values())


def test_lora_a2_sends_the_slots_whose_products_moved_most_over_all_layers():
    run = Toy(LoRAA2(), Problem(RANKS, EXAMPLES))
    uneven = 0
    for _ in range(4):
        for t in run.round():
            moved = {}
            for module, (B, A) in t.trained.factors.items():
                B_0, A_0 = t.start.factors[module]
                for j in range(max(RANKS)):
                    after = torch.outer(B[:, j], A[j]).double()
                    before = torch.outer(B_0[:, j], A_0[j]).double()
                    moved[module, j] = float((after - before).norm())
            best = sorted(moved, key=moved.__getitem__, reverse=True)
            best = set(best[: t.rank * len(SHAPES)])
            sent = {
                (module, j)
                for module, mask in t.upload.slots.items()
                for j in mask.nonzero().flatten().tolist()
            }
            assert sent == best
            uneven += len({sum(m == n for n, _ in sent) for m in SHAPES}) > 1
    assert uneven
