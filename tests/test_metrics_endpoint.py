"""``/metrics`` of a real run, over HTTP, and the dashboard that is made of it."""

import json
import logging
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from ilora_app.server import preflight
from ilora_app.settings.parsing import ConfigError
from ilora_app.track.metrics_endpoint import RunMetrics
from tests.conftest import read_events
from tests.local_run import metrics, run
from tests.own_processes import free_port
from tests.test_round_lines import ROUND

DASHBOARD = Path(__file__).parent.parent / "deploy" / "grafana" / "ilora.json"
Found = dict[tuple[str, ...], float]


def fetch(port: int) -> Found:
    """(name, values of its labels) -> value, as any scraper reads it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        text = page.read().decode()
    samples = [s for family in families(text) for s in family.samples]
    return {
        (s.name, *(v for _, v in sorted(s.labels.items()))): s.value for s in samples
    }


@pytest.fixture
def scraped(run_config) -> tuple[Path, Found]:
    """A run of three rounds that loses a reply, fetched at its last message."""
    port, seen, lost = free_port(), [], []

    def tamper(reply):
        if reply.metadata.message_type == "query":  # there is no run folder yet
            return reply
        seen.append(fetch(port))
        if not lost and reply.metadata.message_type == "train":
            lost.append(reply)
            return None
        return reply

    more = {"metrics-port": port, "num-server-rounds": 3, "rank-eval-every": 1}
    folder, _, _ = run(run_config | more, tamper=tamper)
    with pytest.raises(urllib.error.URLError):
        fetch(port)  # it ends with the run
    return folder, seen[-1]


def test_a_scrape_of_a_run_has_what_its_files_have(scraped):
    folder, found = scraped
    table = metrics(folder, times=True).iloc[:-1]  # fetched before the last row
    last = table.iloc[-1]
    assert (found["ilora_round",], found["ilora_rounds",]) == (2, 3)
    assert found["ilora_members",] == len(read_events(folder, "member")) == 3
    used = found["ilora_replies_total", "used", "train"]
    assert used == table["clients"].sum() == 5
    left_out = read_events(folder, "reply-left-out")
    assert found["ilora_replies_total", "left_out", "train"] == len(left_out) == 1
    for column in ("accuracy", "loss", "drift", "accuracy_r8", "client_accuracy_worst"):
        assert found["ilora_measure", column] == pytest.approx(last[column]), column
    for way in ("down", "up"):
        bytes_ = table[f"bytes_{way}"].sum()
        assert found["ilora_bytes_total", way, "train"] == bytes_ > 0
    for phase in ("train", "aggregate", "evaluate"):
        seconds = table[f"seconds_{phase}"].sum()
        assert found["ilora_phase_seconds_total", phase] == pytest.approx(seconds)
    nodes = {str(event["node_id"]) for event in read_events(folder, "member")}
    labels = {one for name, *more in found if name != "ilora_run_info" for one in more}
    assert len(nodes) == 3
    assert not nodes & labels


def test_the_dashboard_shows_what_is_there(scraped):
    _, found = scraped
    names, columns = {name for name, *_ in found}, {label[-1] for label in found}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(asked) > len(panels) > 10
    for expression in asked:
        used = set(re.findall(r"\bilora_\w+", expression))
        assert used, expression
        assert used <= names, expression
        for wanted in re.findall(r'column=~"([^"]+)"', expression):
            for one in wanted.split("|"):
                assert any(re.fullmatch(one, column) for column in columns), one
    shown = set(re.findall(r"\bilora_\w+", " ".join(asked)))
    assert names - shown <= {"ilora_round"}, "exported, and on no panel"


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


def test_a_port_in_use_is_a_warning_and_the_run_goes_on(
    run_config, monkeypatch, caplog
):
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        folder, _, _ = run(run_config | {"metrics-port": port, "num-server-rounds": 1})
    assert read_events(folder, "finished")
    [warning] = [r.message for r in caplog.records if "metrics-port" in r.message]
    assert f"metrics-port = {port}: expected a free port of 127.0.0.1" in warning


def test_wrong_ports_and_hosts_are_mistakes_before_round_1(run_config):
    wrong = {"metrics-port": 65536, "metrics-host": "http://me", "text-columns": "no"}
    with pytest.raises(ConfigError) as caught:
        preflight.prepare(run_config | wrong)
    first, second, third = caught.value.problems
    assert first.startswith("metrics-port = 65536: expected between 0 and 65535")
    assert second.startswith("metrics-host = 'http://me': expected an address of this")
    assert third.startswith("text-columns")
