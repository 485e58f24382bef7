"""Which methods and settings make sense with rounds that end at a deadline."""

from ilora_app.methods import Method
from ilora_app.settings import Settings
from ilora_app.settings.method import (
    CONTROL_VARIATES,
    FEDADAMW,
    FEDGLOMO,
    FEDLADA,
    FEDSMOO,
    SECOND_MOMENTS,
)

_WHOLE = (CONTROL_VARIATES, FEDADAMW, FEDLADA, SECOND_MOMENTS)


def deadline_problems(method: type[Method], settings: Settings) -> dict[str, str]:
    """What keeps rounds from ending at a deadline, by key."""
    chosen, training = settings.deadline, settings.training
    if chosen.simulated_speeds and not chosen.on:
        given = f"simulated-speeds = {chosen.simulated_speeds!r}: is not used"
        return {"simulated-speeds": f"{given}, as rounds have no deadline"}
    if not chosen.on:
        return {}
    key = "time-budget" if chosen.time_budget else "round-deadline"
    if chosen.time_budget and chosen.round_deadline:
        return {
            "round-deadline": f"round-deadline = {chosen.round_deadline:g}: is not "
            "used, as time-budget chooses it"
        }
    strategy, correction = settings.run.strategy, settings.method.drift_correction
    reasons = [
        (not method.drifts or method.whole_model, f"{strategy} waits for no factors"),
        (training.local_steps == 0, "an epoch has no number of steps for all"),
        (training.gradient_accumulation > 1, "gradient-accumulation has many passes"),
        (training.clients_per_batch > 1, "clients-per-batch trains many at once"),
        (correction in (FEDSMOO, FEDGLOMO), f"{correction} takes several passes"),
        (correction in _WHOLE, f"{correction} counts whole steps"),
    ]
    found = [reason for holds, reason in reasons if holds]
    if not found:
        return {}
    seconds = chosen.time_budget or chosen.round_deadline
    return {key: f"{key} = {seconds:g}: expected 0, as {'; '.join(found)}"}
