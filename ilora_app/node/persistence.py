"""What a node keeps of a run on its own disk, so that a resumed run finds it.

``context.state`` lasts for one ``flwr run``. What a client keeps in it (its control
variate, factors that never leave it, its base) is private to it, so the server's
checkpoint cannot hold it. The node writes it after every training message to

    <state folder>/<run key>/<identity>/round-<n>/

and restores it where its ``context.state`` is new: the state of the last round
that the server has finished, or of the last one before in which this node trained. A
round that the server has not finished leaves no trace. The state folder is
``state-path`` of the node config, else ``$ILORA_STATE``, else ``~/.ilora/nodes``.
"""

import contextlib
import hashlib
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from logging import WARNING
from pathlib import Path

from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MessageType,
    RecordDict,
)
from flwr.supercore import log

from ilora_app import wire
from ilora_app.runs import store
from ilora_app.runs.places import RUN_KEY as _KEY
from ilora_app.runs.places import node_states
from ilora_app.settings import options
from ilora_app.settings.mistake import MistakeError

STATE_PATH = "state-path"
_PREFIX = "round-"
_FORGET_DAYS = 30
ACCOUNT = "account.json"
_MARK = "kept-by-node"

SECRET = "secret-"
"""How the names of records begin that are written to no disk: keys of a round."""


def identity(node_config: Mapping[str, object]) -> str:
    """Name a node by what stays the same when it is started again.

    That is its partition, or a number that it draws once for its data and keeps in its
    state folder; empty where that folder cannot be written. Nothing of a path is in it.

    Raises:
        MistakeError: the state folder is not absolute.

    """
    own = node_config.get(wire.DATA_PATH)
    if own:
        number = _number(folder(node_config) / _data(own))
        return f"data-{number}" if number else ""
    partition, of = (node_config.get(k) for k in (wire.PARTITION, wire.PARTITIONS))
    return f"partition-{partition}-of-{of}"


def folder(node_config: Mapping[str, object]) -> Path:
    """The state folder of a node.

    Raises:
        MistakeError: it is not absolute.

    """
    given = node_config.get(STATE_PATH) or node_states()
    found = options.folder(str(given))
    if not found.is_absolute():
        key, right = f"--node-config {STATE_PATH}", "an absolute folder, or one under ~"
        told = f"{key}: expected {right}"
        raise MistakeError(f"{key} = {str(given)!r}: expected {right}", told)
    return found


def restore(message: Message, context: Context) -> int:
    """Restore what this node has kept of the run, once in a ``context.state``.

    Returns:
        The round whose state it is; 0 where there is none, or where the server does
        not ask for any to be kept.

    Raises:
        WireError: the name of the run is wrong.
        MistakeError: that of the state folder is.

    """
    asked = message.content.config_records.get(wire.CONFIG)
    if asked is None or wire.RUN_KEY not in asked:
        return 0
    state = context.state
    key = str(asked[wire.RUN_KEY])
    if _MARK not in state:
        # In a training message the round is the one that has begun.
        training = message.metadata.message_type == MessageType.TRAIN
        finished = int(asked[wire.ROUND]) - training  # type: ignore[arg-type]
        found = _read_state(place_of(context, key), state, finished)
        state[_MARK] = ConfigRecord({wire.STATE_ROUND: found, wire.RUN_KEY: key})
    return int(state.config_records[_MARK][wire.STATE_ROUND])  # type: ignore[arg-type]


def keep(message: Message, context: Context, count: int) -> None:
    """Write this node's state after it has trained; a failure is logged, no more.

    Args:
        message: the training message.
        context: of this node.
        count: of the newest rounds that stay.

    """
    asked = message.content.config_records[wire.CONFIG]
    if wire.RUN_KEY not in asked:
        return
    key, number = str(asked[wire.RUN_KEY]), int(asked[wire.ROUND])  # type: ignore[arg-type]
    context.state[_MARK] = ConfigRecord({wire.STATE_ROUND: number, wire.RUN_KEY: key})
    packets, configs = {}, {}
    written = {n: r for n, r in context.state.items() if not n.startswith(SECRET)}
    for name, record in written.items():
        if isinstance(record, ArrayRecord):
            packets[name] = wire.bytes_of(record)
        elif isinstance(record, ConfigRecord):
            configs[name] = dict(record)
    facts = {"records": list(written), "configs": configs, "packets": list(packets)}
    kept = place_of(context, key)
    try:
        make(kept)
        store.write(kept / f"{_PREFIX}{number}", packets, facts)
        store.keep_newest(kept, _PREFIX, count)
    except OSError as error:
        log(WARNING, "the node's state of round %d is not kept: %s", number, error)


def place(message: Message, context: Context) -> Path | None:
    """Where this node keeps what it has of the run; None where none is to be kept.

    Raises:
        WireError: the name of the run is wrong.
        MistakeError: that of the state folder is.

    """
    asked = message.content.config_records[wire.CONFIG]
    key = asked.get(wire.RUN_KEY)
    return place_of(context, str(key)) if key is not None else None


def _number(file: Path) -> str:
    """Read a node's own number, drawn the first time; none where it cannot be kept."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), file.open("x") as new:
            new.write(secrets.token_hex(8))
        found = file.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        log(WARNING, "this node cannot keep a number of its own: %s", error)
        return ""
    return found if _KEY.fullmatch(found) else ""


def _data(path: object) -> str:
    return f"data-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def run_key(context: Context) -> str:
    """Name of the run whose state this node keeps; empty where it keeps none."""
    mark = context.state.config_records.get(_MARK) or ConfigRecord()
    return str(mark.get(wire.RUN_KEY, ""))


def make(place: Path) -> None:
    """Make the place of a run; those that nobody has gone on with are removed.

    Raises:
        OSError: it cannot be made.

    """
    if not place.exists():
        _forget(place.parent.parent)
        # What is private to a node is not for the other users of its machine.
        place.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(parents=True, exist_ok=True)


def place_of(context: Context, key: str) -> Path:
    """Where this node keeps its state of a run.

    Raises:
        WireError: the name of the run is wrong.
        MistakeError: that of the state folder is.

    """
    if not _KEY.fullmatch(key):
        raise wire.WireError(f"{wire.RUN_KEY}: expected 16 hexadecimal digits")
    own, name = context.node_config.get(wire.DATA_PATH), identity(context.node_config)
    name = f"{_data(own)}-{name.removeprefix('data-') or 0}" if own else name
    return folder(context.node_config) / key / re.sub(r"[^\w-]", "_", name)


def _read_state(kept: Path, state: RecordDict, finished_round: int) -> int:
    """Read the state of a round, or the last one before, into ``context.state``.

    Later ones are removed: the server has not finished their rounds.
    """
    for number, path in store.numbered(kept, _PREFIX).items():
        if number > finished_round:
            shutil.rmtree(path, ignore_errors=True)
            continue
        try:
            tensors, facts = store.read(path)
        except store.TornError as error:
            log(WARNING, "this node starts anew: %s", error)
            return 0
        for name in facts["records"]:
            if name in facts["configs"]:
                state[name] = ConfigRecord(facts["configs"][name])
                continue
            if name in facts.get("packets", ()):
                state[name] = wire.from_bytes(tensors[name])
                continue
            arrays = {  # as they were written before
                array.removeprefix(f"{name}:"): value
                for array, value in tensors.items()
                if array.startswith(f"{name}:")
            }
            state[name] = wire.encode_tensors(arrays)
        return number
    return 0


def _forget(root: Path) -> None:
    """Remove what was kept of runs left for a month, but for what a node has spent."""
    oldest = time.time() - 24 * 3600 * _FORGET_DAYS
    for run in root.glob("*"):
        if not _KEY.fullmatch(run.name):
            continue
        times = [part.stat().st_mtime for part in (run, *run.glob("*"))]
        if max(times) < oldest:
            spent = list(run.glob(f"*/{ACCOUNT}"))
            for part in run.glob("*/*") if spent else [run]:
                if part not in spent:
                    shutil.rmtree(part, ignore_errors=True)
