"""Small pieces that the sections of a report are made of."""

from html import escape

from ilora_app.report.reading import Series


def section(name: str, inner: str) -> str:
    """Make a section under its head."""
    return f"<section>\n<h2>{escape(name)}</h2>\n{inner}\n</section>"


def charts(*drawn: str, full: bool = False) -> str:
    """Lay out plots, tables and text in two columns; what is empty is left out."""
    kind = ' class="full" tabindex="0"' if full else ""
    figures = "".join(
        f"<figure{kind}>{part}</figure>" if part.startswith("<svg") else part
        for part in drawn
        if part
    )
    return f'<div class="charts">{figures}</div>' if figures else ""


def folded(name: str, inner: str) -> str:
    """Hide something long behind its name."""
    return f"<details><summary>{escape(name)}</summary>{inner}</details>"


def note(text: str) -> str:
    """Make a paragraph of plain text."""
    return f'<p class="dim">{escape(text)}</p>'


def last(series: Series) -> str:
    """Write the last value of a series."""
    return f"{series[-1][1]:.4f}" if series else "–"


def number(value: float) -> str:
    """Write a number of any size."""
    return str(int(value)) if value == int(value) else f"{value:.5g}"


def shown(value: object) -> str:
    """Write a value of the run config."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
