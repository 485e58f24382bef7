"""The learning rate of every row, chosen on the clients' held-out data."""

from collections.abc import Sequence
from dataclasses import dataclass

from ilora_app.compare.finished import Run, Spread, read_run
from ilora_app.compare.plan import Entry, Plan
from ilora_app.settings import Settings, parsing

_NEEDED = ("fraction-evaluate", "holdout-fraction")


@dataclass(frozen=True)
class Choice:
    """The learning rate of a row.

    Args:
        rate: the best; None where no run of any rate has finished.
        edge: whether it is the smallest or the largest of a grid.
        scores: by rate, mean accuracy on held-out data, or minus the mean loss.

    """

    rate: float | None
    edge: bool
    scores: tuple[tuple[float, float], ...]


def problems(plan: Plan) -> list[str]:
    """Say why rates cannot be chosen that are to be chosen: nothing is held out."""
    configs = [
        parsing.dump(Settings()) | dict(entry.config)
        for entry in plan.entries
        if plan.tries(entry)
    ]
    keys = [key for key in _NEEDED if any(config[key] == 0 for config in configs)]
    tried = ",".join(f"{rate:g}" for rate in plan.rates)
    right = "expected one rate, as with {} = 0 there is no held-out data to choose by"
    return [f"--lr {tried}: {right.format(key)}" for key in keys]


def choose(plan: Plan, entry: Entry) -> Choice:
    """Choose a row's rate on the clients' held-out data, never on the test split."""
    entry = plan.rate_source(entry)
    grid = plan.grid(entry)
    if len(grid) == 1:
        return Choice(grid[0], False, ())
    scores = _scores(plan, entry, grid, plan.select)
    if not scores:
        return Choice(None, False, ())
    rates = finalists(plan, entry)
    if len(rates) > 1:
        over_all = _scores(plan, entry, rates, len(plan.seeds))
        scores = sorted((dict(scores) | dict(over_all)).items())
        rates = tuple(rate for rate, _ in over_all) or rates
    best = max(rates, key=lambda rate: (dict(scores)[rate], -rate))
    return Choice(best, best in (min(grid), max(grid)), tuple(scores))


def finalists(plan: Plan, entry: Entry) -> tuple[float, ...]:
    """Rates of a row to run with all seeds: the best ones over the first seeds."""
    scores = _scores(plan, entry, plan.grid(entry), plan.select)
    best = sorted(scores, key=lambda pair: (-pair[1], pair[0]))[: plan.finalists]
    return tuple(rate for rate, _ in best)


def _scores(
    plan: Plan, entry: Entry, rates: Sequence[float], seeds: int
) -> list[tuple[float, float]]:
    """How well each rate does on held-out data, a mean over the first seeds."""
    found = []
    for rate in sorted(rates):
        runs = [read_run(job) for job in plan.chosen(entry, rate)[:seeds]]
        score = Spread.of(_held_out(run) for run in runs if run)
        if score:
            found.append((rate, score.mean))
    return found


def _held_out(run: Run) -> float | None:
    """How well a run does on held-out data; of a task without accuracy by its loss."""
    for column in ("held_out_accuracy", "client_accuracy_mean"):
        if (value := run.last(column)) is not None:
            return value
    loss = run.last("client_loss_mean")
    return None if loss is None else -loss
