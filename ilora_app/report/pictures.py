"""A figure for a page, which takes its colours, and as files for papers and slides."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ilora_app.report.drawing import STYLE, inline
from ilora_app.report.tips import Tips

DPI = 200
FORMATS = ("png", "pdf", "svg")

Draw = Callable[[Figure], Sequence[Tips]]
"""Draws into a figure, and says what is said of places in it."""


@dataclass(frozen=True)
class Picture:
    """A figure that can be drawn again for each place that it is wanted in.

    Args:
        name: of its files, without an ending.
        title: for who reads a page aloud, and above it.
        size: in inches.
        draw: what is in it.

    """

    name: str
    title: str
    size: tuple[float, float]
    draw: Draw

    def svg(self) -> str:
        """The figure for a page: text and colours are those around it."""
        text, tips = self._saved(
            "svg", {"svg.fonttype": "none", "savefig.transparent": True}
        )
        said = "\n".join(tip.svg() for tip in tips)
        made = inline(text.decode(), self.title, self.name)
        return made.removesuffix("</svg>") + f"{said}\n</svg>"

    def file(self, kind: str) -> bytes:
        """The figure as one of ``FORMATS``; all letters are in it."""
        more = {"svg.fonttype": "path", "pdf.fonttype": 42}
        return self._saved(kind, more)[0]

    def _saved(self, kind: str, style: dict[str, Any]) -> tuple[bytes, Sequence[Tips]]:
        # Matplotlib reads part of its style when it draws, and part when it writes.
        whole: dict[Any, Any] = {**STYLE, "svg.hashsalt": self.name, **style}
        with matplotlib.rc_context(whole):
            figure = Figure(figsize=self.size, layout="constrained")
            FigureCanvasAgg(figure)
            tips = self.draw(figure)
            file = io.BytesIO()
            dates: dict[str, Any] = {
                "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
                "pdf": {"CreationDate": None},
            }
            figure.savefig(file, format=kind, dpi=DPI, metadata=dates.get(kind))
        return file.getvalue(), tips
