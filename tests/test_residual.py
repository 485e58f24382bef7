"""Directions that a client's rank cannot train, as they are sent."""

import numpy as np
import torch

from ilora_app.lora.factors import LoraFactors
from ilora_app.methods.residual import behind
from ilora_app.wire import rounding

D_OUT, D_IN, RANK = 24, 16, 6


def factors(scale: float) -> LoraFactors:
    draw = torch.Generator().manual_seed(1)
    B = scale * torch.randn(D_OUT, RANK, generator=draw)
    B[:, -1] = 0  # a direction that nobody has learned yet
    return LoraFactors({"m": (B, torch.randn(RANK, D_IN, generator=draw))})


def test_rows_have_the_product_of_the_directions_behind_the_rank():
    made = factors(1e-4)
    B, A = made["m"]
    for rank in range(RANK):
        C = behind(made, rank)["m"]
        assert C.shape == (RANK - rank, D_OUT + D_IN)
        assert C.isfinite().all()
        product = C[:, :D_OUT].T @ C[:, D_OUT:]
        wanted = B[:, rank:] @ A[rank:]
        torch.testing.assert_close(product, wanted, rtol=1e-5, atol=1e-10)
    assert behind(made, RANK) == {}


def test_halves_of_unequal_size_survive_one_scale_for_both():
    """B a ten thousandth of A: int8 by the larger half would leave nothing of it."""
    B, A = factors(1e-4)["m"]
    C = behind(factors(1e-4), 0)["m"].numpy()
    draw = np.random.default_rng(0)
    data = rounding.pack("offset.m", C, rounding.INT8, draw)
    back = torch.from_numpy(rounding.unpack("offset.m", data, C.shape, rounding.INT8))
    product, wanted = back[:, :D_OUT].T @ back[:, D_OUT:], B @ A
    assert float((product - wanted).norm()) < 0.03 * float(wanted.norm())
