"""Mistakes of ``ilora run`` that show before anything is started."""

from pathlib import Path

from ilora_app import config, options, strategies
from ilora_app.runs.places import outside
from ilora_app.runs.resume import LATEST
from ilora_app.settings import Settings
from ilora_app.strategies import STRATEGIES


def method(settings: Settings, known: set[str]) -> list[str]:
    """Find what is wrong with the method.

    Args:
        settings: of the run.
        known: keys whose values are reported already.

    """
    name = settings.run.strategy
    if name not in STRATEGIES:
        right = "one of " + ", ".join(STRATEGIES)
        return [config.describe("strategy", name, right)]
    refused = strategies.problems(settings)
    return [text for key, text in refused.items() if key not in known]


def folders(settings: Settings) -> list[str]:
    """Find what is wrong with the run folder, of a run on this machine."""
    resume, out = settings.keeping.resume, settings.run.output_dir
    if resume:
        if resume != LATEST and not options.folder(resume).is_dir():
            right = f"{LATEST}, or the folder of a run"
            return [config.describe("resume", resume, right)]
    elif out:
        folder = options.folder(out)
        taken = "a new or empty folder: a run never writes over another"
        if right := outside(folder) or (taken if _taken(folder) else ""):
            return [config.describe("output-dir", out, right)]
    return []


def _taken(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
