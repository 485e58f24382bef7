"""A run as plain lines: one a round, and one for each thing that goes wrong."""

import math

from ilora_app.runs import traffic
from ilora_app.watch.state import Row, RunState, seconds

ACCURACY = ("accuracy", "token_accuracy", "client_accuracy_mean")
LOSS = ("loss", "client_loss_mean")


def round_line(row: Row, state: RunState) -> str:
    """One round, in one line without control characters."""
    parts = [f"round {row['round']}/{state.rounds}"]
    for names in (ACCURACY, LOSS, ("perplexity",)):
        name = next((n for n in names if n in row), "")
        if name:
            parts.append(f"{title(name)} {row[name]:.4f}")
    if "asked" in row:
        parts.append(f"clients {row.get('clients', 0)}/{row['asked']}")
    kept = [v for k, v in row.items() if k.startswith("energy_kept_r")]
    if kept:
        parts.append("energy kept " + "/".join(f"{value:.2f}" for value in kept))
    down, up = traffic.sent(row)
    if down or up:
        parts.append(f"{megabytes(down)} down {megabytes(up)} up")
    if taken := seconds(row):
        parts.append(f"{taken:.1f} s")
    left = state.seconds_left()
    if left and row["round"] < state.rounds:
        parts.append(f"{duration(left)} left")
    return "  ".join(parts)


def title(column: str) -> str:
    """How a column is called to people."""
    return {
        "token_accuracy": "token accuracy",
        "client_accuracy_mean": "clients' accuracy",
        "client_loss_mean": "clients' loss",
    }.get(column, column)


def megabytes(count: float) -> str:
    """Write bytes as megabytes, or gigabytes where there are many."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


def duration(count: float | None) -> str:
    """Write seconds the way people say them."""
    if count is None or not math.isfinite(count):
        return "unknown time"
    minutes, rest = divmod(round(count), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
