"""The rounds of a run: send, wait, aggregate, evaluate, and one line for each."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from logging import INFO
from typing import Any, NamedTuple

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from flwr.supercore import log

from ilora_app import wire
from ilora_app.federation.evaluation import EVALUATE, TRAIN, Evaluation
from ilora_app.federation.event_log import EventLog
from ilora_app.federation.exchange import exchange
from ilora_app.federation.membership import Membership
from ilora_app.federation.round_lines import closing_table, line_of
from ilora_app.federation.spool import Spool
from ilora_app.federation.waiting import untrained

Row = dict[str, Any]
EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]
AfterRound = Callable[[list[Row]], None]
Stop = Callable[[list[Row]], str]
Refit = Callable[[int, Grid, ConfigRecord], tuple[ArrayRecord | None, Row]]


class _Asking(NamedTuple):
    """How a run solves and measures."""

    grid: Grid
    timeout: float
    config: ConfigRecord
    evaluate_fn: EvaluateFn | None
    result: Result


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
        end_after: told of the last round, where a run ends early.

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
    end_after: Callable[[int], None] | None = None

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
        strategy, result = self.strategy, Result()
        result.arrays = arrays
        asking = _Asking(grid, timeout, evaluate_config, evaluate_fn, result)
        rows = list(before)
        if not rows:
            solved, cost = self._refit(0, asking)
            arrays = result.arrays = solved or arrays
            rows = [_evaluate(evaluate_fn, 0, arrays, result, {"round": 0, **cost})]
            self._close(rows, num_rounds)

        for number in range(rows[-1]["round"] + 1, num_rounds + 1):
            if self.stop and (why := self.stop(rows)):
                log(INFO, "Ending after round %d: %s", number - 1, why)
                self.events.ended_early(number - 1, why)
                result.arrays = self._at_the_end(rows, arrays, asking)
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
            if earlier := self.evaluation.take_earlier():
                rows[-1].update(earlier)
                self.events.measured(rows[-1]["round"], earlier)
            if new_arrays is not None:
                arrays = result.arrays = new_arrays
            if metrics is not None:
                result.train_metrics_clientapp[number] = metrics
                row.update(metrics)
            solved, cost = self._refit(number, asking)
            arrays = result.arrays = solved or arrays
            row.update(cost)

            clock = time.perf_counter()
            ask = number, arrays, evaluate_config, grid
            self._measure(strategy.configure_evaluate(*ask), asking, row)
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

    def _at_the_end(
        self, rows: list[Row], arrays: ArrayRecord, asking: _Asking
    ) -> ArrayRecord:
        """Solve and measure what is due at the end, of a run that has ended early."""
        row = rows[-1]
        if not (number := row["round"]) or not self.end_after:
            return arrays
        self.end_after(number)
        found: Row = {"round": number}
        if "bytes_down_head" not in row:
            solved, cost = self._refit(number, asking)
            arrays = solved or arrays
            found.update(cost)
        clock = time.perf_counter()
        ask = self.strategy.configure_evaluate  # once more, where it is another model
        due = "bytes_down_head" in found or not row.get("asked_evaluate")
        if due and (messages := list(ask(number, arrays, asking.config, asking.grid))):
            self._measure(messages, asking, found)
            for way in ("down", "up"):
                found[f"bytes_{way}_evaluate"] += row.get(f"bytes_{way}_evaluate", 0)
        found = _evaluate(asking.evaluate_fn, number, arrays, asking.result, found)
        found["seconds_evaluate"] = row.get("seconds_evaluate", 0.0) + _since(clock)
        row.update(found)
        del found["round"]
        self.events.measured(number, found)
        if self.after_round:
            self.after_round(rows)
        return arrays

    def _measure(self, messages: Iterable[Message], asking: _Asking, row: Row) -> None:
        """Have nodes measure the model, and note what they say in a row."""
        replies = self._exchange(asking.grid, messages, asking.timeout, row, EVALUATE)
        metrics = self.strategy.aggregate_evaluate(row["round"], replies)
        if metrics is not None:
            asking.result.evaluate_metrics_clientapp[row["round"]] = metrics
            row.update(metrics)

    def _refit(self, number: int, asking: _Asking) -> tuple[ArrayRecord | None, Row]:
        """Solve the head where that is due, and say how long it took."""
        clock = time.perf_counter()
        solved, cost = self.refit(number, asking.grid, asking.config)
        return solved, {**cost, "seconds_head": _since(clock)} if cost else cost

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


def _since(clock: float) -> float:
    return round(time.perf_counter() - clock, 3)
