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
    folder, found = options.folder(out), []
    if resume == LATEST:
        if out and not folder.is_dir():
            right = f"the folder of a run, as resume is {LATEST}"
            found.append(parsing.describe("output-dir", out, right))
    elif resume:
        if not options.folder(resume).is_dir():
            right = f"{LATEST}, or the folder of a run"
            found.append(parsing.describe("resume", resume, right))
        if out and folder != options.folder(resume):
            right = f"{resume}, as in resume, or none: a run goes on where it is"
            found.append(parsing.describe("output-dir", out, right))
    elif out:
        taken = "a new or empty folder: a run never writes over another"
        if right := outside(folder) or (taken if _taken(folder) else ""):
            found.append(parsing.describe("output-dir", out, right))
    return found


def _taken(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
