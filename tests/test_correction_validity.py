"""Which drift corrections go with which methods, and which of their settings."""

from dataclasses import replace

import pytest

from ilora_app.federation.validity import problems
from ilora_app.methods import find
from tests.test_validity import CORRECTION, every, refused, settings


@every
@pytest.mark.parametrize("correction", ["fedadamw", "fedlada"])
def test_what_changes_adamw_goes_with_every_method_that_drifts(name, correction):
    alone = not find(name).drifts
    found = refused(name, drift_correction=correction)
    assert set(found) == ({"drift-correction"} if alone else set())
    if alone:
        return
    chosen = settings(name, drift_correction=correction)
    training = replace(chosen.training, optimizer="sgd")
    (words,) = problems(replace(chosen, training=training)).values()
    assert words.startswith(f"drift-correction = {correction!r}: expected optimizer")
    for sync in ("means", "ajive"):
        whole = refused(name, drift_correction=correction, moment_sync=sync)
        assert set(whole) == (set() if find(name).keeps_basis() else {"moment-sync"})


@every
@pytest.mark.parametrize("correction", ["fedsmoo", "fedglomo"])
def test_what_is_kept_in_coordinates_needs_a_basis_that_stays(name, correction):
    found, method = refused(name, drift_correction=correction), find(name)
    whole = method.is_sum() if correction == "fedglomo" else name != "lora-a2"
    right = method.keeps_basis() and whole
    assert set(found) == (set() if right else {"drift-correction"})
    if method.keeps_basis() and not whole:
        why = "more than the mean" if correction == "fedglomo" else "a part of what"
        assert why in found["drift-correction"]
    stays = {"fedit", "ffa-lora", "rolora", "fedsa-lora", "hetlora"}
    if name in stays | {"ilora", "flexlora", "flora"}:
        assert find(name).keeps_basis() == (name in stays)


@pytest.mark.parametrize("key", CORRECTION)
def test_a_setting_of_a_correction_is_refused_without_it(key):
    dashed = key.replace("_", "-")
    assert dashed not in refused("fedit", drift_correction=CORRECTION[key])
    for other in ("none", "fedzmg", "control-variates"):
        found = refused("fedit", drift_correction=other, **{key: 0.77})
        assert found[dashed].startswith(f"{dashed} = 0.77: is not used, as drift-corr")


@every
@pytest.mark.parametrize("correction", ["fedprox", "fedzmg"])
def test_what_corrects_on_the_client_alone_goes_with_every_method_that_drifts(
    name, correction
):
    found = refused(name, drift_correction=correction)
    alone = name in ("centralized", "local", "linear-probe")
    assert set(found) == ({"drift-correction"} if alone else set())
    mu = refused(name, drift_correction=correction, proximal_mu=0.5)
    assert ("proximal-mu" in mu) == (correction != "fedprox")


@pytest.mark.parametrize("correction", ["fedsmoo", "fedglomo"])
def test_one_step_of_the_server_is_enough(correction):
    for key, value in (("server_rate", "1.5"), ("server_momentum", 0.3)):
        found = refused("fedit", drift_correction=correction, **{key: value})
        dashed = key.replace("_", "-")
        assert found[dashed].endswith(f"{correction} takes the server's step itself")
    assert refused("fedit", drift_correction=correction, server_rate="1.0") == {}


def test_a_probe_has_no_head_to_train_and_none_to_solve_again():
    chosen = settings("linear-probe")
    for key, value in (("head_rate", "0.1"), ("head_refit_every", 2)):
        found = problems(replace(chosen, head=replace(chosen.head, **{key: value})))
        dashed = key.replace("_", "-")
        assert "solves its head once and trains nothing" in found[dashed]
