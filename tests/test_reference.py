"""The README's table is the one that the settings give."""

from pathlib import Path

from ilora_app import config, reference

README = Path(__file__).parent.parent / "README.md"


def test_the_readme_table_is_current():
    text = README.read_text(encoding="utf-8")
    assert reference.updated(text) == text, (
        "run python -m ilora_app.reference README.md"
    )


def test_the_table_has_every_key():
    table = reference.table()
    assert all(f"| `{key}` |" in table for _, key, _ in config.options())
