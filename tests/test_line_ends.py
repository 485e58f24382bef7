"""A line of JSON ends at a line feed alone, whatever its texts hold."""

import json

import pytest

from ilora_app.export.places import ReleaseError
from ilora_app.predict import inputs
from ilora_app.report import reading as report
from ilora_app.runs import reading as runs

# Ends of lines to str.splitlines, which JSON may hold as they are.
TEXTS = [f"one{sign}two" for sign in ("\u2028", "\u2029", "\x85")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_of_rows_to_predict_from(tmp_path, end):
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS]
    file.write_bytes(end.join([*lines, "", ""]).encode())
    assert [row["text"] for row in inputs.of_file(file, ["text"])] == TEXTS
    file.write_bytes(end.join([*lines, "", "[1]"]).encode())
    with pytest.raises(ReleaseError, match="line 5: expected an object"):
        inputs.of_file(file, ["text"])


@pytest.mark.parametrize("read", [runs.events_of, report.read_events])
def test_of_events(tmp_path, read):
    events = [{"event": "failed", "reason": text} for text in TEXTS]
    lines = [json.dumps(event, ensure_ascii=False) for event in events]
    text = "\n".join([*lines, '{"event": "torn'])
    (tmp_path / "events.jsonl").write_text(text, encoding="utf-8")
    assert read(tmp_path) == events
