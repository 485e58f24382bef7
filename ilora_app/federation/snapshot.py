"""All that a strategy carries from round to round, as tensors and plain values.

What goes into a checkpoint and comes out of it: the global model with its ledger, the
drift correction, the members, and what each of them holds. Facts of a member go by its
node id as a name, which no other member changes: so what has changed since the last
checkpoint is what its round has changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ilora_app.corrections import Correction
from ilora_app.federation.client_versions import ClientVersions
from ilora_app.federation.deadlines import Deadlines
from ilora_app.federation.global_model import GlobalModel
from ilora_app.federation.member import Member
from ilora_app.federation.membership import Membership
from ilora_app.lora.factors import AdapterState, LoraFactors, Pair
from ilora_app.lora.ledger import Increment, Ledger
from ilora_app.methods.state import GlobalState

_ADAPTER, _OFFSET, _CONTROL, _BUFFERS = "adapter/", "offset/", "control/", "buffers/"
_TOTAL, _INCREMENT = "ledger/total/", "ledger/{}/"
_LEFT, _RIGHT = "/left", "/right"


@dataclass(frozen=True)
class Snapshot:
    """What a strategy carries after a round.

    Attributes:
        tensors: by name, in a fixed order.
        facts: what JSON can hold.

    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def take(
    model: GlobalModel,
    membership: Membership,
    correction: Correction | None,
    deadlines: Deadlines | None = None,
) -> Snapshot:
    """Read all that a strategy carries."""
    state = model.state
    members = [member for member in membership.members if member.identity]
    names = {member.node_id: str(member.node_id) for member in members}
    tensors = _under(_ADAPTER, state.adapter.named_tensors())
    tensors |= _under(_BUFFERS, state.buffers)
    facts: dict[str, Any] = {
        "step": state.step,
        "head-solved": model.head_solved,
        "members": {names[member.node_id]: vars(member) for member in members},
        "largest-rank": membership.largest_rank,
        "client-versions": model.versions.facts(names),
        "standing": membership.standing.saved(names),
    }
    if state.offset is not None:
        tensors |= _flat(_OFFSET, state.offset.pairs)
    if state.ledger is not None:
        facts["ledger"] = state.ledger.version
        tensors |= _flat(_TOTAL, state.ledger.total)
        for version, increment in enumerate(state.ledger.increments):
            tensors |= _flat(_INCREMENT.format(version), increment)
    if deadlines:
        facts["deadlines"] = deadlines.saved(names)
    if correction:
        control, facts["taken"] = correction.saved(names)
        for name, part in control.items():
            tensors |= _under(f"{_CONTROL}{name}/", part)
    return Snapshot(tensors, facts)


def expect_members(membership: Membership, snapshot: Snapshot) -> None:
    """Tell a membership that has met nobody yet who belongs to it."""
    membership.limit_rank(snapshot.facts["largest-rank"])
    membership.expect(member for _, member in _members(snapshot))
    if "standing" in snapshot.facts:  # not in those of before it was counted
        membership.standing.load(snapshot.facts["standing"], _nodes(snapshot))


def put_back(
    snapshot: Snapshot,
    model: GlobalModel,
    correction: Correction | None,
    deadlines: Deadlines | None = None,
) -> None:
    """Give a model and a drift correction what they carried.

    Under the node ids that :func:`expect_members` gave its members.
    """
    nodes = _nodes(snapshot)
    versions = ClientVersions.of(snapshot.facts["client-versions"], nodes)
    # Those of before it was noted had a head that was solved, or none to solve.
    model.resume(_state(snapshot), versions, snapshot.facts.get("head-solved", True))
    if deadlines:
        deadlines.load(snapshot.facts["deadlines"], nodes)
    if correction:
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in _within(_CONTROL, snapshot.tensors).items():
            part, _, tensor = name.partition("/")
            parts.setdefault(part, {})[tensor] = value
        correction.begin(model.state.adapter)
        correction.load(parts, snapshot.facts["taken"], nodes)


def _nodes(snapshot: Snapshot) -> dict[str, int]:
    """Node ids that a membership gives to members it expects, by their names."""
    return {name: -1 - i for i, (name, _) in enumerate(_members(snapshot))}


def _members(snapshot: Snapshot) -> list[tuple[str, Member]]:
    """Members with the names under which facts of them go, in their order."""
    named = snapshot.facts["members"]
    if isinstance(named, list):  # of before they were named by their node ids
        named = {str(i): facts for i, facts in enumerate(named)}
    found = [(name, Member(**facts)) for name, facts in named.items()]
    return sorted(found, key=lambda pair: pair[1].order)


def _state(snapshot: Snapshot) -> GlobalState:
    """The global model."""
    tensors, facts = snapshot.tensors, snapshot.facts
    ledger = None
    if "ledger" in facts:
        versions = range(facts["ledger"])
        increments = tuple(_pairs(_INCREMENT.format(v), tensors) for v in versions)
        ledger = Ledger(increments, _pairs(_TOTAL, tensors))
    offset = _pairs(_OFFSET, tensors)
    return GlobalState(
        AdapterState.from_named_tensors(_within(_ADAPTER, tensors)),
        LoraFactors(offset) if offset else None,
        ledger,
        facts["step"],
        _within(_BUFFERS, tensors),
    )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def _within(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _flat(prefix: str, pairs: Increment) -> dict[str, Tensor]:
    found = {}
    for module, (L, R) in pairs.items():
        found[prefix + module + _LEFT], found[prefix + module + _RIGHT] = L, R
    return found


def _pairs(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Pair]:
    flat = _within(prefix, tensors)
    modules = [n.removesuffix(_LEFT) for n in flat if n.endswith(_LEFT)]
    return {m: (flat[m + _LEFT], flat[m + _RIGHT]) for m in modules}
