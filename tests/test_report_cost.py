"""What a report says that a run has cost, round 0 and the solved head with it."""

from ilora_app.report import page as report
from ilora_app.report.cost import BYTES
from ilora_app.runs import traffic
from tests.page import Page
from tests.report_folder import write

ROWS = [
    {
        "round": 0, "accuracy": 0.1, "bytes_down_head": 3e6, "bytes_up_head": 5e6,
        "seconds_head": 120.0,
    },
    {
        "round": 1, "accuracy": 0.5, "bytes_down": 1e6, "bytes_up": 2e6,
        "bytes_down_evaluate": 4e6, "bytes_up_evaluate": 1e6,
        "bytes_down_secure": 7e6, "bytes_up_secure": 9e6, "bytes_up_head": 1e6,
    },
]  # fmt: skip


def test_all_that_was_sent_counts_whatever_for(tmp_path):
    page = Page(report.write(write(tmp_path, ROWS, [])).read_text())
    assert page.row("MB, solving the head, to the clients")[1:] == ["3.000", "3.000"]
    assert page.row("MB, solving the head, from the clients")[1] == "6.000"
    assert page.row("MB, secure aggregation, from the clients")[1] == "9.000"
    assert "33.0 MB sent" in " ".join(page.text.replace("MB sent", " MB sent").split())
    assert page.row("s, solving the head")[1:] == ["120.0", "120.00"]
    assert "2.0 minutes in rounds" in " ".join(
        page.text.replace("minutes in", " minutes in").split()
    )
    # Pointing at round 0, before any training.
    text = (tmp_path / "report.html").read_text()
    assert "solving the head, up, round 0: 5 MB" in text
    assert "secure aggregation, round 1: 16 MB" in text


def test_every_column_of_bytes_that_a_run_writes_is_counted_once():
    columns = [column for _, column in BYTES]
    assert len(columns) == len(set(columns)) == 8
    assert set(columns) == {c for way in ("down", "up") for c in traffic.columns(way)}
    assert traffic.sent(ROWS[1]) == (12e6, 13e6)
