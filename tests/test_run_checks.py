"""What ``ilora run`` says of data before it starts."""

from ilora_app.cli import run_checks
from ilora_app.settings import parsing
from ilora_app.tasks import data, sources


def test_notes_are_of_the_columns_that_the_run_reads(tmp_path):
    file = tmp_path / "rows.csv"
    lines = [f"w {i},{i % 4 / 8},{'ab'[i % 2]}\n" for i in range(40)]
    lines += [f"w {i},,a\n" for i in range(5)]
    file.write_text("text,score,category\n" + "".join(lines))
    asked = {"task": "regression", "dataset": str(file), "drop-unlabelled": True}
    settings = parsing.load(asked)
    wrong, notes = run_checks.data(settings, set())
    assert wrong == []
    assert "a like part of every class of score" in notes[0]
    assert "5 of 45 rows" in notes[1]
    read = data.resolve_columns(settings.data, "regression", 0)
    assert notes == sources.notes(read, 0)
