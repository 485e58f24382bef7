"""A round in the log: all that it sent and all that it waited for."""

from ilora_app.federation.round_lines import closing_table, line_of
from ilora_app.runs import traffic
from ilora_app.watch import state

SOLVED = {"round": 0, "bytes_down_head": 3e6, "bytes_up_head": 5e6, "seconds_head": 2.0}
ROUND = {
    "round": 1, "asked": 3, "clients": 2, "accuracy": 0.5,
    "bytes_down": 1e6, "bytes_up": 2e6,
    "bytes_down_secure": 4e6, "bytes_up_secure": 8e6,
    "bytes_down_evaluate": 16e6, "bytes_up_evaluate": 32e6,
    "seconds_train": 1.0, "seconds_aggregate": 2.0, "seconds_head": 4.0,
    "seconds_evaluate": 8.0, "seconds_client_mean": 99.0,
}  # fmt: skip


def test_a_line_has_the_bytes_and_seconds_of_every_purpose():
    assert line_of(ROUND, 9) == (
        "round 1/9  accuracy 0.5000  clients 2/3  MB down 21.00 up 42.00  15.0 s"
    )
    assert line_of(SOLVED, 9) == "round 0/9  MB down 3.00 up 5.00  2.0 s"
    assert line_of({"round": 0, "loss": 1.5}, 9) == "round 0/9  loss 1.5000"


def test_the_closing_table_too():
    _, solved, round_1 = (line.split() for line in closing_table([SOLVED, ROUND]))
    assert solved[-2:] == ["5.00", "2.0"]
    assert round_1[-2:] == ["42.00", "15.0"]


def test_the_log_counts_what_other_readers_of_a_row_count():
    down, up = traffic.sent(ROUND)
    assert f"MB down {down / 1e6:.2f} up {up / 1e6:.2f}" in line_of(ROUND, 9)
    assert line_of(ROUND, 9).endswith(f"  {state.seconds(ROUND):.1f} s")
