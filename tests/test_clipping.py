"""A clip that follows a quantile, and what it costs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from dp_accounting import ComposedDpEvent, GaussianDpEvent
from dp_accounting.rdp import RdpAccountant

from ilora_app.federation.clipping import Quantile
from ilora_app.federation.release import Release
from ilora_app.methods import find
from ilora_app.methods.state import LEADING, MEANS, Sums
from ilora_app.methods.sums import Sketch
from ilora_app.privacy.budget import spent
from tests.test_release import CLIP, SCALING, UP, nothing, updates


@pytest.mark.parametrize("target", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("start", [0.05, 20.0])
def test_it_tracks_the_quantile(target, start):
    """Of norms that are drawn anew each round, at epsilon 4 over 8 rounds' z."""
    draw, z = np.random.default_rng(0), 2.6
    clip, seen = start, []
    for number in range(250):
        norms = draw.lognormal(0.0, 0.5, 200).tolist()
        clip = Quantile(target).after(clip, norms, z)
        seen += [clip] if number >= 150 else []
    below = [float(np.mean(np.array(norms) <= c)) for c in seen]
    assert float(np.mean(below)) == pytest.approx(target, abs=0.06)


@pytest.mark.parametrize("nodes", [8, 200, 5000])
def test_update_and_bits_together_cost_what_the_account_says(nodes):
    """dp-accounting's own composition of the two mechanisms of each round."""
    z, rounds, quantile = 2.6, 12, Quantile(0.5)
    part, bits = quantile.left(nodes, z), 2 * quantile.spread(nodes, z)
    assert z < part < 1.04 * z
    account = RdpAccountant()
    both = ComposedDpEvent([GaussianDpEvent(part), GaussianDpEvent(bits)])
    account.compose(both, rounds)
    assert account.get_epsilon(1e-3) == pytest.approx(spent(z, 1e-3, rounds), rel=1e-6)


def test_one_node_changes_what_is_told_by_a_half():
    """Whatever its norm, beside one that has learned nothing or is away."""
    quantile, others = Quantile(0.5, nothing), [0.1, 0.5, 3.0]
    away = quantile.after(1.0, [*others, 0.0], 1.0)
    for norm in (1e-9, 0.7, 1.0, 1.1, 1e9, math.inf):
        found = quantile.after(1.0, [*others, norm], 1.0)
        part = math.log(found / away) / -0.2 * 4
        assert abs(part) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", [MEANS, LEADING])
def test_the_update_gets_the_noise_that_is_left(kind):
    whole, found = updates()
    method = find("ilora")(decomposition="qr", cut="update")
    how = method, method.begin(whole), Sketch(Sums(kind, True), 4, 0), found, UP
    plain = Release(CLIP, 2.0, SCALING, nothing)
    quantile = Quantile(0.5, nothing)
    fixed = replace(plain, draw=ones).update(*how).adapter.head
    less = replace(plain, draw=ones, quantile=quantile).update(*how).adapter.head
    before = plain.update(*how).adapter.head
    for name, value in before.items():
        ratio = (less[name] - value) / (fixed[name] - value)
        expected = quantile.left(len(found), 2.0) / 2.0
        assert torch.allclose(ratio, torch.full_like(ratio, expected), atol=1e-3)
    release = replace(plain, quantile=quantile)
    norms = release.norms(how[2], found)
    after = release.after(how[2], found)
    assert after.clip == pytest.approx(quantile.after(CLIP, norms, 2.0))
    assert plain.after(how[2], found) is plain


def ones(shape):
    return torch.ones(tuple(shape), dtype=torch.float64)
