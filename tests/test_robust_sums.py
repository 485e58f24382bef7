"""Sums with other classes than everybody else's: told from the sums alone."""

import numpy as np
import pytest
import torch

from ilora_app import wire
from ilora_app.federation.member import Member
from ilora_app.federation.robust_sums import agreements, disagreeing
from ilora_app.federation.standing import Standing
from ilora_app.lora.ridge import RidgeSums
from tests.conftest import read_events
from tests.local_run import metrics, run
from tests.test_faults import BAD

CLASSES, RIDGE = 4, 0.001
RULE = "geometric-median"
# Of five nodes; who stands apart does not train.
TRAINED = {(RULE, True): 4, (RULE, False): 5, ("none", True): 5}


def node(seed, classes=range(CLASSES), called=None, rows=40):
    """Features around a corner of the simplex for each class, and what it is called."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([*classes]).repeat(rows)
    features = torch.eye(6)[labels] + 0.3 * torch.randn(
        len(labels), 6, generator=generator
    )
    return features, labels if called is None else torch.tensor(called)[labels]


def sums(*nodes):
    return [RidgeSums.of(*one, CLASSES) for one in nodes]


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_mean_score_of_the_head_of_the_others(bias):
    """By least squares on the others' rows, and a mean over rows."""
    nodes = [node(k, rows=20 + 5 * k) for k in range(5)]
    found = agreements(sums(*nodes), RIDGE, bias)
    for k, (features, labels) in enumerate(nodes):
        rest = [one for j, one in enumerate(nodes) if j != k]
        X = torch.cat([one[0] for one in rest]).double().numpy()
        y = torch.cat([one[1] for one in rest]).numpy()
        own = features.double().numpy()
        if bias:
            X, own = (np.hstack([M, np.ones((len(M), 1))]) for M in (X, own))
        scale = RIDGE * (X**2).sum() / X.shape[1]
        root = np.sqrt(scale) * np.eye(X.shape[1])
        Y = np.vstack([np.eye(CLASSES)[y], np.zeros((len(root), CLASSES))])
        W = np.linalg.lstsq(np.vstack([X, root]), Y, rcond=None)[0]
        scores = (own @ W)[np.arange(len(own)), labels.numpy()]
        assert found[k] == pytest.approx(scores.mean(), abs=1e-9)


@pytest.mark.parametrize("nodes", [6, 8, 23])
def test_two_that_swap_their_classes_are_found_and_nobody_else(nodes):
    swapped = [3, 2, 1, 0]
    honest = [node(k) for k in range(nodes - 2)]
    liars = [node(100 + k, called=swapped) for k in range(2)]
    assert disagreeing(sums(*honest, *liars), RIDGE, True) == [nodes - 2, nodes - 1]
    assert disagreeing(sums(*honest), RIDGE, True) == []


def test_classes_that_nobody_else_has_say_nothing():
    apart = [node(k, classes=[k % 2]) for k in range(7)]
    alone = node(9, classes=[3])
    found = agreements(sums(*apart, alone), RIDGE, True)
    assert np.isnan(found[-1])
    assert min(found[:-1]) > 0.3
    assert disagreeing(sums(*apart, alone), RIDGE, True) == []


def test_a_class_that_others_hardly_have_says_little():
    """Ninety rows of a class of which the others have two: not ninety failures."""
    common = [node(k, classes=[0, 1]) for k in range(5)]
    few = node(6, classes=[0, 1, 2], rows=2)
    both = zip(node(7, [2], rows=90), node(8, [0, 1]), strict=True)
    many = [torch.cat(pair) for pair in both]
    assert disagreeing(sums(*common, few, tuple(many)), RIDGE, True) == []


def test_who_stands_apart_does_so_in_a_run_that_goes_on():
    before, after = Standing(), Standing()
    before.set_apart([1, 3])
    before.take_over(3, 4)
    after.load(before.saved({1: "one", 2: "two", 4: "four"}), {"one": 7, "four": 9})
    members = [Member(node, 2, 10) for node in (7, 8, 9)]
    assert [member.node_id for member in after.agreeing(members)] == [8]


def test_features_that_tell_nothing_accuse_nobody():
    """Scores of honest nodes lie on both sides of zero then."""
    medians = []
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        some = [
            RidgeSums.of(
                torch.randn(50, 16, generator=draw),
                torch.randint(10, (50,), generator=draw),
                10,
            )
            for _ in range(9)
        ]
        medians.append(sorted(agreements(some, RIDGE, False))[4])
        assert medians[-1] > 0 or not disagreeing(some, RIDGE, False)
    assert min(medians) < 0


@pytest.mark.slow
def test_the_sums_of_a_liar_do_not_reach_the_head(run_config, tmp_path):
    """The head is that of a run without the liar, whom nobody accuses."""
    config = run_config | {
        "head": "ridge",
        "drift-correction": "none",
        "num-server-rounds": 1,
        "head-refit-every": 0,
        "client-ranks": "2",
    }

    def lie(reply):
        if reply.metadata.src_node_id == BAD and wire.HEAD_SUMS in reply.content:
            held = wire.decode_tensors(reply.content[wire.HEAD_SUMS])
            held[wire.CROSS][:-1] *= -1.0  # as far from its classes as can be
            record = wire.encode_tensors(held, torch.float64)
            reply.content[wire.HEAD_SUMS] = record
        return reply

    def away(reply):
        if reply.metadata.src_node_id == BAD and wire.HEAD_SUMS in reply.content:
            del reply.content[wire.HEAD_SUMS]
        return reply

    heads = []
    for rule, tamper in ((RULE, lie), (RULE, away), ("none", lie)):
        config["output-dir"] = str(tmp_path / str(len(heads)))
        folder, _, server = run(config | {"robust": rule}, nodes=5, tamper=tamper)
        heads.append(server.strategy.state.adapter.head)
        rounds = metrics(folder)
        assert list(rounds["clients"][1:]) == [TRAINED[rule, tamper is lie]]
        told = read_events(folder, "passed-over")
        of_head = [event["nodes"] for event in told if event["purpose"] == "head"]
        assert of_head == ([[BAD]] if (rule, tamper) == (RULE, lie) else [])
    assert all(heads[0][name].equal(heads[1][name]) for name in heads[0])
    assert not heads[0]["classifier.weight"].equal(heads[2]["classifier.weight"])
