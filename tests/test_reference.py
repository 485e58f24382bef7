"""The documented table is the one that the settings give."""

from pathlib import Path

from ilora_app import config, reference

SETTINGS = Path(__file__).parent.parent / "docs" / "settings.md"


def test_the_readme_table_is_current():
    text = SETTINGS.read_text(encoding="utf-8")
    assert reference.updated(text) == text, (
        "run python -m ilora_app.reference docs/settings.md"
    )


def test_the_table_has_every_key():
    table = reference.table()
    assert all(f"| `{key}` |" in table for _, key, _ in config.options())
