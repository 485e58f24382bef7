"""A grid of strategies and the values of one setting: what each value is worth."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from ilora_app.compare.differences import paired
from ilora_app.compare.intervals import Difference
from ilora_app.compare.rows import Row
from ilora_app.compare.sections import Section
from ilora_app.settings import Settings, parsing

_STRATEGY, _BY, _AUTO = "strategy", " x ", "auto"


@dataclass(frozen=True)
class Grid:
    """Every strategy with every value of a setting; the first value is the ground.

    Attributes:
        key: of the setting.
        values: that it takes, without ``auto``.

    """

    key: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Grid":
        """Read ``strategy x KEY``, for a key with a choice of values.

        Raises:
            ValueError: it is something else; says what would be right.

        """
        known = _choices()
        first, by, key = text.partition(_BY)
        if first.strip() != _STRATEGY or not by or key.strip() not in known:
            raise ValueError(
                f"--grid {text!r}: expected '{_STRATEGY}{_BY}KEY' with KEY one of "
                + ", ".join(sorted(known))
            )
        values = [value for value in known[key.strip()] if value != _AUTO]
        values.sort(key=lambda value: value != "none")
        return cls(key.strip(), tuple(values))

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """Every row with every value; those that make no sense may be left out."""
        return [
            Row(self.name(row.name, value), (*row.changes, (self.key, value)), True)
            for row in rows
            for value in self.values
        ]

    def name(self, row: str, value: str) -> str:
        """Name of a row with a value."""
        return f"{row}+{self.key}={value}"

    def strategies(self, section: Section) -> list[str]:
        """Rows of the grid, in the order of the section."""
        ending = f"+{self.key}="
        named = [s.name for s in section.summaries if ending in s.name]
        names = [name.partition(ending)[0] for name in named]
        return list(dict.fromkeys(names))

    def differences(self, section: Section) -> dict[tuple[str, str], Difference]:
        """What each value is worth to each strategy, for the cells with results."""
        summaries = {summary.name: summary for summary in section.summaries}
        found = {}
        for row in self.strategies(section):
            ground = summaries.get(self.name(row, self.values[0]))
            for value in self.values[1:]:
                other = summaries.get(self.name(row, value))
                gap = paired(ground.runs, other.runs) if ground and other else None
                if gap:
                    found[row, value] = gap
        return found

    def markdown(self, section: Section) -> list[str]:
        """A table of the differences, a line for each strategy."""
        found, values = self.differences(section), self.values[1:]
        lines = [
            f"{section.measure.capitalize()} less that of "
            f"`{self.key} = {self.values[0]!r}`, paired by seed, "
            "with 95 % intervals (Student's t); **bold** where they exclude zero.",
            "",
            "| | " + " | ".join(values) + " |",
            "|---" * (1 + len(values)) + "|",
        ]
        for row in self.strategies(section):
            texts = []
            for value in values:
                cell = found.get((row, value))
                text = "–" if cell is None else str(cell)
                texts.append(f"**{text}**" if cell and cell.excludes_zero else text)
            lines.append(f"| {row} | " + " | ".join(texts) + " |")
        return lines


def _choices() -> dict[str, tuple[Any, ...]]:
    """Settings with a choice of values, by key."""
    found = {}
    for group in fields(Settings):
        for entry in fields(type(getattr(Settings(), group.name))):
            if choices := entry.metadata["choices"]:
                found[parsing.key_of(entry.name)] = choices
    return found
