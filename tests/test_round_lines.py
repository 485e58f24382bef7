"""A round in the log: all that it sent and all that it waited for."""

from ilora_app.federation.round_lines import closing_table, line_of
from ilora_app.track.metrics_endpoint import RunMetrics

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


def test_prometheus_has_each_purpose_under_its_name():
    metrics = RunMetrics("ilora")
    metrics.take("round", ROUND | {"messages_secure": 7, "clients_evaluated": 2})
    metrics.take("measured", {"round": 1, "clients_evaluated": 3})
    found = metrics.registry.get_sample_value
    for way, amount in (("down", 4e6), ("up", 8e6)):
        labels = {"purpose": "secure", "direction": way}
        assert found("ilora_bytes_total", labels) == amount
        assert found("ilora_measure", {"column": f"bytes_{way}_secure"}) is None
    assert found("ilora_phase_seconds_total", {"phase": "head"}) == 4.0
    assert found("ilora_asked_total", {"purpose": "secure"}) == 7
    used = {"purpose": "evaluate", "outcome": "used"}
    assert found("ilora_replies_total", used) == 5
