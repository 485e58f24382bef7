"""What ``auto`` means under a method."""

from dataclasses import replace

from ilora_app.methods.registry import find
from ilora_app.settings import Settings
from ilora_app.settings.head import AUTO, RIDGE, TRAINED
from ilora_app.settings.kinds import kind
from ilora_app.settings.method import CONTROL_VARIATES, SECOND_MOMENTS

ACCURACY = "accuracy"


def resolve(settings: Settings) -> Settings:
    """Put what ``auto`` means under the named method in its place.

    A classifier's head is solved wherever the method can use that, and not again where
    models are personal: their features differ. DoRA's magnitudes train with the head.
    Control variates are worth their bytes where a head trains: a frozen one leaves them
    nothing to add. Second moments are AdamW's. Both count whole steps, which a deadline
    does not wait for. A task without accuracy has its best round by loss.
    """
    method = find(settings.run.strategy)
    settings = method.resolved(settings)
    model, chosen, head = settings.model, settings.method, settings.head
    if not method.trains:
        head = replace(head, head=RIDGE)
    elif head.head == AUTO:
        solved = method.head_by_default == RIDGE and kind(model.task).one_class
        solved = solved and settings.privacy.dp == "none" and not model.use_dora
        head = replace(head, head=RIDGE if solved else TRAINED)
    keeping = settings.keeping
    if keeping.best_metric == ACCURACY and not kind(model.task).has_accuracy:
        keeping = replace(keeping, best_metric="loss")
    private = settings.privacy.dp != "none"
    if chosen.drift_correction == AUTO and (settings.deadline.on or private):
        chosen = replace(chosen, drift_correction="none")
    if chosen.drift_correction == AUTO:
        corrected = method.control_by_default and not head.is_frozen
        name = CONTROL_VARIATES if corrected else "none"
        if method.projects and settings.training.optimizer == "adamw":
            name = SECOND_MOMENTS
        chosen = replace(chosen, drift_correction=name)
    return replace(settings, method=chosen, head=head, keeping=keeping)
