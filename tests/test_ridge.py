"""Ridge heads from sums over clients: the mathematics, and what a server takes."""

import pytest
import torch
from flwr.app import Message, MessageType, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from sklearn.linear_model import Ridge

from ilora_app import wire
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
    ],
)
def test_sums_that_are_none_are_refused(sent, said):
    request = Request(Member(7, 4, 20), None)
    with pytest.raises(wire.WireError, match=said):
        HEAD.read(reply(**sent), request)
    assert HEAD.read(reply(), request).examples() == 20


def test_the_head_is_solved_when_it_is_due():
    once, often = HEAD, RidgeHead("classifier", 7, 3, refit_every=2)
    assert [n for n in range(6) if once.is_due(n, 5)] == [0]
    assert [n for n in range(6) if often.is_due(n, 5)] == [0, 2, 4, 5]
