"""Mistakes of ``ilora run`` that show before anything is started."""

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from ilora_app.cli.complete import superlinks
from ilora_app.runs.places import LATEST, outside
from ilora_app.settings import Settings, options, parsing
from ilora_app.settings.mistake import MistakeError
from ilora_app.tasks import models, places

_ANSWERS_IN = 5.0


def method(settings: Settings, known: set[str]) -> list[str]:
    """Find what is wrong with the method.

    Args:
        settings: of the run.
        known: keys whose values are reported already.

    """
    if "strategy" in known:
        return []
    from ilora_app.federation import validity  # with all methods, and so with torch

    refused = validity.problems(settings)
    return [text for key, text in refused.items() if key not in known]


def folders(settings: Settings) -> list[str]:
    """Find what is wrong with the run folder, of a run on this machine."""
    resume, out = settings.keeping.resume, settings.run.output_dir
    folder, found = options.folder(out), []
    if resume == LATEST:
        if out and not folder.is_dir():
            right = f"the folder of a run, as resume is {LATEST}"
            found.append(parsing.describe("output-dir", out, right))
    elif resume:
        if not options.folder(resume).is_dir():
            right = f"{LATEST}, or the folder of a run, or its id"
            found.append(parsing.describe("resume", resume, right))
        if out and folder != options.folder(resume):
            right = f"{resume}, as in resume, or none: a run goes on where it is"
            found.append(parsing.describe("output-dir", out, right))
    elif out:
        taken = "a new or empty folder: a run never writes over another"
        if right := outside(folder) or (taken if _taken(folder) else ""):
            found.append(parsing.describe("output-dir", out, right))
    return found


def model(settings: Settings, known: set[str]) -> list[str]:
    """Find out that a model's name is that of a folder, and there is none.

    Args:
        settings: of the run.
        known: keys whose values are reported already.

    """
    if "model" in known:
        return []
    try:
        models.locate(settings.model.model)
    except models.ModelError as error:
        return [str(error)]
    return []


def absent(configs: Iterable[Mapping[str, object]]) -> list[str]:
    """Find models and data sets that look like folders or files and are none.

    Args:
        configs: run configs, of which each mistake is told once.

    """
    found: dict[str, None] = {}
    for config in configs:
        whole = parsing.dump(Settings()) | dict(config)
        for key, find in (("model", models.locate), ("dataset", places.resolve)):
            try:
                find(str(whole[key]))
            except MistakeError as error:
                found[str(error)] = None
    return list(found)


def superlink(name: str) -> str:
    """Say that no SuperLink has a name in Flower's config; empty where one has."""
    known = superlinks("")
    if not name or not known or name in known:
        return ""
    return f"--superlink {name}: expected one of {', '.join(known)}, of config.toml"


def data(settings: Settings, known: set[str]) -> tuple[list[str], list[str]]:
    """Find what is wrong with data that lies here, and what there is to say of it.

    Images are not read: the run does.

    Args:
        settings: of the run.
        known: keys whose values are reported already.

    Returns:
        The problems, and notes on what was guessed, held out and left out.

    """
    source, seed, task = settings.data, settings.run.seed, settings.model.task
    if "dataset" in known or not places.is_local(source.dataset):
        return [], []
    from ilora_app.tasks import data as rows  # the library takes a second
    from ilora_app.tasks import labelling, sources

    wrong = rows.problems(source, task, seed, read_files=False)
    if not wrong:
        try:
            source = rows.resolve_columns(source, task, seed)
            labelling.names_of(source, task, seed)
        except places.DataError as error:
            wrong = [str(error)]
    if wrong:
        return [text for text in wrong if text.split(" = ")[0] not in known], []
    return [], sources.notes(source, seed)


def ray(address: str, simulated: bool) -> list[str]:
    """Find what is wrong with the address of a Ray cluster."""
    if not simulated:
        right = "no --superlink beside it: that SuperLink has its own RAY_ADDRESS"
        return [f"--ray-address {address}: expected {right}"]
    if address == "auto":
        return []
    host, _, port = address.rpartition(":")
    right = "auto, or HOST:PORT as ray start --head prints it"
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        return [f"--ray-address {address}: expected {right}"]
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_IN).close()
    except OSError as error:
        return [f"--ray-address {address}: expected {right}, and there: {error}"]
    return []


def _taken(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
