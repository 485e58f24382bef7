"""Ridge heads from sums over clients: the mathematics, and what a server takes."""

import pytest
import torch
from flwr.app import Message, MessageType, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from sklearn.linear_model import Ridge

from ilora_app import wire
from ilora_app.federation.limits import Limits
from ilora_app.federation.member import Member
from ilora_app.federation.replies import Request
from ilora_app.federation.ridge_head import RidgeHead
from ilora_app.lora.ridge import RidgeSums, square, triangle

FEATURES, CLASSES = 7, 3


def examples(count: int, seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(count, FEATURES, generator=draw)
    return features, torch.randint(CLASSES, (count,), generator=draw)


@pytest.mark.parametrize("cuts", [[60], [1, 59], [7, 20, 33], [30, 0, 30]])
def test_any_split_gives_the_ridge_of_the_pooled_data(cuts):
    features, labels = examples(60)
    total = RidgeSums.zeros(FEATURES, CLASSES)
    parts = zip(features.split(cuts), labels.split(cuts), strict=True)
    for part, classes in parts:
        total += RidgeSums.of(part, classes, CLASSES)
    ridge, tau = 0.01, 0.1
    found = total.solve(ridge, tau)
    ones = torch.ones(60, 1)
    Phi = torch.cat([features, ones], dim=1).double().numpy()
    Y = torch.nn.functional.one_hot(labels, CLASSES).double().numpy()
    scale = (Phi**2).sum(0).mean()
    pooled = Ridge(alpha=ridge * scale, fit_intercept=False, solver="svd").fit(Phi, Y)
    expected = torch.from_numpy(pooled.coef_.T.copy()) / tau
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-9)
    assert total.examples() == 60
    assert total.cross[-1].tolist() == torch.bincount(labels, minlength=3).tolist()


def test_without_a_bias_the_constant_is_left_out():
    features, labels = examples(50)
    found = RidgeSums.of(features, labels, CLASSES).solve(0.1, 1.0, bias=False)
    G = features.double().T @ features.double()
    Y = torch.nn.functional.one_hot(labels, CLASSES).double()
    eye = torch.eye(FEATURES).double() * 0.1 * G.diagonal().mean()
    expected = torch.linalg.solve(G + eye, features.double().T @ Y)
    torch.testing.assert_close(found, expected)


def test_a_triangle_is_a_symmetric_matrix():
    M = torch.randn(5, 5).double()
    M = M + M.T
    assert torch.equal(square(triangle(M), 5), M)
    assert len(triangle(M)) == 15


HEAD = RidgeHead("classifier", FEATURES, CLASSES)
SUMS = RidgeSums.of(*examples(20), CLASSES)


def reply(gram=SUMS.gram, cross=SUMS.cross, dtype=torch.float64) -> Message:
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    tensors = {wire.GRAM: gram, wire.CROSS: cross}
    record = wire.encode_tensors(tensors, dtype)
    content = RecordDict({wire.HEAD_SUMS: record})
    return Message(content, 7, MessageType.EVALUATE)


def not_definite() -> torch.Tensor:
    M = square(SUMS.gram, FEATURES + 1)
    M[0, 0] = -M[0, 0]
    return triangle(M)


def changed(counts: list[float]) -> torch.Tensor:
    cross = SUMS.cross.clone()
    cross[-1] = torch.tensor(counts)
    return cross


def grown(times: float) -> torch.Tensor:
    cross = SUMS.cross.clone()
    cross[:-1] *= times
    return cross


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"gram": SUMS.gram[:-1]}, "gram is float64"),
        ({"dtype": torch.float32}, "expected float64"),
        ({"gram": SUMS.gram * torch.nan}, "NaN or infinity"),
        ({"gram": not_definite()}, "no Gram matrix"),
        ({"gram": 2 * SUMS.gram}, "counts 40 examples, expected 20"),
        ({"cross": changed([20.5, -0.5, 0.0])}, "in whole numbers by class"),
        ({"cross": changed([1.0, 1.0, 1.0])}, "in whole numbers by class"),
        ({"cross": grown(10.0)}, "larger than features of the lengths"),
    ],
)
def test_sums_that_are_none_are_refused(sent, said):
    request = Request(Member(7, 4, 20), None)
    with pytest.raises(wire.WireError, match=said):
        HEAD.read(reply(**sent), request)
    assert HEAD.read(reply(), request)[1].examples() == 20


def scaled(sums: RidgeSums, times: float) -> RidgeSums:
    """The sums of the same examples with longer features."""
    M = times**2 * square(sums.gram, FEATURES + 1)
    M[-1] /= times
    M[:, -1] /= times
    cross = torch.cat([times * sums.cross[:-1], sums.cross[-1:]])
    return RidgeSums(triangle(M), cross)


def test_the_length_is_that_of_the_features():
    features, labels = examples(20)
    expected = features.double().square().sum(dim=1).mean().sqrt()
    assert SUMS.length() == pytest.approx(float(expected), rel=1e-9)
    assert scaled(SUMS, 5.0).length() == pytest.approx(5 * float(expected), rel=1e-9)
    longer = RidgeSums.of(5 * features.double(), labels, CLASSES)
    torch.testing.assert_close(longer.gram, scaled(SUMS, 5.0).gram)


@pytest.mark.parametrize(("times", "used"), [(2.9, 4), (3.1, 3), (1e6, 3)])
def test_features_of_another_length_are_left_out(times, used):
    head = RidgeHead("c", FEATURES, CLASSES, limits=Limits(max_norm_ratio=3.0))
    members = [Member(n, 4, 20) for n in range(4)]
    found = [(m, scaled(SUMS, times if m.node_id == 2 else 1.0)) for m in members]
    kept, out = head._held(found, members)
    assert len(kept) == used
    assert [m.node_id for m, _ in out] == [2] * (4 - used)
    assert all("times the median; max-norm-ratio is 3" in why for _, why in out)
    assert len(HEAD._held(found, members)[0]) == 4, "no limit was set"


def test_nobody_counts_for_many_times_the_median_of_all_examples():
    head = RidgeHead("c", FEATURES, CLASSES, limits=Limits(max_examples_ratio=10.0))
    members = [Member(0, 4, 1), Member(1, 4, 1), Member(2, 4, 20)]
    kept, _ = head._held([(members[2], SUMS)], members)
    assert kept[0][1].examples() == pytest.approx(10)
    torch.testing.assert_close(kept[0][1].cross, SUMS.cross / 2)


def test_the_head_is_solved_when_it_is_due():
    once, often = HEAD, RidgeHead("classifier", 7, 3, refit_every=2)
    assert [n for n in range(6) if once.is_due(n, 5)] == [0]
    assert [n for n in range(6) if often.is_due(n, 5)] == [0, 2, 4, 5]
