"""The documented table is the one that the settings give."""

import tomllib
from pathlib import Path

from ilora_app.settings import Settings, parsing, reference

SETTINGS = Path(__file__).parent.parent / "docs" / "settings.md"


def test_the_readme_table_is_current():
    text = SETTINGS.read_text(encoding="utf-8")
    assert reference.updated(text) == text, (
        "run python -m ilora_app.reference docs/settings.md"
    )


def test_the_table_has_every_key():
    table = reference.table()
    assert all(f"| `{key}` |" in table for _, key, _ in parsing.options())


def test_defaults_are_written_as_a_run_config_takes_them():
    defaults = parsing.dump(Settings())
    for line in reference.table().splitlines():
        if line.startswith("| `"):
            key, value = (cell.strip(" `") for cell in line.split("|")[1:3])
            assert tomllib.loads(f"{key} = {value}") == {key: defaults[key]}
