"""What a run records for its report, at its beginning and at its end.

None of it is worth a run: what cannot be recorded is a warning.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from logging import INFO, WARNING
from typing import Any, ParamSpec

from flwr.supercore import log

from ilora_app.federation.membership import Membership
from ilora_app.federation.strategy import LoraStrategy
from ilora_app.lora.decomposition import singular_values
from ilora_app.runs.folder import RunFolder
from ilora_app.runs.machine import hardware, versions
from ilora_app.runs.reading import events_of
from ilora_app.runs.worth import Worth
from ilora_app.settings import Settings
from ilora_app.settings.kinds import kind
from ilora_app.tasks import baselines, partitions
from ilora_app.tasks.examples import Examples

# What is drawn stays small enough to be looked at.
_PARTITIONS, _CLASSES, _VALUES = 100, 200, 64

P = ParamSpec("P")


def _as_warning(record: Callable[P, None]) -> Callable[P, None]:
    """Turn any failure into a warning."""

    @functools.wraps(record)
    def guard(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            record(*args, **kwargs)
        except Exception as error:
            what = record.__name__.strip("_").replace("_", " ")
            kind = type(error).__name__
            log(WARNING, "the report lacks: %s (%s: %s)", what, kind, error)

    return guard


def begin(
    folder: RunFolder,
    settings: Settings,
    membership: Membership,
    labels: tuple[str, ...],
    test: Examples,
    run_key: str = "",
) -> None:
    """Record versions, baselines, and the classes of each partition that nodes hold.

    With ``partition-plot`` they are drawn as well.
    """
    if settings.data.partition_plot:
        _partition_plot(folder, settings, membership)
    _versions(folder)
    _baselines(folder, settings, membership, labels, test)
    _class_counts(folder, settings, membership, labels)
    if run_key:
        folder.event("node-state", key=run_key)
    _privacy_page(folder)


def end(folder: RunFolder, strategy: LoraStrategy, report: bool) -> None:
    """Record the singular values of what was learned; write the pages of the run."""
    _singular_values(folder, strategy)
    if report:
        _report(folder)
    _privacy_page(folder)


@_as_warning
def _versions(folder: RunFolder) -> None:
    folder.event("versions", packages=versions(), hardware=hardware())


@_as_warning
def _partition_plot(
    folder: RunFolder, settings: Settings, membership: Membership
) -> None:
    """Draw who has which classes, where nodes hold partitions of the data set."""
    parts = membership.partitions
    if not parts:
        return
    data, seed = settings.data, settings.run.seed
    named = kind(settings.model.task).one_class
    column = (data.label_column if named else "") or data.partition_by
    if not column:
        log(WARNING, "No plot of the partitions: name a label-column to count")
        return
    from ilora_app.runs.partition_plot import draw  # slow to import

    dealer = partitions.dealer(data, parts, seed)
    draw(dealer, column, parts, folder.path / "partitions.png")


@_as_warning
def _baselines(
    folder: RunFolder,
    settings: Settings,
    membership: Membership,
    labels: tuple[str, ...],
    test: Examples,
) -> None:
    """Record what the test split gives up to guessing, and to a linear model."""
    if not kind(settings.model.task).one_class:
        return
    share = baselines.majority_class(test)
    found = {"majority_class": _short(share)}
    log(INFO, "Guessing the commonest class has accuracy %.4f", share)
    # Where a node has data of its own, the pooled data are nowhere.
    dealt = all(member.partitions for member in membership.members)
    if settings.keeping.report and dealt:
        _tfidf(settings, labels, found)
    folder.event("baselines", **found)


@_as_warning
def _tfidf(
    settings: Settings, labels: tuple[str, ...], found: dict[str, float]
) -> None:
    """Add what a linear model on the words of the texts gets."""
    linear = baselines.tfidf(settings, labels)
    if linear is not None:
        found["tfidf"] = _short(linear)
        log(INFO, "A linear model on TF-IDF of the pooled texts has %.4f", linear)


def say_worth(folder: RunFolder) -> None:
    """Log what a run came to beside what is reached without it.

    Where its head was solved, what it began with is the linear probe.
    """
    if line := Worth.of(folder.rows, events_of(folder.path)).line:
        log(INFO, "Test split: %s", line)
    rows: list[dict[str, Any]] = folder.rows
    first, last = rows[0], rows[-1]
    if first.get("head_examples") and "accuracy" in first and "accuracy" in last:
        probe, accuracy = first["accuracy"], last["accuracy"]
        text = "Linear probe (round 0) %.4f, this run %.4f (%+.4f)"
        log(INFO, text, probe, accuracy, accuracy - probe)


@_as_warning
def _class_counts(
    folder: RunFolder,
    settings: Settings,
    membership: Membership,
    labels: tuple[str, ...],
) -> None:
    """Count what the server deals out; nodes with data of their own send nothing."""
    parts = membership.partitions
    data = settings.data
    if not parts or parts > _PARTITIONS or len(labels) > _CLASSES:
        return
    if not kind(settings.model.task).has_names:
        data = replace(data, label_column="")
    if not (data.label_column or data.partition_by):
        return
    names, counts = partitions.class_counts(data, parts, settings.run.seed)
    if len(names) <= _CLASSES:
        folder.event("class-counts", classes=names, counts=counts)


@_as_warning
def _singular_values(folder: RunFolder, strategy: LoraStrategy) -> None:
    """Record those of the global update s B A, layer by layer, the largest first."""
    if strategy.method.personal or strategy.method.whole_model:
        return
    model = strategy.global_model()
    layers = {}
    for module, (B, A) in model.factors.items():
        values = strategy.lora_scaling * singular_values(B.cpu(), A.cpu())
        layers[module] = {
            "norm": _short(float(values.norm())),
            "values": [_short(value) for value in values[:_VALUES].tolist()],
        }
    folder.event("singular-values", layers=layers)


@_as_warning
def _report(folder: RunFolder) -> None:
    from ilora_app.report import page

    log(INFO, "Report: %s", page.write(folder.path, over=True))


@_as_warning
def _privacy_page(folder: RunFolder) -> None:
    from ilora_app.report import privacy_page

    privacy_page.write(folder.path)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
