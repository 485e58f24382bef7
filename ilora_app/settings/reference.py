"""The table of run-config keys, made from the settings.

``python -m ilora_app.reference docs/settings.md`` writes it between its two markers.
"""

import sys
from pathlib import Path

from ilora_app.settings import Settings, parsing

BEGIN, END = "<!-- config table: begin -->", "<!-- config table: end -->"


def table() -> str:
    """One row a key: default, help, and the choices where there are any."""
    titles = {
        name: (type(group).__doc__ or "").rstrip(".")
        for name, group in vars(Settings()).items()
    }
    lines: list[str] = []
    current = ""
    for group, key, entry in parsing.options():
        if group != current:
            lines += [
                "",
                f"**{titles[group]}**",
                "",
                "| key | default | |",
                "|---|---|---|",
            ]
            current = group
        default = _written(entry.default)
        choices = entry.metadata["choices"]
        values = f" One of {', '.join(choices)}." if choices else ""
        lines.append(f"| `{key}` | `{default}` | {entry.metadata['help']}{values} |")
    return "\n".join(lines).strip()


def _written(value: object) -> str:
    """Write a default the way a run config is written: as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def updated(text: str) -> str:
    """Put the table into a text that has both markers."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main(file: str) -> None:
    """Rewrite the table in a file."""
    path = Path(file)
    path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
