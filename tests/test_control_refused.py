"""What limits do to a correction: client and server go on with the same c_k."""

import pytest
import torch

from ilora_app.corrections import ControlVariates
from ilora_app.corrections.fedsmoo import FedSMOO
from ilora_app.federation import robust, validity
from ilora_app.federation.limits import Limits
from ilora_app.federation.outliers import FAR, hold
from ilora_app.methods import METHODS
from ilora_app.node.client_state import ClientState
from ilora_app.strategies import LoraStrategy
from tests.builders import random_state, update
from tests.controlled import Federation, gradient
from tests.quadratic import Problem
from tests.test_robust import RULES, settings_of
from tests.toy import Toy

NODES = 6


def apart(toy: Toy, name: str) -> list[float]:
    """|c_k here - c_k there| / |c_k|, of what the server took last of each node."""
    parts, found = toy.strategy.drift_correction._parts, []
    for node in range(1, NODES + 1):
        memory = ClientState(toy.grid._contexts[node].state)
        taken = memory.number(f"{name}-pending-round") == parts.last_taken(node)
        own = memory.tensors(f"{name}-pending" if taken else name)
        there = parts._store.read(parts._keys[node])
        gap = sum(float((own[n] - there[n]).square().sum()) for n in own)
        found.append((gap / sum(float(v.square().sum()) for v in own.values())) ** 0.5)
    return found


def settled(toy: Toy, name: str) -> list[float]:
    """The same after one more round, in which clients learn what was taken."""
    toy.round()
    return apart(toy, name)


def test_a_late_node_with_ordinary_gradients():
    """Its first upload is a whole gradient, where others send small differences."""
    half, limits = ControlVariates(), Limits(max_norm_ratio=3.0)
    strategy = LoraStrategy(METHODS["fedit"](), drift_correction=half, limits=limits)
    toy = Toy(strategy, Problem((4,) * NODES, (10,) * NODES, rate=0.003))
    reasons = []
    for number in range(8):
        toy.round(**({"n6": "absent"} if number < 4 else {}))
        reasons.append([why for _, why in strategy._training.shrunk])
    assert not any("correction has norm" in why for late in reasons[5:] for why in late)
    assert half.last_taken(NODES) == 8
    assert max(apart(toy, "control-variate")) < 1e-6


@pytest.mark.parametrize("kind", ["control-variates", "fedsmoo"])
def test_who_moves_too_far_keeps_what_the_server_has(kind):
    smoo = kind == "fedsmoo"
    half = FedSMOO(0.05, 0.1) if smoo else ControlVariates()
    limits = Limits(max_norm_ratio=3.0)
    strategy = LoraStrategy(METHODS["fedit"](), drift_correction=half, limits=limits)
    problem = Problem((4,) * NODES, (10,) * NODES, rate=0.003)
    toy = Toy(strategy, problem)
    toy.round()
    far = {m: W + 8 * (problem.targets[3][m] - W) for m, W in problem.W0.items()}
    near, problem.targets[3] = problem.targets[3], far
    toy.round()
    [(member, why)] = strategy._training.shrunk
    assert member.node_id == 4
    assert "its update has norm" in why
    assert (half.last_taken(4), half.last_taken(5)) == (1, 2)
    problem.targets[3] = near
    found = settled(toy, "fedsmoo-h" if smoo else "control-variate")
    assert max(found) < 1e-6
    assert half.last_taken(4) == 3


def clients(server, uploads):
    received = random_state(3, seed=99)
    start = update(0, received).received
    found = []
    for node, upload in enumerate(uploads):
        one = update(node, random_state(3, seed=node), start)
        found.append(vars(one) | {"node": node, "correction": upload})
    return [type(update(0, received))(**fields) for fields in found]


def test_what_is_measured_is_all_that_a_client_has_brought():
    federation = Federation([3] * 4, random_state(3))
    federation.round([gradient(3, seed) for seed in range(4)])
    zero = {n: torch.zeros_like(v) for n, v in gradient(3, 0).items()}
    # The others change little, and one goes to the other side: no further from zero.
    held = federation.server.brought(0, zero, random_state(3, seed=99).factors)
    back = {n: -2 * v for n, v in held.items()}
    uploads = [back, *({n: 0.01 * v for n, v in gradient(3, 9).items()},) * 3]
    some = clients(federation.server, uploads)
    for bare, refused in ((None, [0]), (federation.server, [])):
        kept, out, shrunk = hold(some, None, 3.0, bare)
        assert not out
        assert len(kept) == 4
        named = [node for node, why in shrunk if "correction" in why]
        assert named == refused


@pytest.mark.parametrize("times", [10.0, 2.0 * FAR * 3.0])
def test_beyond_the_limit_it_is_not_taken_and_far_beyond_the_client_is_left_out(times):
    server = ControlVariates()
    server.begin(random_state(3))
    uploads = [gradient(3, seed) for seed in range(4)]
    uploads[2] = {n: times * v for n, v in uploads[2].items()}
    kept, out, shrunk = hold(clients(server, uploads), None, 3.0, server)
    far = times > 100
    assert [node for node, _ in out] == ([2] if far else [])
    assert [node for node, _ in shrunk] == ([] if far else [2])
    assert [u.node for u in kept if u.correction_refused] == ([] if far else [2])


def test_clipping_leaves_what_clients_remember_as_it_came():
    server = ControlVariates()
    server.begin(random_state(3))
    some = clients(server, [gradient(3, seed) for seed in range(5)])
    found = robust.choose(some, "clip", 0.25, None, server).updates
    assert [u.correction_refused for u in found] == [False] * 5
    for one, other in zip(found, some, strict=True):
        assert one.correction is other.correction
    assert any(u.adapter is not o.adapter for u, o in zip(found, some, strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_fedsmoo_and_a_rule_that_changes_what_was_trained(rule):
    chosen = {"robust": rule, "drift-correction": "fedsmoo"}
    found = validity.problems(settings_of("fedit", **chosen))
    moves = rule in ("clip", "median", "trimmed-mean")
    assert ("remember how far" in found.get("robust", "")) == moves
