"""Rounds as lines of text, for the log."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def line_of(row: Row, num_rounds: int) -> str:
    """Write a round as one line, for the log."""
    parts = [f"round {row['round']}/{num_rounds}"]
    parts += [f"{k} {row[k]:.4f}" for k in ("accuracy", "loss") if k in row]
    if "asked" in row:
        parts.append(f"clients {row.get('clients', 0)}/{row['asked']}")
    if "client_accuracy_worst" in row:
        parts.append(f"worst client {row['client_accuracy_worst']:.3f}")
    kept = [f"{v:.2f}" for k, v in row.items() if k.startswith("energy_kept_r")]
    if kept:
        parts.append("energy kept " + "/".join(kept))
    if "drift" in row:
        parts.append(f"drift {row['drift']:.3f}")
    down, up = _megabytes(row, "down"), _megabytes(row, "up")
    if down or up:
        parts.append(f"MB down {down:.2f} up {up:.2f}")
        parts.append(f"{_seconds(row):.1f} s")
    return "  ".join(parts)


def closing_table(rows: Sequence[Row]) -> list[str]:
    """Lay out the rounds as a table of text, for the log."""
    heads = ("round", "accuracy", "loss", "client mean", "worst", "drift", "MB up", "s")
    lines = ["".join(f"{head:>13}" for head in heads)]
    for row in rows:
        cells = (
            str(row["round"]),
            _cell(row, "accuracy", ".4f"),
            _cell(row, "loss", ".4f"),
            _cell(row, "client_accuracy_mean", ".4f"),
            _cell(row, "client_accuracy_worst", ".4f"),
            _cell(row, "drift", ".3f"),
            f"{_megabytes(row, 'up'):.2f}",
            f"{_seconds(row):.1f}",
        )
        lines.append("".join(f"{cell:>13}" for cell in cells))
    return lines


def _seconds(row: Row) -> float:
    phases = ("train", "aggregate", "head", "evaluate")
    return float(sum(row.get(f"seconds_{phase}", 0.0) for phase in phases))


def _megabytes(row: Row, way: str) -> float:
    """Add up what was sent one way, whatever the messages were for."""
    columns = (column for column in row if column.startswith(f"bytes_{way}"))
    return float(sum(row[column] for column in columns)) / 1e6


def _cell(row: Row, key: str, form: str) -> str:
    return format(row[key], form) if key in row else "-"
