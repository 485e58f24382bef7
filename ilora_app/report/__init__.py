"""The report of a run: one page by itself, from what is in its folder."""

from pathlib import Path

FILE = "report.html"


class ReportError(ValueError):
    """A folder that holds no run to report on: what is missing."""


def write(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        folder: of the run.
        out: file to write; None: report.html in the folder.

    Returns:
        The file.

    Raises:
        ReportError: the folder holds no run, or no finished round.
        OSError: the file cannot be written.

    """
    from ilora_app.report import sections
    from ilora_app.report.reading import read

    file = out or folder / FILE
    text = sections.page(read(folder))
    temporary = file.with_name(f".{file.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
    return file
