"""Values that a plot shows where one points at it: places over it, with their text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from matplotlib.axes import Axes

_RADIUS = 6
"""Points of a place around a value, as large as a finger hits it on a phone."""


@dataclass
class Tips:
    """Places in the coordinates of some axes, for SVG.

    Args:
        axes: whose data they are of.

    """

    axes: Axes
    _places: list[tuple[tuple[float, float], tuple[float, float], str]] = field(
        default_factory=list
    )

    def point(self, x: float, y: float, text: str) -> None:
        """Say something of a point."""
        self._places.append(((x, y), (x, y), text))

    def box(
        self, low: tuple[float, float], high: tuple[float, float], text: str
    ) -> None:
        """Say something of a rectangle between two corners."""
        self._places.append((low, high, text))

    def cells(self, texts: Sequence[Sequence[str]]) -> None:
        """Say something of each cell of an image; nothing of those without a text."""
        for y, row in enumerate(texts):
            for x, text in enumerate(row):
                if text:
                    self.box((x - 0.5, y - 0.5), (x + 0.5, y + 0.5), text)

    def svg(self) -> str:
        """Elements to put behind all else in the drawing, once it has been drawn."""
        figure = self.axes.figure
        assert figure is not None
        points = 72 / figure.dpi
        top = figure.get_figheight() * 72  # type: ignore[union-attr]
        made = []
        for low, high, text in self._places:
            (x, y), (right, up) = (
                (float(place[0]) * points, top - float(place[1]) * points)
                for place in self.axes.transData.transform([low, high])
            )
            about = f'class="tip" data-tip="{escape(text)}"'
            if low == high:
                made.append(
                    f'<circle {about} cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}"/>'
                )
                continue
            sides = f'x="{min(x, right):.1f}" y="{min(y, up):.1f}"'
            size = f'width="{abs(right - x):.1f}" height="{abs(up - y):.1f}"'
            made.append(f"<rect {about} {sides} {size}/>")
        return "\n".join(made)
