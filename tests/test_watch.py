"""What a run looks like: its state, plain lines, the panel, and what feeds them."""

import io
import re

import pytest
from rich.console import Console

from ilora_app.watch.lines import duration, megabytes, round_line
from ilora_app.watch.state import RunState
from ilora_app.watch.view import View, sparkline

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
RUN = 7
EVENTS = [
    {"time": 100.0, "event": "started", "run": RUN, "rounds": 4, "pid": 1},
    {"time": 101.0, "event": "round", "round": 0, "accuracy": 0.1, "loss": 2.3},
    {"time": 101.1, "event": "asked", "round": 1, "purpose": "train", "clients": 3},
    {"time": 105.0, "event": "replied", "round": 1, "purpose": "train", "clients": 3},
    {
        "time": 105.1, "event": "reply-left-out", "round": 1, "purpose": "train",
        "node": 9, "partition": 2, "reason": "not\x1b[2Jfinite\nround 9/9",
    },
    {
        "time": 110.0, "event": "round", "round": 1, "accuracy": 0.4, "loss": 1.9,
        "asked": 3, "clients": 2, "energy_kept_r2": 0.53, "energy_kept_r8": 0.84,
        "bytes_down": 1_000_000, "bytes_up": 500_000, "bytes_down_evaluate": 500_000,
        "bytes_up_evaluate": 250_000, "seconds_train": 5.0, "seconds_aggregate": 0.5,
        "seconds_evaluate": 2.0,
    },
    {"time": 110.2, "event": "clients-evaluated", "round": 1, "clients": []},
    {"time": 110.5, "event": "asked", "round": 2, "purpose": "train", "clients": 3},
    {"time": 111.0, "event": "replied", "round": 2, "purpose": "train", "clients": 1},
]  # fmt: skip


def fed(events=EVENTS) -> RunState:
    state = RunState()
    for event in events:
        state.take(event)
    return state


def drawn(state: RunState, **console) -> str:
    file = io.StringIO()
    view = View(Console(file=file, width=100, **console), state, "ilora: a on b")
    with view.shown():
        pass
    if not view._console.is_terminal:
        view._console.print(view.panel())
    return file.getvalue()


def test_the_state_knows_how_far_a_run_is():
    state = fed()
    assert (state.round, state.rounds) == (1, 4)
    assert (state.replied, state.asked, state.purpose) == (1, 3, "train")
    assert state.series("accuracy") == [(0, 0.1), (1, 0.4)]
    assert state.energy_kept() == {"2": 0.53, "8": 0.84}
    assert state.total("bytes_down", "bytes_down_evaluate") == 1_500_000
    assert len(state.failures) == 1


def test_time_left_is_that_of_the_last_rounds_less_what_is_gone():
    state = fed()
    assert state.seconds_left(now=112.0) == pytest.approx(7.5 - 2 + 2 * 7.5)
    assert state.seconds_left(now=200.0) == pytest.approx(2 * 7.5), "never negative"
    assert RunState(3).seconds_left() is None
    begun = {"event": "round", "round": 0, "seconds_evaluate": 0.2}
    assert fed([EVENTS[0], begun]).seconds_left() is None, "no round is known yet"
    done = fed([*EVENTS[:2], {"event": "round", "round": 4, "seconds_train": 1.0}])
    assert done.seconds_left() == 0


def test_a_run_that_goes_on_drops_the_round_that_is_run_again():
    again = {"event": "resumed", "run": 8, "rounds": 6, "after_round": 0}
    state = fed([*EVENTS, {"event": "failed", "reason": "x"}, again])
    assert (state.round, state.rounds, state.status) == (0, 6, "")
    assert not state.failures


def test_what_clients_measure_later_goes_to_its_round():
    state = fed([*EVENTS, {"event": "measured", "round": 1, "client_loss_mean": 3.0}])
    assert state.rows[1]["client_loss_mean"] == 3.0
    assert state.round == 1


def test_without_a_terminal_there_is_a_line_a_round_without_control_characters():
    file = io.StringIO()
    state = RunState()
    view = View(Console(file=file, width=40), state, "title")
    with view.shown():
        for event in EVENTS:
            state.take(event)
            view.event(event)
    text = file.getvalue()
    assert not CONTROL.search(text), repr(text)
    lines = text.splitlines()
    assert lines[0] == "round 0/4  accuracy 0.1000  loss 2.3000"
    assert lines[1].startswith(
        "round 1/4  accuracy 0.4000  loss 1.9000  clients 2/3  energy kept 0.53/0.84  "
        "1.50 MB down 0.75 MB up  7.5 s"
    )
    assert len(lines) == 2, "long lines are not folded"


def test_the_panel_shows_everything():
    text = drawn(fed(), force_terminal=True, legacy_windows=False)
    assert "\x1b[" in text, "it is redrawn in place"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    for part in (
        "ilora: a on b", "1/4", "left", "1 of 3 have trained", "0.4000  ▁█",
        "best 0.4000 (round 1)", "1.9000  █▁", "best 1.9000 (round 1)", "r2 53.0%",
        "r8 84.0%", "1.50 MB down, 0.75 MB up", "client 2 is left out",
    ):  # fmt: skip
        assert part in plain, part
    assert "\x1b[2J" not in text, "what a client says cannot clear the screen"


def test_what_solving_the_head_sends_counts_from_before_round_1():
    head = {"bytes_down_head": 2_000_000, "bytes_up_head": 1_000_000}
    state = fed([EVENTS[0], EVENTS[1] | head, EVENTS[5]])
    assert "2.00 MB down 1.00 MB up" in round_line(state.rows[0], state)
    assert "3.50 MB down, 1.75 MB up" in drawn(state)


def test_the_panel_of_a_run_that_has_just_begun_and_of_personal_models():
    assert "starting" in drawn(RunState(3))
    row = {"event": "round", "round": 1, "client_accuracy_mean": 0.25, "perplexity": 9}
    text = drawn(fed([EVENTS[0], row]))
    assert "clients' accuracy" in text
    assert "0.2500" in text
    assert "perplexity" in text


def test_a_console_without_unicode_gets_other_marks():
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    console = Console(file=file, width=100)
    console.print(View(console, fed(), "title").panel())
    file.flush()
    assert b".@" in raw.getvalue()


def test_sparklines():
    assert sparkline([0, 1, 2, 3]) == "▁▃▆█"
    assert sparkline([1, 1]) == "▁▁"
    assert sparkline([]) == ""
    assert sparkline([float("nan"), 1]) == "▁"
    assert len(sparkline(list(range(500)))) == 40


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "unknown time"), (3.4, "3 s"), (61, "1 min 1 s"), (7260, "2 h 1 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
    assert megabytes(2.5e9) == "2.50 GB"
