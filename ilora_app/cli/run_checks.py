"""Mistakes of ``ilora run`` that show before anything is started."""

from pathlib import Path

from ilora_app.federation import validity
from ilora_app.runs.places import outside
from ilora_app.runs.resume import LATEST
from ilora_app.settings import Settings, options, parsing


def method(settings: Settings, known: set[str]) -> list[str]:
    """Find what is wrong with the method.

    Args:
        settings: of the run.
        known: keys whose values are reported already.

    """
    if "strategy" in known:
        return []
    refused = validity.problems(settings)
    return [text for key, text in refused.items() if key not in known]


def folders(settings: Settings) -> list[str]:
    """Find what is wrong with the run folder, of a run on this machine."""
    resume, out = settings.keeping.resume, settings.run.output_dir
    if resume:
        if resume != LATEST and not options.folder(resume).is_dir():
            right = f"{LATEST}, or the folder of a run"
            return [parsing.describe("resume", resume, right)]
    elif out:
        folder = options.folder(out)
        taken = "a new or empty folder: a run never writes over another"
        if right := outside(folder) or (taken if _taken(folder) else ""):
            return [parsing.describe("output-dir", out, right)]
    return []


def _taken(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
