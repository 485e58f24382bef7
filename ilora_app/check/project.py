"""A project folder: a run config with a comment to every key, and a README."""

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path

from ilora_app.settings import Settings, parsing
from ilora_app.settings.kinds import example, kind

CONFIG, README = "config.toml", "README.md"

# The keys that a first run is about, by title.
_SECTIONS = (
    ("What is learned, with which model", ("task", "model")),
    (
        "From which data",
        (
            "dataset", "text-columns", "label-column", "image-column", "audio-column",
            "answer-column", "train-split", "test-split", "test-fraction",
            "drop-unlabelled", "max-length", "max-seconds",
        ),
    ),
    (
        "Who gets what: clients, their ranks, their rows",
        (
            "client-ranks", "partitioner", "dirichlet-alpha", "min-partition-size",
            "holdout-fraction",
        ),
    ),
    (
        "How it is trained",
        (
            "strategy", "num-server-rounds", "local-steps", "batch-size",
            "learning-rate", "seed",
        ),
    ),
)  # fmt: skip
_COMMENT = textwrap.TextWrapper(
    86, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
)


def write(
    folder: Path, settings: Settings, clients: int, lines: Mapping[str, str]
) -> None:
    """Write the files of a project.

    Args:
        folder: new, or empty.
        settings: of the run.
        clients: that are simulated.
        lines: more comments by key.

    Raises:
        OSError: it cannot be written.

    """
    folder.mkdir(parents=True, exist_ok=True)
    config = config_text(settings, clients, lines)
    (folder / CONFIG).write_text(config, encoding="utf-8")
    text = _README.format(
        name=folder.resolve().name,
        config=CONFIG,
        input=example(settings.model.task),
    )
    (folder / README).write_text(text, encoding="utf-8")


def config_text(settings: Settings, clients: int, lines: Mapping[str, str]) -> str:
    """Write the run config: the keys of a first run, each under its help."""
    values = parsing.dump(settings)
    helps = {key: entry.metadata for _, key, entry in parsing.options(settings)}
    unused = _unused(settings.model.task)
    # The number in the first line is what `ilora run` and `ilora check` read.
    written = [
        f"# ilora run {CONFIG}   (num-supernodes={clients}: so many simulated clients)",
        "# A line that begins with # is a comment; what is not here has its default.",
    ]
    for title, keys in _SECTIONS:
        written += ["", f"# --- {title}"]
        for key in keys:
            if key in unused:
                continue
            choices = helps[key]["choices"]
            more = f" One of {', '.join(choices)}." if choices else ""
            found = f" {lines[key]}" if key in lines else ""
            comment = " ".join((helps[key]["help"] + more + found).split())
            # TOML and JSON write texts, numbers, true and false alike.
            line = f"{key} = {json.dumps(values[key], ensure_ascii=False)}"
            written += ["", *_COMMENT.wrap(comment), line]
    return "\n".join(written) + "\n"


def _unused(task: str) -> set[str]:
    """Keys of a first run that a task has no use for."""
    reads, found = kind(task), {"answer-column"}
    if reads.writes:
        found = {"label-column", "dirichlet-alpha", "drop-unlabelled"}
    if not reads.tokens:
        found |= {"text-columns", "max-length"}
    if reads.file != "image":
        found.add("image-column")
    if reads.file != "audio":
        found |= {"audio-column", "max-seconds"}
    return found


_README = """# {name}

```bash
ilora check {config}             # what the data holds and is worth, and what to set
ilora run {config}               # the federation, in simulation
ilora predict latest {input}   # the model of the newest run
```

`{config}` has a comment to every key. `ilora run {config} --set local-steps=20` tries
another value without changing the file. Files and folders in it are relative to it.
What a run leaves is in the folder that it names at its end; `ilora runs list` has all.
"""
