"""Fetch the data sets of the small presets from their public sources.

    python examples/data/fetch.py DIR [sst2 qnli cifar10 cifar100 e2e_nlg dolly gsm8k]
    ILORA_SHARED=DIR ilora run e2e-tiny

Writes DIR/NAME/train.parquet and test.parquet, with the columns that the presets name.
Where a source has no test split with labels, or more rows than a laptop needs, rows are
drawn with a seed: another draw than that of the published table, so that accuracies
differ from it by what other rows do. Licences are those of the sources.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetsError

SEED = 0
_E2E = "https://raw.githubusercontent.com/tuetschek/e2e-dataset/master"


@dataclass(frozen=True)
class Source:
    """Where a data set is, and what is kept of it.

    Attributes:
        arguments: of ``datasets.load_dataset``.
        splits: train and test; one alone is cut in two.
        columns: that are kept, by their new names.
        rows: to draw of train and of test; 0: all.
        licence: as its source says.

    """

    arguments: Mapping[str, Any]
    splits: tuple[str, ...]
    columns: Mapping[str, str]
    licence: str
    rows: tuple[int, int] = (0, 0)

    @property
    def place(self) -> str:
        """Where it is fetched from."""
        files = self.arguments.get("data_files")
        name = self.arguments["path"]
        return _E2E if files else f"https://huggingface.co/datasets/{name}"


def _hub(path: str, name: str | None = None) -> dict[str, Any]:
    return {"path": path, "name": name}


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


SOURCES = {
    "sst2": Source(
        _hub("nyu-mll/glue", "sst2"),
        ("train", "validation"),
        _same("sentence", "label"),
        "research",
    ),
    # Of GLUE's test split no labels are public, and its training split is large.
    "qnli": Source(
        _hub("nyu-mll/glue", "qnli"),
        ("validation",),
        _same("question", "sentence", "label"),
        "CC BY-SA 4.0",
        (0, 1000),
    ),
    "cifar10": Source(
        _hub("uoft-cs/cifar10"),
        ("train", "test"),
        _same("img", "label"),
        "none stated (Krizhevsky 2009)",
        (3000, 1000),
    ),
    "cifar100": Source(
        _hub("uoft-cs/cifar100"),
        ("train", "test"),
        {"img": "img", "fine_label": "label"},
        "none stated (Krizhevsky 2009)",
        (5000, 1500),
    ),
    "e2e_nlg": Source(
        {
            "path": "csv",
            "data_files": {
                "train": f"{_E2E}/devset.csv",
                "test": f"{_E2E}/testset_w_refs.csv",
            },
        },
        ("train", "test"),
        _same("mr", "ref"),
        "CC BY-SA 4.0",
    ),
    "dolly": Source(
        _hub("databricks/databricks-dolly-15k"),
        ("train",),
        _same("instruction", "context", "response", "category"),
        "CC BY-SA 3.0",
        (0, 500),
    ),
    "gsm8k": Source(
        _hub("openai/gsm8k", "main"),
        ("train", "test"),
        _same("question", "answer"),
        "MIT",
    ),
}


def drawn(rows: Dataset, number: int) -> Dataset:
    """So many rows at random; all of them where there are fewer, and for 0."""
    if not number or number >= len(rows):
        return rows
    return rows.shuffle(seed=SEED).select(range(number))


def prepared(source: Source, loaded: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """Cut, draw and name the columns of what was loaded.

    Raises:
        ValueError: the source has changed: a split or a column is missing.

    """
    if missing := [split for split in source.splits if split not in loaded]:
        raise ValueError(f"no split {', '.join(missing)} in {', '.join(loaded)}")
    parts = [loaded[split] for split in source.splits]
    if absent := [c for c in source.columns if c not in parts[0].column_names]:
        there = ", ".join(parts[0].column_names)
        raise ValueError(f"no column {', '.join(absent)} in {there}")
    if len(parts) == 1:
        cut = parts[0].train_test_split(test_size=source.rows[1], seed=SEED)
        parts = [cut["train"], cut["test"]]
    made = {}
    for name, part, number in zip(("train", "test"), parts, source.rows, strict=True):
        kept = drawn(part, number).select_columns(list(source.columns))
        for old, new in source.columns.items():
            kept = kept if old == new else kept.rename_column(old, new)
        made[name] = kept
    return made


def write(name: str, parts: Mapping[str, Dataset], out: Path) -> Path:
    """Write parts as parquet; the folder they are in."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in parts.items():
        rows.to_parquet(str(folder / f"{split}.parquet"))
    return folder


def fetch(names: Sequence[str], out: Path) -> None:
    """Load, prepare and write; the first that cannot be had ends the script.

    Raises:
        SystemExit: with a sentence that says which, and why.

    """
    for name in names:
        source = SOURCES[name]
        try:
            parts = prepared(source, load_dataset(**source.arguments))
        except (OSError, ValueError, DatasetsError) as error:
            raise SystemExit(
                f"{name} was not fetched: {error}\nIt comes from {source.place}, which"
                " this machine has to reach. Sets named above are written; the"
                " same command with the names of the others goes on."
            ) from error
        print(f"{write(name, parts, out)}: licence {source.licence}")


def main() -> None:
    """Read the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    known = ", ".join(SOURCES)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{known}; or all")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in SOURCES]:
        parser.error(f"no set {', '.join(unknown)}: expected {known}")
    fetch(asked.names or list(SOURCES), asked.out)


if __name__ == "__main__":
    main()
