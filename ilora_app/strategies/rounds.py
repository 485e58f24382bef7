"""The rounds of a run: send, wait, aggregate, evaluate, and one line for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from logging import INFO
from typing import TYPE_CHECKING, Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result
from flwr.supercore import log

from ilora_app import wire
from ilora_app.strategies.evaluation import EVALUATE, TRAIN
from ilora_app.strategies.exchange import exchange

if TYPE_CHECKING:
    from ilora_app.strategies.base import LoraStrategy

Row = dict[str, Any]
EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


def run(
    strategy: LoraStrategy,
    grid: Grid,
    arrays: ArrayRecord,
    num_rounds: int,
    timeout: float,
    train_config: ConfigRecord,
    evaluate_config: ConfigRecord,
    evaluate_fn: EvaluateFn | None,
    before: Sequence[Row] = (),
) -> Result:
    """Run the rounds up to num_rounds; each becomes one event and one log line.

    ``before`` are the rows of the rounds that a resumed run has behind it; without any,
    the initial model is evaluated as round 0.
    """
    log(INFO, "Starting %s:", type(strategy).__name__)
    strategy.summary()
    strategy.federation.wait(grid, strategy.min_available_nodes, timeout, settle=True)
    result = Result()
    result.arrays = arrays
    rows = list(before)
    if not rows:
        rows = [_evaluate(evaluate_fn, 0, arrays, result, {"round": 0})]
        _close(strategy, rows, num_rounds)

    for number in range(rows[-1]["round"] + 1, num_rounds + 1):
        row: Row = {"round": number}
        clock = time.perf_counter()
        messages = strategy.configure_train(number, arrays, train_config, grid)
        replies = _exchange(strategy, grid, messages, timeout, row, TRAIN)
        row["seconds_train"] = _since(clock)

        clock = time.perf_counter()
        new_arrays, metrics = strategy.aggregate_train(number, replies)
        # A node that comes back before the round's evaluation goes on from here.
        strategy.federation.finished_round = number
        row["seconds_aggregate"] = _since(clock)
        measured = strategy.take_measured_before()
        if measured:
            rows[-1].update(measured)
            strategy.journal.measured(rows[-1]["round"], measured)
        if new_arrays is not None:
            arrays = result.arrays = new_arrays
        if metrics is not None:
            result.train_metrics_clientapp[number] = metrics
            row.update(metrics)

        clock = time.perf_counter()
        messages = strategy.configure_evaluate(number, arrays, evaluate_config, grid)
        replies = _exchange(strategy, grid, messages, timeout, row, EVALUATE)
        metrics = strategy.aggregate_evaluate(number, replies)
        if metrics is not None:
            result.evaluate_metrics_clientapp[number] = metrics
            row.update(metrics)
        row = _evaluate(evaluate_fn, number, arrays, result, row)
        row["seconds_evaluate"] = _since(clock)
        rows.append(row)
        _close(strategy, rows, num_rounds)

    for line in closing_table(rows):
        log(INFO, "%s", line)
    return result


def closing_table(rows: list[Row]) -> list[str]:
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
            _cell(row, "bytes_up", ".2f", 1e-6),
            f"{_seconds(row):.1f}",
        )
        lines.append("".join(f"{cell:>13}" for cell in cells))
    return lines


def _exchange(
    strategy: LoraStrategy,
    grid: Grid,
    messages: Iterable[Message],
    timeout: float,
    row: Row,
    purpose: str,
) -> list[Message]:
    """Send and receive, and count the bytes of the contents both ways."""
    sent, number = list(messages), row["round"]
    strategy.journal.asked(number, purpose, len(sent))
    replies = exchange(
        grid,
        sent,
        timeout,
        lambda count: strategy.journal.replied(number, purpose, count),
    )
    contents = [reply.content for reply in replies if reply.has_content()]
    suffix = "" if purpose == TRAIN else f"_{purpose}"
    row[f"asked{suffix}"] = len(sent)
    row[f"bytes_down{suffix}"] = sum(wire.content_bytes(m.content) for m in sent)
    row[f"bytes_up{suffix}"] = sum(wire.content_bytes(c) for c in contents)
    return replies


def _evaluate(
    evaluate_fn: EvaluateFn | None,
    number: int,
    arrays: ArrayRecord,
    result: Result,
    row: Row,
) -> Row:
    """Put the central evaluation right behind the round's number."""
    metrics = evaluate_fn(number, arrays) if evaluate_fn else None
    if metrics is None:
        return row
    result.evaluate_metrics_serverapp[number] = metrics
    return {"round": number, **metrics, **row}


def _close(strategy: LoraStrategy, rows: list[Row], num_rounds: int) -> None:
    """Record a finished round, and let it be kept."""
    row = rows[-1]
    strategy.journal.round(row)
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
    if "bytes_up" in row:
        down, up = row["bytes_down"] / 1e6, row["bytes_up"] / 1e6
        parts.append(f"MB down {down:.2f} up {up:.2f}")
        parts.append(f"{_seconds(row):.1f} s")
    log(INFO, "%s", "  ".join(parts))
    strategy.after_round(rows)


def _seconds(row: Row) -> float:
    keys = ("seconds_train", "seconds_aggregate", "seconds_evaluate")
    return float(sum(row.get(key, 0.0) for key in keys))


def _since(clock: float) -> float:
    return round(time.perf_counter() - clock, 3)


def _cell(row: Row, key: str, form: str, scale: float = 1.0) -> str:
    return format(row[key] * scale, form) if key in row else "-"
