"""What ``auto`` means under a method, and that a run can be run again."""

from dataclasses import replace

import pytest

from ilora_app.federation.validity import problems
from ilora_app.methods import find, parse, resolve
from ilora_app.methods.ilora import ILoRA
from ilora_app.settings import parsing
from tests.test_validity import every, refused, settings


@every
@pytest.mark.parametrize("head", ["auto", "trained"])
def test_what_a_run_writes_down_can_be_run_again(name, head):
    """Its config.toml holds what auto became."""
    chosen = settings(name, head)
    again, wrong = parse(parsing.dump(resolve(chosen)))
    assert (wrong, problems(again)) == ({}, {})
    assert resolve(again) == resolve(chosen)


MOMENTS = {"fedgalore": "second-moments"}


def test_moments_are_of_adamw():
    chosen = settings("fedgalore")
    sgd = replace(chosen, training=replace(chosen.training, optimizer="sgd"))
    assert resolve(sgd).method.drift_correction == "none"


@every
def test_auto_solves_the_head_of_a_classifier_with_factors(name):
    """Then nothing is left to correct; a language model has no classes."""
    solved = name not in ("fedavg-full", "local")  # local clients share nothing
    found = resolve(settings(name, "auto"))
    assert found.head.head == ("ridge" if solved else "trained")
    assert found.head.is_frozen == solved
    assert found.method.drift_correction == MOMENTS.get(name, "none")
    assert resolve(found) == found
    if find(name).trains:
        words = resolve(settings(name, "auto", task="causal-lm"))
        assert (words.head.head, words.head.is_frozen) == ("trained", False)


@every
def test_auto_is_what_the_method_starts_from_and_is_corrected_by(name):
    found = resolve(settings(name))
    corrections = {"ilora": "control-variates", **MOMENTS}
    correction = corrections.get(name, "none")
    assert found.model.initialisation == "standard"
    assert found.method.drift_correction == correction
    assert resolve(found) == found


def test_ilora_sends_what_a_rank_cannot_train_unless_it_is_as_published():
    def found(**chosen):
        method = resolve(settings("ilora", **chosen))
        return (
            method.method.aggregate,
            method.method.residual,
            method.model.initialisation,
        )

    assert found() == ("increments", "send", "standard")
    assert found(cut="product") == ("products", "drop", "qr")
    assert found(aggregate="products") == ("products", "drop", "standard")
    assert found(residual="drop") == ("increments", "drop", "standard")
    for chosen in ({}, {"cut": "product"}):
        made, told = ILoRA(**chosen), found(**chosen)
        start = "qr" if made.qr_start else "standard"
        summed = "increments" if made.increments else "products"
        assert (summed, made.residual, start) == told
    other = resolve(settings("flexlora")).method
    assert (other.aggregate, other.residual) == ("products", "auto")


def test_what_is_frozen_is_not_corrected_and_the_right_way_is_named():
    on = {"drift_correction": "control-variates"}
    for scope in ("all", "head"):
        found = refused("flora", head="ridge", control_scope=scope, **on)
        assert "head = 'trained'" in "".join(found.values())
    chosen = settings("ilora", "ridge")
    slow = replace(chosen, head=replace(chosen.head, head_rate="0.1"))
    assert resolve(slow).method.drift_correction == "control-variates"
    still = settings("ilora", "trained")
    still = replace(still, head=replace(still.head, head_rate="0"))
    assert resolve(still).method.drift_correction == "none"


def test_personal_models_share_no_features_to_solve_a_head_on():
    chosen = settings("fedsa-lora", "auto")
    for rounds, wrong in ((0, False), (4, False), (3, True)):
        found = problems(
            replace(chosen, head=replace(chosen.head, head_refit_every=rounds))
        )
        assert ("head-refit-every" in found) == wrong
