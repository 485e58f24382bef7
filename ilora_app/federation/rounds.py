"""The rounds of a run: send, wait, aggregate, evaluate, and one line for each."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from logging import INFO
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from flwr.supercore import log

from ilora_app import wire
from ilora_app.federation.evaluation import EVALUATE, TRAIN, Evaluation
from ilora_app.federation.event_log import EventLog
from ilora_app.federation.exchange import exchange
from ilora_app.federation.membership import Membership
from ilora_app.federation.spool import Spool
from ilora_app.federation.waiting import untrained

Row = dict[str, Any]
EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]
AfterRound = Callable[[list[Row]], None]
Stop = Callable[[list[Row]], str]
Refit = Callable[[int, Grid, ConfigRecord], tuple[ArrayRecord | None, Row]]


@dataclass(frozen=True)
class Rounds:
    """Runs a strategy round after round; each becomes one event and one log line.

    Args:
        strategy: configures and aggregates; through Flower's interface alone.
        membership: told of every round that is finished.
        evaluation: asked for what clients measured of a round in the next one.
        events: of the run.
        refit: solves the head where that is due; gives the model then, and its cost.
        after_round: given the rows so far, whenever there is one more.
        stop: says of them why no further round is run, or nothing.
        most: megabytes of a reply; 0: several times what was sent.
        spool: takes replies to training out of memory.
        trains: a run whose rounds all had no usable reply is an error.

    """

    strategy: Strategy
    membership: Membership
    evaluation: Evaluation
    events: EventLog
    refit: Refit
    after_round: AfterRound | None = None
    stop: Stop | None = None
    most: float = 0.0
    spool: Spool | None = None
    trains: bool = True

    def run(
        self,
        grid: Grid,
        arrays: ArrayRecord,
        num_rounds: int,
        timeout: float,
        train_config: ConfigRecord,
        evaluate_config: ConfigRecord,
        evaluate_fn: EvaluateFn | None,
        before: Sequence[Row] = (),
    ) -> Result:
        """Run the rounds up to num_rounds.

        ``before`` are the rows of the rounds that a resumed run has behind it; without
        any, the initial model is evaluated as round 0.

        Raises:
            UntrainedError: at the end, with the first reasons.

        """
        strategy = self.strategy
        result = Result()
        result.arrays = arrays
        rows = list(before)
        if not rows:
            solved, cost = self.refit(0, grid, evaluate_config)
            arrays = result.arrays = solved or arrays
            rows = [_evaluate(evaluate_fn, 0, arrays, result, {"round": 0, **cost})]
            self._close(rows, num_rounds)

        for number in range(rows[-1]["round"] + 1, num_rounds + 1):
            if self.stop and (why := self.stop(rows)):
                log(INFO, "Ending after round %d: %s", number - 1, why)
                self.events.ended_early(number - 1, why)
                break
            row: Row = {"round": number}
            clock = time.perf_counter()
            messages = strategy.configure_train(number, arrays, train_config, grid)
            replies = self._exchange(grid, messages, timeout, row, TRAIN)
            row["seconds_train"] = _since(clock)

            clock = time.perf_counter()
            new_arrays, metrics = strategy.aggregate_train(number, replies)
            # A node that comes back before the round's evaluation goes on from here.
            self.membership.finish(number)
            row["seconds_aggregate"] = _since(clock)
            earlier = self.evaluation.take_earlier()
            if earlier:
                rows[-1].update(earlier)
                self.events.measured(rows[-1]["round"], earlier)
            if new_arrays is not None:
                arrays = result.arrays = new_arrays
            if metrics is not None:
                result.train_metrics_clientapp[number] = metrics
                row.update(metrics)
            solved, cost = self.refit(number, grid, evaluate_config)
            arrays = result.arrays = solved or arrays
            row.update(cost)

            clock = time.perf_counter()
            messages = strategy.configure_evaluate(
                number, arrays, evaluate_config, grid
            )
            replies = self._exchange(grid, messages, timeout, row, EVALUATE)
            metrics = strategy.aggregate_evaluate(number, replies)
            if metrics is not None:
                result.evaluate_metrics_clientapp[number] = metrics
                row.update(metrics)
            row = _evaluate(evaluate_fn, number, arrays, result, row)
            row["seconds_evaluate"] = _since(clock)
            rows.append(row)
            self._close(rows, num_rounds)

        for line in closing_table(rows):
            log(INFO, "%s", line)
        ran = [row for row in rows if row["round"]]
        if self.trains and ran and not any(row.get("clients") for row in ran):
            raise untrained(len(ran), self.events.in_vain)
        return result

    def _exchange(
        self,
        grid: Grid,
        messages: Iterable[Message],
        timeout: float,
        row: Row,
        purpose: str,
    ) -> list[Message]:
        """Send and receive, and count the bytes of the contents both ways."""
        sent, number = list(messages), row["round"]
        self.events.asked(number, purpose, len(sent))
        standing, replied = self.events.standing, 0

        def came(nodes: Sequence[int]) -> None:
            nonlocal replied
            replied += len(nodes)
            standing.came(nodes)
            self.events.replied(number, purpose, replied)

        asked = [message.metadata.dst_node_id for message in sent]
        seconds = standing.wait(purpose, asked, timeout)
        spool = self.spool if purpose == TRAIN else None
        if spool:
            spool.begin()
        payloads = self.events.payloads(number, purpose)
        how = seconds, came, self.most, spool, payloads
        replies = exchange(grid, sent, *how)
        contents = [reply.content for reply in replies if reply.has_content()]
        suffix = "" if purpose == TRAIN else f"_{purpose}"
        row[f"asked{suffix}"] = len(sent)
        row[f"bytes_down{suffix}"] = sum(wire.content_bytes(m.content) for m in sent)
        row[f"bytes_up{suffix}"] = sum(wire.content_bytes(c) for c in contents)
        return replies

    def _close(self, rows: list[Row], num_rounds: int) -> None:
        """Record a finished round, and let it be kept."""
        self.events.round(rows[-1])
        log(INFO, "%s", line_of(rows[-1], num_rounds))
        if self.after_round:
            self.after_round(rows)


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
    if "bytes_up" in row:
        down, up = row["bytes_down"] / 1e6, row["bytes_up"] / 1e6
        parts.append(f"MB down {down:.2f} up {up:.2f}")
        parts.append(f"{_seconds(row):.1f} s")
    return "  ".join(parts)


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


def _evaluate(
    evaluate_fn: EvaluateFn | None,
    number: int,
    arrays: ArrayRecord,
    result: Result,
    row: Row,
) -> Row:
    """Put the central evaluation right behind the round's number.

    What the server measured is never what a client says instead.
    """
    metrics = evaluate_fn(number, arrays) if evaluate_fn else None
    if metrics is None:
        return row
    result.evaluate_metrics_serverapp[number] = metrics
    others = {key: value for key, value in row.items() if key not in metrics}
    return {"round": number, **metrics, **others}


def _seconds(row: Row) -> float:
    keys = ("seconds_train", "seconds_aggregate", "seconds_evaluate")
    return float(sum(row.get(key, 0.0) for key in keys))


def _since(clock: float) -> float:
    return round(time.perf_counter() - clock, 3)


def _cell(row: Row, key: str, form: str, scale: float = 1.0) -> str:
    return format(row[key] * scale, form) if key in row else "-"
