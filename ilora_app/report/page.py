"""Writes the report of a run as one page by itself."""

from pathlib import Path

from ilora_app.report import sections
from ilora_app.report.reading import ReportError, read
from ilora_app.runs.writing import whole

FILE = "report.html"
# What reading a value that is not there, or is of another kind, ends in.
_STUMBLES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


def text(folder: Path, beside: Path | None = None, over: bool = False) -> str:
    """The report of a run, as :func:`write` writes it.

    Raises:
        ReportError: the folder holds no run, no finished round, or what no run writes.

    """
    run, other = read(folder), read(beside) if beside else None
    try:
        return sections.page(run, other, over)
    except _STUMBLES as error:
        what = f"{type(error).__name__}: {error}"
        raise ReportError(
            f"{folder}: its events or its config are not what a run writes ({what})"
        ) from error


def write(
    folder: Path,
    out: Path | None = None,
    beside: Path | None = None,
    over: bool = False,
) -> Path:
    """Write the report of a run.

    Args:
        folder: of the run.
        out: file to write; None: report.html in the folder.
        beside: folder of another run, whose client drift is drawn beside this one's.
        over: the run itself writes it, just before it says that it has ended.

    Returns:
        The file.

    Raises:
        ReportError: the folder holds no run, no finished round, or what no run writes.
        OSError: the file cannot be written.

    """
    file = out or folder / FILE
    made_of = text(folder, beside, over)
    whole(file, made_of)
    return file
