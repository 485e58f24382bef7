"""What clients change along the factors that they trained from, against dense."""

import torch

from ilora_app.lora.factors import LoraFactors
from ilora_app.methods import tangent

SHAPES = {"a": (12, 9), "b": (7, 15)}
RANK = 3


def pairs(rank: int, size: float = 1.0) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    return {
        module: (size * torch.randn(outer, rank), torch.randn(rank, inner))
        for module, (outer, inner) in SHAPES.items()
    }


def test_it_is_the_projection_on_the_tangent_space():
    torch.manual_seed(0)
    start, terms = LoraFactors(pairs(RANK)), pairs(2)
    directions = tangent.directions_of(start)
    found = tangent.along(terms, directions)
    assert {name: tuple(v.shape) for name, v in found.items()} == tangent.shapes(start)
    assert list(found) == list(tangent.shapes(start))
    for module, (left, right) in tangent.joined(found, directions).items():
        B, A = (v.double() for v in start[module])
        L, R = (v.double() for v in terms[module])
        columns, rows = B @ torch.linalg.pinv(B), torch.linalg.pinv(A) @ A
        D = L @ R
        outside = (torch.eye(len(B)) - columns) @ D @ (torch.eye(A.shape[1]) - rows)
        assert torch.allclose(left @ right, D - outside, atol=1e-9)
        told = found[module + ".columns"].square().sum()
        told += found[module + ".rows"].square().sum()
        assert torch.allclose(told, (D - outside).square().sum())


def test_changes_of_one_factor_are_all_in_it():
    torch.manual_seed(1)
    start = LoraFactors(pairs(RANK))
    directions = tangent.directions_of(start)
    for terms in (
        {m: (torch.randn_like(B), A) for m, (B, A) in start.items()},
        {m: (B, torch.randn_like(A)) for m, (B, A) in start.items()},
    ):
        made = tangent.joined(tangent.along(terms, directions), directions)
        for module, (L, R) in terms.items():
            left, right = made[module]
            assert torch.allclose(left @ right, (L @ R).double(), atol=1e-5)


def test_noise_on_rows_is_taken_off_where_columns_have_told():
    torch.manual_seed(2)
    start, terms = LoraFactors(pairs(RANK)), pairs(2)
    directions = tangent.directions_of(start)
    found = tangent.along(terms, directions)
    plain = tangent.joined(found, directions)
    noisy = {
        name: value + torch.randn_like(value) if name.endswith(".rows") else value
        for name, value in found.items()
    }
    for module, (left, right) in tangent.joined(noisy, directions).items():
        E = directions[module][0]
        before = plain[module][0] @ plain[module][1]
        assert not torch.allclose(left @ right, before, atol=1e-2)
        assert torch.allclose(left @ right @ E, before @ E, atol=1e-9)


def test_factors_of_fewer_directions_have_zero_columns():
    torch.manual_seed(3)
    whole = pairs(RANK)
    B, A = whole["a"]
    start = LoraFactors({"a": (0.0 * B, torch.cat([A[:2], A[:1]]))})
    E, Q = tangent.directions_of(start)["a"]
    assert not Q.any()
    assert E[:, :2].any(dim=0).all()
    assert not E[:, 2].any()
