"""Everything that can be wrong before round 1, found together."""

import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from logging import INFO, WARNING

from flwr.supercore import log

from ilora_app import methods, track
from ilora_app.federation import validity
from ilora_app.federation.evaluation import MEASURED_BY_CLIENTS
from ilora_app.runs import resume
from ilora_app.runs.places import outside
from ilora_app.runs.resume import ResumePoint
from ilora_app.settings import DataSettings, HeadSettings, Settings, options, parsing
from ilora_app.settings.head import AUTO, RIDGE, TRAINED
from ilora_app.settings.kinds import kind
from ilora_app.settings.parsing import ConfigError
from ilora_app.tasks import (
    data,
    labelling,
    models,
    record_training,
    sources,
    stacked_training,
)
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.encoded_split import encoded_test
from ilora_app.tasks.examples import Examples
from ilora_app.tasks.features import output_layer
from ilora_app.tasks.labels import one_sided
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.models import ModelError
from ilora_app.tasks.sources import DataError


@dataclass(frozen=True)
class RunInputs:
    """What the server needs to run, all of it loaded and checked.

    Attributes:
        run_key: name of the run for what nodes keep of it; empty where nothing is kept.
        resumed: the run that goes on; None begins one.

    """

    settings: Settings
    backbone: Backbone
    labels: tuple[str, ...]
    test: Examples
    run_key: str = ""
    resumed: ResumePoint | None = None


def prepare(run_config: Mapping[str, object]) -> RunInputs:
    """Read the run config, and load the data and the model that it names.

    Raises:
        ConfigError: with every mistake: keys, values, folders, columns, modules, ranks.

    """
    settings, problems = methods.parse(run_config)
    found = list(problems.values())
    method = None
    with suppress(methods.MethodError):
        method = methods.find(settings.run.strategy)
        refused = validity.problems(settings)
        found += [text for key, text in refused.items() if key not in problems]
    if not settings.keeping.resume:
        found += _output_dir(settings.run.output_dir)

    found += track.problems(options.names(settings.keeping.track))
    by = settings.keeping.best_metric
    if settings.run.evaluate_on == "train" and by.startswith(MEASURED_BY_CLIENTS):
        right = "a column that the server measures, as evaluate-on is train"
        found.append(parsing.describe("best-metric", by, right))
    run, source, task = settings.run, settings.data, settings.model.task
    labels: tuple[str, ...] = ("0", "1")
    wrong_data = data.problems(source, task, run.seed)
    # A key that is wrong by itself was reported; its default says nothing here.
    found += [p for p in wrong_data if p.split(" = ")[0] not in problems]
    if not wrong_data:
        source = data.resolve_columns(source, task, run.seed)
        try:
            labels = labelling.names_of(source, task, run.seed)
        except DataError as error:
            found.append(str(error))
        if few := labelling.too_few(labels, source, task):
            found.append(few)

    backbone = None
    try:
        whole_model = method is not None and method.whole_model
        backbone = load_backbone(settings.model, labels, run.seed, whole_model)
    except ModelError as error:
        found += [
            p for p in str(error).splitlines() if p.split(" = ")[0] not in problems
        ]
    if backbone and "client-ranks" not in problems:
        found += fits(backbone, "client-ranks", max(settings.ranks))
    if backbone and kind(task).tokens and source.max_length > backbone.longest:
        right = f"at most {backbone.longest}, the positions of {settings.model.model}"
        found.append(parsing.describe("max-length", source.max_length, right))
    asked, unsure = settings.model, set(problems)
    settings = replace(settings, data=source)
    if backbone:
        named = replace(backbone.settings, model=models.canonical(asked.model))
        settings = replace(settings, model=named)
    else:
        unsure.add("model")
    if backbone and method:
        head, wrong = _head(settings, backbone)
        found += wrong
        settings = replace(settings, head=head)
    if method:
        settings = methods.resolve(settings)
    if found:
        # What is wrong, or could not be resolved, is not held against a checkpoint.
        unsure |= {text.split(" = ")[0] for text in found}
        vague = {"data"} if wrong_data else set()
        vague |= set() if backbone else {"model", "head"}
        vague |= set() if method else {"model", "head", "method"}
        unsure |= {
            key
            for group, key, entry in parsing.options(settings)
            if group in vague
            and getattr(getattr(settings, group), entry.name) in ("", AUTO)
        }
    resumed, wrong = resume.find(settings, unsure)
    found += wrong
    if resumed and backbone and (told := _other_weights(resumed, settings, backbone)):
        found.append(told)
    if found or backbone is None or method is None:
        raise ConfigError(found)
    key = resumed.checkpoint.key if resumed else secrets.token_hex(8)
    _say(source, run.seed, kind(task).one_class)
    try:
        test = encoded_test(asked, source, labels, run.seed, method.whole_model)
        if settings.privacy.dp == "record":
            record_training.check(backbone, test)
        if settings.training.clients_per_batch > 1:
            stacked_training.check(backbone, test)
    except ModelError as error:
        raise ConfigError([str(error)]) from error
    if not settings.keeping.keep_checkpoints:
        key = ""
    return RunInputs(settings, backbone, labels, test, key, resumed)


def _say(data: DataSettings, seed: int, classes: bool) -> None:
    """Log what was guessed of the data, and classes that one split alone has."""
    for note in sources.notes(data, seed):
        log(INFO, "Data: %s", note)
    untested, untrained = one_sided(data, seed) if classes else ([], [])
    for names, without in (
        (untested, data.test_split),
        (untrained, data.train_split),
    ):
        for name in names:
            log(WARNING, "No row of the split %s is of class %s", without, name)


def _other_weights(resumed: ResumePoint, settings: Settings, backbone: Backbone) -> str:
    """Say that a model of the same name has other weights than a run began with."""
    then, name = resumed.checkpoint, settings.model.model
    if then.weights == backbone.fingerprint or then.config.get("model") != name:
        return ""
    right = (
        f"the weights that {resumed.folder} began with; those that it names now "
        "are others"
    )
    return parsing.describe("model", name, right)


def _head(settings: Settings, backbone: Backbone) -> tuple[HeadSettings, list[str]]:
    """Have a head trained that has no last linear layer to solve, where that is left.

    Returns:
        The settings, and what is wrong where ridge was asked for.

    """
    solved = methods.resolve(settings).head.head == RIDGE
    try:
        if solved:
            output_layer(backbone)
    except ModelError as error:
        trains = methods.find(settings.run.strategy).trains
        if settings.head.head != AUTO or not trains:
            return settings.head, [str(error)]
        return replace(settings.head, head=TRAINED), []
    return settings.head, []


def fits(backbone: Backbone, key: str, rank: int) -> list[str]:
    """Hold a rank against the smallest side of every adapted layer."""
    sides = {name: min(shape) for name, shape in backbone.shapes().items()}
    if not sides:
        return []
    module = min(sides, key=lambda name: sides[name])
    if rank <= sides[module]:
        return []
    right = f"ranks up to {sides[module]}, the smaller side of {module}"
    return [parsing.describe(key, rank, right)]


def _output_dir(value: str) -> list[str]:
    """A run folder is absolute, new, and can be written."""
    if not value:
        return []
    folder = options.folder(value)
    if not folder.is_absolute():
        right = "an absolute folder or one under ~: the app has no working directory"
        return [parsing.describe("output-dir", value, right)]
    if right := outside(folder):
        return [parsing.describe("output-dir", value, right)]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        right = "a new or empty folder: a run never writes over another"
        return [parsing.describe("output-dir", value, right)]
    parent = next(part for part in (folder, *folder.parents) if part.exists())
    try:
        # Tried, since what a system says of it is not always so, as under /proc.
        tempfile.TemporaryDirectory(dir=parent, prefix=".ilora-").cleanup()
    except OSError:
        right = f"a folder that can be made, and {parent} cannot be written"
        return [parsing.describe("output-dir", value, right)]
    return []
