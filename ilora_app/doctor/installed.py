"""Python and the packages, against the bounds that the app declares."""

import importlib.util
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ilora_app.doctor.finding import OK, PROBLEM, WARNING, Finding
from ilora_app.launch.app_files import PROJECT, is_repository
from ilora_app.launch.paths import ROOT

_TRACKERS = ("tensorboard", "wandb", "mlflow")


def python() -> Iterator[Finding]:
    """The interpreter, and Flower's commands beside it."""
    bound = SpecifierSet(_declared()[0])
    version = platform.python_version()
    if bound.contains(version, prereleases=True):
        yield Finding("Python", OK, f"{version} ({sys.executable})")
    else:
        advice = f"make a virtual environment with Python {bound}"
        yield Finding("Python", PROBLEM, f"{version}, and {bound} is needed", advice)
    folder = Path(sys.executable).parent
    lost = [n for n in ("flwr", "flower-superlink") if not (folder / n).exists()]
    if lost:
        elsewhere = [found for name in lost if (found := shutil.which(name))]
        found = f"{', '.join(lost)} not beside {sys.executable}"
        if elsewhere:
            found += f", but {', '.join(elsewhere)}"
        advice = "pip install -e . in this environment"
        yield Finding("Flower's commands", PROBLEM, found, advice)


def packages() -> Iterator[Finding]:
    """Every package that the app needs, and the optional ones that are there."""
    for requirement in map(Requirement, _declared()[1]):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        yield package(requirement)
    yield package(Requirement("ray"))
    there = [name for name in _TRACKERS if importlib.util.find_spec(name)]
    yield Finding("trackers", OK, ", ".join(there) or "none (extras of the app)")


def package(requirement: Requirement) -> Finding:
    """One package against its bounds."""
    name, bound = requirement.name, requirement.specifier
    wanted = f"{name}{bound}"
    advice = f'pip install "{wanted}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, PROBLEM, "not installed", advice)
    if not bound.contains(version, prereleases=True):
        return Finding(name, PROBLEM, f"{version}, and {bound} is needed", advice)
    state = OK
    if importlib.util.find_spec(_module(name)) is None:
        state = WARNING
    return Finding(name, state, f"{version}" + (f" ({bound})" if bound else ""))


def _declared() -> tuple[str, list[str]]:
    """Bound of Python and the requirements: of a clone's own file, else as installed.

    What is installed of a clone is as old as the last ``pip install -e .``.
    """
    if is_repository(ROOT):
        text = (ROOT / PROJECT).read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        return project["requires-python"], project["dependencies"]
    about: Any = metadata.metadata("ilora")
    return about["Requires-Python"] or "", metadata.requires("ilora") or []


def _module(name: str) -> str:
    known = {"pillow": "PIL", "scikit-learn": "sklearn", "pyyaml": "yaml"}
    return known.get(name, name.replace("-", "_"))
