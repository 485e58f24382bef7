"""All that a strategy carries from round to round, as tensors and plain values.

What goes into a checkpoint and comes out of it: the global model with its ledger, the
drift correction, the members in their order, and what each of them holds. Node ids are
random in every run, so members go by their place in that order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ilora_app.corrections.control_variates import TOTAL
from ilora_app.lora.factors import AdapterState, LoraFactors, Pair
from ilora_app.lora.ledger import Increment, Ledger
from ilora_app.strategies.federation import Federation, Member
from ilora_app.strategies.holdings import Holdings
from ilora_app.strategies.state import GlobalState

if TYPE_CHECKING:
    from ilora_app.strategies.base import LoraStrategy

_ADAPTER, _TAKEN_OUT, _CONTROL = "adapter/", "taken-out/", "control/"
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


def take(strategy: LoraStrategy) -> Snapshot:
    """Read all that a strategy carries."""
    state = strategy.started()
    members = [member for member in strategy.federation.members if member.identity]
    names = {member.node_id: str(i) for i, member in enumerate(members)}
    tensors = _under(_ADAPTER, state.adapter.named_tensors())
    facts: dict[str, Any] = {
        "step": state.step,
        "members": [vars(member) for member in members],
        "largest-rank": strategy.federation.largest_rank,
        "holdings": strategy.holdings.facts(names),
    }
    if state.taken_out is not None:
        tensors |= _flat(_TAKEN_OUT, state.taken_out.pairs)
    if state.ledger is not None:
        facts["ledger"] = state.ledger.version
        tensors |= _flat(_TOTAL, state.ledger.total)
        for version, increment in enumerate(state.ledger.increments):
            tensors |= _flat(_INCREMENT.format(version), increment)
    if strategy.drift_correction:
        control, facts["taken"] = strategy.drift_correction.saved(names)
        for name, part in control.items():
            tensors |= _under(f"{_CONTROL}{name}/", part)
    return Snapshot(tensors, facts)


def expect_members(federation: Federation, snapshot: Snapshot) -> None:
    """Tell a federation that has met nobody yet who belongs to it."""
    federation.largest_rank = snapshot.facts["largest-rank"]
    federation.expect(Member(**facts) for facts in snapshot.facts["members"])


def put_back(strategy: LoraStrategy, snapshot: Snapshot) -> GlobalState:
    """Give a strategy what :func:`take` read, and return its global model.

    Its federation has been told by :func:`expect_members`, and may have met some since.
    """
    tensors, facts = snapshot.tensors, snapshot.facts
    nodes = {str(i): -1 - i for i in range(len(facts["members"]))}
    strategy.holdings = Holdings.of(facts["holdings"], nodes)
    if strategy.drift_correction:
        parts = {n: _within(f"{_CONTROL}{n}/", tensors) for n in (TOTAL, *nodes)}
        strategy.drift_correction.load(parts, facts["taken"], nodes)
    ledger = None
    if "ledger" in facts:
        versions = range(facts["ledger"])
        increments = tuple(_pairs(_INCREMENT.format(v), tensors) for v in versions)
        ledger = Ledger(increments, _pairs(_TOTAL, tensors))
    taken_out = _pairs(_TAKEN_OUT, tensors)
    return GlobalState(
        AdapterState.from_named_tensors(_within(_ADAPTER, tensors)),
        LoraFactors(taken_out) if taken_out else None,
        ledger,
        facts["step"],
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
