"""Copies of a folder in which one thing or several are not what they were."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from ilora_app.runs import store
from tests.fuzz.damage import Damage, damage, damages

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        [
            None, True, 0, -1, 1, 2, 10**30, 10**400, 1e308, float("nan"), float("inf"),
            "", "x", "1", "\0", "../../x", "\ud800", "<b>\x1b[2J", "a" * 3000, "round",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One change of a folder: of which file, and how."""

    file: str
    how: str
    bytes: list[Damage] = field(default_factory=list)
    path: list[int] = field(default_factory=list)
    value: Any = None
    other: str = ""


def changes(files: Sequence[str]) -> st.SearchStrategy[list[Change]]:
    """One change or two of these files."""
    file = st.sampled_from(files)
    path = st.lists(st.integers(0, 40), min_size=1, max_size=4)
    plain = ["absent", "folder", "link", "link to itself", "link to nothing", "other"]
    one = st.one_of(
        st.builds(Change, file, st.just("bytes"), damages()),
        st.builds(Change, file, st.just("value"), path=path, value=VALUES),
        st.builds(Change, file, st.sampled_from(plain), other=file),
    )
    return st.lists(one, min_size=1, max_size=2)


def files_of(folder: Path) -> list[str]:
    """Names of all files in a folder, in a fixed order."""
    found = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    return sorted(found)


def changed(whole: Path, place: Path, made: list[Change]) -> Path:
    """Copy a folder and change it; ``place/outside`` is what links lead to."""
    outside = place / "outside"
    outside.mkdir(parents=True)
    folder = place / "run"
    shutil.copytree(whole, folder, copy_function=_copied)
    for number, one in enumerate(made):
        file = folder / one.file
        data = file.read_bytes() if file.is_file() else b""
        if one.how == "other":
            other = whole / one.other
            data = other.read_bytes() if other.is_file() else b""
        elif one.how == "bytes":
            data = damage(data, one.bytes)
        elif one.how == "value":
            data = _with_value(data, one)
        _gone(file)
        if not file.parent.is_dir() or one.how == "absent":
            continue
        if one.how == "folder":
            file.mkdir()
        elif one.how == "link to itself":
            file.symlink_to(file.name)
        elif one.how.startswith("link"):
            target = outside / f"{number}-{file.name}"
            if one.how == "link":
                target.write_bytes(data)
            file.symlink_to(target)
        else:
            file.write_bytes(data)
    return folder


def seen(folder: Path) -> dict[str, bytes]:
    """All files in a folder with what is in them."""
    return {name: (folder / name).read_bytes() for name in files_of(folder)}


def _copied(source: str, target: str) -> None:
    """A second name for what is large and never written; a copy of all else."""
    if os.path.getsize(source) > 50_000:  # noqa: PTH202
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _gone(file: Path) -> None:
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)


def _with_value(data: bytes, one: Change) -> bytes:
    """Put a value into JSON, or into one line of it; else in the place of a word."""
    text = data.decode("utf-8", "replace")
    try:
        if one.file.endswith(".jsonl"):
            lines = text.splitlines()
            place = one.path[0] % len(lines)
            tree = _put(json.loads(lines[place]), one.path[1:], one.value)
            lines[place] = json.dumps(tree)
            return "\n".join(lines).encode() + b"\n"
        if one.file.endswith(".json"):
            tree = _put(json.loads(text), one.path, one.value)
            if isinstance(tree, dict) and "digest" in tree:  # as if it were the app's
                del tree["digest"]
                tree["digest"] = store._digest(tree)
            return json.dumps(tree).encode()
    except (ValueError, ZeroDivisionError):
        return data
    separators = "," if one.file.endswith(".csv") else "="
    cells = text.split(separators)
    cells[one.path[0] % len(cells)] = json.dumps(one.value)
    return separators.join(cells).encode()


def _put(tree: Any, path: Sequence[int], value: Any) -> Any:
    if not path or not isinstance(tree, dict | list) or not tree:
        return value
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    key = keys[path[0] % len(tree)]
    tree[key] = _put(tree[key], path[1:], value)
    return tree
