"""What one client can do to the second moments that all begin a round with."""

from dataclasses import replace

import pytest
import torch
from flwr.app import MessageType

from ilora_app import wire
from ilora_app.corrections import Returned, server_half
from ilora_app.corrections.directed import MOMENT, STEPS, TRAVELLED
from ilora_app.corrections.moments import Moments
from ilora_app.federation.outliers import FAR, hold
from ilora_app.settings import MethodSettings
from tests.builders import random_state
from tests.conftest import read_events
from tests.local_run import metrics, run
from tests.packets import change
from tests.test_faults import BAD
from tests.test_outliers import SCALING, clients

SMALL, LARGE = "encoder.query.lora_B", "head.classifier.weight"


def some(count=5):
    """Clients whose v differ by orders of magnitude from tensor to tensor."""
    server = server_half(
        MethodSettings(drift_correction="fedadamw", moment_sync="means")
    )
    server.begin(random_state(3))
    found = []
    for k, one in enumerate(clients([0.1] * count)):
        sizes = dict.fromkeys(one.adapter.named_tensors(), 0.001)
        sizes[SMALL] = 1e-9
        upload = {
            MOMENT + name: torch.full_like(value, sizes[name] * (1 + k / 10))
            for name, value in one.adapter.named_tensors().items()
        }
        upload |= {STEPS: torch.tensor(5.0), TRAVELLED: torch.tensor(0.05)}
        found.append(replace(one, correction=upload))
    return server, found


def with_false(updates, name, factor):
    lie = updates[-1].correction | {name: factor * updates[-1].correction[name]}
    return [*updates[:-1], replace(updates[-1], correction=lie)]


def test_who_differs_a_little_is_not_touched():
    server, updates = some()
    kept, out, shrunk = hold(updates, SCALING, 3.0, server)
    assert (out, shrunk) == ([], [])
    assert all(a is b for a, b in zip(kept, updates, strict=True))


@pytest.mark.parametrize(
    ("name", "factor", "told", "most"),
    [
        # By the gradient behind it: v itself may be nine times as large.
        (MOMENT + SMALL, 1e3, f"second moments of {SMALL}", 9 * 1.2e-9),
        (MOMENT + SMALL, -1e3, f"second moments of {SMALL}", 9 * 1.2e-9),
        (MOMENT + LARGE, 1e3, f"second moments of {LARGE}", 9 * 1.2e-3),
        (STEPS, 100.0, "number of steps", 15.0),
        (TRAVELLED, 100.0, "sum of rates", 0.15),
        (TRAVELLED, -100.0, "sum of rates", 0.15),
    ],
)
def test_each_part_is_held_against_the_same_part_of_others(name, factor, told, most):
    server, updates = some()
    kept, out, shrunk = hold(with_false(updates, name, factor), SCALING, 3.0, server)
    assert not out
    [(node, why)] = shrunk
    assert node == updates[-1].node
    assert f"its {told} has norm" in why
    for part, value in kept[-1].correction.items():
        size = float(value.abs().max())
        expected = most if part == name else float(updates[-1].correction[part].max())
        assert size == pytest.approx(expected, rel=1e-4), part
    assert kept[-1].adapter is updates[-1].adapter


def test_far_beyond_nothing_of_the_reply_is_taken():
    server, updates = some()
    false = with_false(updates, MOMENT + SMALL, (4 * FAR) ** 2)
    kept, out, _ = hold(false, SCALING, 3.0, server)
    assert [node for node, _ in out] == [updates[-1].node]
    assert len(kept) == 4


def test_a_reason_names_the_farthest_parts_and_counts_the_others():
    server, updates = some()
    false = updates
    for name in updates[-1].correction:
        false = with_false(false, name, 1e4 if name == MOMENT + LARGE else 100.0)
    [(_, why)] = hold(false, SCALING, 3.0, server)[2]
    assert why.startswith(f"its second moments of {LARGE} has norm")
    assert why.count("has norm") == 3
    assert why.endswith(f"; {len(false[-1].correction) - 3} more; max-norm-ratio is 3")


@pytest.mark.parametrize("bad", [-2.99, -4.0])
@pytest.mark.parametrize("whole", [True, False])
def test_of_who_says_that_a_square_is_negative_none_is_taken(bad, whole):
    moments = Moments("means")
    moments.begin({"x.lora_B": torch.zeros(4, 1)})
    honest = {"x.lora_B": torch.full((4, 1), 1e-4)}
    false = honest["x.lora_B"].clone()
    false[slice(None) if whole else slice(1)] = bad * 1e-4
    said = {0: honest, 1: honest, 2: honest, 3: {"x.lora_B": false}}
    moments.take(said, dict.fromkeys(range(4), 0.25), 5.0)
    assert moments.entry("x.lora_B").tolist() == honest["x.lora_B"].tolist()
    assert moments.steps() == [5.0]


def test_a_negative_number_of_steps_takes_none_of_the_others_away():
    server, updates = some()
    lies = with_false(updates, STEPS, -3.0)
    uploads = {u.node: u.correction for u in lies}
    weights = dict.fromkeys(uploads, 1 / len(uploads))
    moved = {u.node: u.adapter.named_tensors() for u in lies}
    received = lies[0].received.adapter.factors
    server.aggregate(Returned(1, uploads, received, (), moved, weights))
    found = server.moments.steps()
    assert found == pytest.approx([4 / 5 * 5.0] * len(found))


@pytest.mark.parametrize("rank", [1, 2, 16])
def test_the_gradient_behind_second_moments_is_measured_alike_at_every_rank(rank):
    """sqrt(mean(v)) in float64, of v of any rank, and of one number for a tensor."""
    server, _ = some()
    v = torch.rand(7, rank).double().square()
    expected = (sum(float(one) for one in v.flatten()) / (7 * rank)) ** 0.5
    for upload in (v.float(), v.mean().float()):
        [size] = server.sizes({MOMENT + SMALL: upload}).values()
        assert size == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        {"strategy": "fedgalore"},
        {"strategy": "fedit", "drift-correction": "fedadamw"},
        {"strategy": "fedit", "drift-correction": "fedadamw", "moment-sync": "means"},
    ],
)
def test_one_lie_of_one_client_does_not_stop_the_others(run_config, tmp_path, method):
    """Within the number of steps, as one norm of all would have it, v has room."""

    def lie(reply):
        trained = reply.metadata.message_type == MessageType.TRAIN
        if trained and reply.metadata.src_node_id == BAD and not told:
            told.append(reply)
            change(reply.content, wire.CORRECTION, much_larger)
        return reply

    def much_larger(arrays):
        names = [name for name in arrays if name.startswith(MOMENT)]
        room = 2.5 * float(arrays[STEPS])
        size = sum(arrays[name].size for name in names) ** 0.5
        return {n: v * 0 + room / size if n in names else v for n, v in arrays.items()}

    told = []
    run_config |= {"partitioner": "iid", "client-ranks": "4", **method}
    run_config |= {"local-steps": 5, "num-server-rounds": 3}
    honest, _, _ = run(run_config, nodes=5)
    folder, _, _ = run(
        run_config | {"output-dir": str(tmp_path / "lie")}, nodes=5, tamper=lie
    )
    [event] = read_events(folder, "reply-left-out") + read_events(
        folder, "update-shrunk"
    )
    assert (event["node"], event["round"]) == (BAD, 1)
    assert "second moments of" in event["reason"]
    ours, theirs = (metrics(f)["drift"].iloc[-1] for f in (folder, honest))
    assert ours > 0.5 * theirs
