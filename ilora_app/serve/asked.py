"""What a request asks for, checked before the model sees it."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ilora_app.predict.inputs import Row
from ilora_app.settings.kinds import LANGUAGE, kind

_KEYS = ("inputs", "top", "max_new_tokens")
_FORMATS = {"image": "png", "audio": "wav"}


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
        inputs: rows.
        characters: of a text.
        megabytes: of the body.
        new_tokens: that a language model writes for a row.

    """

    inputs: int = 64
    characters: int = 20_000
    megabytes: float = 8.0
    new_tokens: int = 512


class AskedError(ValueError):
    """A request that is not as it should be: what, with which value, what is right."""


@dataclass(frozen=True)
class Asked:
    """A request: rows with all columns, how many classes, how many new tokens."""

    rows: list[Row]
    top: int
    new_tokens: int


def read(body: bytes, task: str, columns: Sequence[str], limits: Limits) -> Asked:
    """Read the body of a request.

    Args:
        body: JSON, {"inputs": [...], "top": 3, "max_new_tokens": 64}; an input is a
            text, or an object or a list with all columns. An image or a
            recording is a data URL: a path would be one of this machine.
        task: of the model.
        columns: of its rows.
        limits: of one request.

    Raises:
        AskedError: it is anything else, in a sentence.

    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AskedError(f"the body is no JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("inputs"), list):
        raise AskedError('expected an object such as {"inputs": ["a text"]}')
    unknown = sorted(str(key) for key in found if key not in _KEYS)
    if unknown:
        named = ", ".join(unknown).encode(errors="backslashreplace").decode()
        raise AskedError(f"unknown: {named:.200}; expected {', '.join(_KEYS)}")
    inputs = found["inputs"]
    if not 1 <= len(inputs) <= limits.inputs:
        raise AskedError(f"{len(inputs)} inputs: expected 1 to {limits.inputs}")
    rows = [
        _row(number, given, task, columns, limits)
        for number, given in enumerate(inputs, 1)
    ]
    top = _whole(found, "top", 3, 10_000)
    most = limits.new_tokens if task == LANGUAGE else 10**6
    return Asked(rows, top, _whole(found, "max_new_tokens", min(64, most), most))


def _row(
    number: int, given: Any, task: str, columns: Sequence[str], limits: Limits
) -> Row:
    values = given
    if isinstance(given, str):
        values = [given]
    if isinstance(values, list):
        if len(values) != len(columns):
            right = f"{len(columns)} ({', '.join(columns)})"
            raise AskedError(f"input {number}: {len(values)} given, expected {right}")
        values = dict(zip(columns, values, strict=True))
    if not isinstance(values, dict) or set(values) != set(columns):
        right = f"a text, or an object with {', '.join(columns)}"
        raise AskedError(f"input {number}: expected {right}")
    for name in columns:
        if not isinstance(values[name], str):
            given_as = type(values[name]).__name__
            raise AskedError(f"input {number}: {name} is {given_as}, expected text")
        if any("\ud800" <= letter <= "\udfff" for letter in values[name]):
            raise AskedError(f"input {number}: {name} holds half a character")
        if name == columns[0] and (file := kind(task).file):
            _check_file(number, values[name], file)
        elif len(values[name]) > limits.characters:
            raise AskedError(
                f"input {number}: {name} has {len(values[name])} characters, expected "
                f"{limits.characters} at most"
            )
    return {name: values[name] for name in columns}


def _check_file(number: int, given: str, file: str) -> None:
    what = {"image": "an image", "audio": "a recording"}[file]
    begin = f"data:{file}/"
    right = f"input {number}: expected {what} as {begin}{_FORMATS[file]};base64,..."
    if not given.startswith(begin):
        raise AskedError(right)
    try:
        base64.b64decode(given.partition(",")[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise AskedError(f"{right} ({error})") from None


def _whole(found: dict[str, Any], name: str, default: int, most: int) -> int:
    value = found.get(name, default)
    if type(value) is not int or not 1 <= value <= most:
        raise AskedError(f"{name} = {value!r:.50}: expected a number from 1 to {most}")
    return value
