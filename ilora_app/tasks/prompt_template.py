"""What is wrong with a prompt template, before anything is written by it."""

from collections.abc import Sequence
from string import Formatter

from ilora_app.settings import DataSettings


def problems(settings: DataSettings, have: Sequence[str]) -> list[str]:
    """Check that a prompt template names columns, and formats them as texts."""
    try:
        fields = [name for _, name, _, _ in Formatter().parse(settings.prompt_template)]
    except ValueError as error:
        return [f"prompt-template = {settings.prompt_template!r}: {error}"]
    named = [name for name in fields if name is not None]
    wrong = [name for name in named if name not in have]
    if wrong or (settings.prompt_template and not named):
        found = ", ".join("{" + name + "}" for name in wrong) or "no column at all"
        return [
            f"prompt-template = {settings.prompt_template!r}: it names {found}; "
            f"{settings.dataset} has the columns {', '.join(have)}"
        ]
    try:
        settings.prompt_template.format_map(dict.fromkeys(have, "text"))
    except (ValueError, LookupError) as error:
        return [
            f"prompt-template = {settings.prompt_template!r}: values are written as "
            f"text, and {error}; expected columns alone, such as {{{named[0]}}}"
        ]
    return []
