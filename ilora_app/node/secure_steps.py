"""A node's answers where what it sends is masked: ``federation.secure_session`` asks.

What the server is told of a refusal never has a number of this node in it.
"""

from typing import Any

import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.methods.state import MEANS
from ilora_app.node import noise_share, secure_keys, secure_sums, secure_views
from ilora_app.node.client_state import ClientState
from ilora_app.node.instructions import Instructions
from ilora_app.node.local_round import LocalRound
from ilora_app.node.node import Node
from ilora_app.node.noise_share import NoiseShare
from ilora_app.node.persistence import SECRET
from ilora_app.node.secure_state import load, save
from ilora_app.secure import (
    Advert,
    Participant,
    of_clients,
)

_LATER = SECRET + "factors-"
"""And which sums of products they are for: those of other kinds are not summed."""


def step(node: Node, message: Message, context: Context) -> RecordDict:
    """Answer a step of the protocol that asks for no new work of the model.

    Raises:
        WireError, SecureError, NodeError: the step is refused.

    """
    if not node.settings.privacy.secure_aggregation:
        raise wire.WireError("secure-aggregation is off in this run")
    facts, records = _facts(message), context.state
    stage, number = facts[wire.STAGE], int(facts.get(wire.PASS, 0))
    if stage == wire.KEYS:
        part = secure_keys.begin(node, facts, context)
        answer: dict[str, Any] = {wire.KEYS: part.advert.encoded()}
        save(records, part)
        return RecordDict({wire.SECURE: ConfigRecord(answer)})
    part = load(records, str(facts[wire.PURPOSE]), int(facts[wire.ROUND]))
    if stage == wire.FACTORS:
        by = wire.decode_tensors(message.content.array_records[wire.FACTORS])
        sketch = secure_sums.sketch_of(facts)
        nothing = wire.WireError(f"pass {number} sums no products")
        if not 0 < number < sketch.passes <= part.terms.joint:
            raise nothing
        _enter(part, number, message, records)
        kept = ClientState(records).tensors(_LATER + sketch.sums.kind)
        if kept is None:
            raise nothing
        share = _share(node, part, facts)
        if share:
            noise_share.check(number, by)
        sums = secure_sums.of_products(number, sketch, kept, by)
        if number + 1 == sketch.passes:
            records.pop(_LATER + sketch.sums.kind, None)
        return _masked(node, part, number, sums, records, share)
    if stage == wire.SHARES:
        adverts = [Advert.decoded(text, part.terms.passes) for text in facts[wire.KEYS]]
        letters = part.share(adverts, secure_keys.roster(context))
        least = int(context.node_config.get(wire.SECURE_LEAST, 0))
        if (stay := part.key_set.threshold) < least:
            raise wire.WireError(
                f"a sum over {stay} of {len(adverts)} nodes could be opened, and this "
                f"node's {wire.SECURE_LEAST} is {least}"
            )
        answer = {wire.LETTERS: wire.by_node(letters)}
    else:
        left = list(wire.from_by_node(facts[wire.LEFT]))
        if stage == wire.AGREE:
            answer = {wire.SIGNED: part.agree(number, left)}
        else:
            signed = wire.from_by_node(facts.get(wire.SIGNED))
            shares = part.reveal(number, left, signed)
            answer = {wire.SHARES: wire.by_node(shares)}
    save(records, part)
    return RecordDict({wire.SECURE: ConfigRecord(answer)})


def enter(local: LocalRound, message: Message, context: Context) -> None:
    """Open the letters that came with a message for training, before it begins.

    Raises:
        WireError: it trains at another rank, or from another model, than the others
            were told, or is asked for other sums than its strategy takes.
        SecureError: a letter is not what it must be.

    """
    part, facts = _entered(message, context)
    sketch, number = secure_sums.sketch_of(facts), int(facts[wire.PASS])
    own = local.node.method.sums_directions()
    if (sketch.sums.kind == MEANS) != own:
        raise wire.WireError("these are not the sums that its strategy takes")
    kind = part.terms.purpose, part.terms.passes, number
    if kind != ("train", sketch.passes + 1, 0):
        raise wire.WireError("this is not the session in which it trains")
    # A qr start has a gain by rank in round 1, and another factor in each.
    gains = local.node.settings.model.initialisation == "qr" and part.terms.round == 1
    secure_views.check(message, local.instructions, nested=not gains)
    if not _by_direction(local, message):
        return
    if local.instructions.rank != part.advert.rank:
        raise wire.WireError("it is to train at another rank than others were told")
    local.correction.most_directions = part.shared_rank


def _by_direction(local: LocalRound, message: Message) -> bool:
    """Whether single directions are summed, which few clients may hold."""
    corrected = wire.CORRECTION in message.content
    return corrected or local.node.method.sums_directions()


def training(
    local: LocalRound, content: RecordDict, message: Message, context: Context
) -> RecordDict:
    """Mask what a round of training has come to."""
    facts = _facts(message)
    part = load(context.state, str(facts[wire.PURPOSE]), int(facts[wire.ROUND]))
    sketch = secure_sums.sketch_of(facts)
    _, most = _written(local.node, part)
    directions = part.shared_rank if _by_direction(local, message) else sketch.rank
    share = _share(local.node, part, facts)
    how = sketch, most, directions, share
    sums, later = secure_sums.of_training(local, content, *how)
    for name in [name for name in context.state if name.startswith(_LATER)]:
        context.state.pop(name)
    if later and sketch.passes > 1:
        kept = wire.encode_tensors(later, torch.float64)
        context.state[_LATER + sketch.sums.kind] = kept
    return _masked(local.node, part, 0, sums, context.state, share)


def evaluation(
    node: Node, content: RecordDict, message: Message, context: Context
) -> RecordDict:
    """Mask what was measured, or what solves a head."""
    part, facts = _entered(message, context)
    heads, number = wire.HEAD_SUMS in content, int(facts[wire.PASS])
    if (heads, number) != (part.terms.purpose == "head", part.terms.passes - 1):
        raise wire.WireError("this pass of the session sums something else")
    instructions = Instructions.read(message, context.state, keep=False)
    secure_views.check(message, instructions, nested=False)
    if heads:
        _, most = _written(node, part)
        sums = secure_sums.of_head(node, content, most)
    else:
        sums = secure_sums.of_evaluation(content.metric_records[wire.METRICS])
    return _masked(node, part, number, sums, context.state)


def expected(node: Node, message: Message) -> None:
    """See that a message asks for what is sent masked, or not, as the run has it.

    Raises:
        WireError: it asks for the other.

    """
    there = wire.SECURE in message.content
    if there != node.settings.privacy.secure_aggregation:
        way = "masked" if there else "in the clear"
        raise wire.WireError(
            f"the server asks for an answer {way}, and secure-aggregation is "
            f"{node.settings.privacy.secure_aggregation} in this run"
        )


def _entered(message: Message, context: Context) -> tuple[Participant, Any]:
    """The session of a message, with the letters that came with it, and its pass."""
    facts = _facts(message)
    part = load(context.state, str(facts[wire.PURPOSE]), int(facts[wire.ROUND]))
    if wire.LETTERS in facts:
        part.receive(wire.from_by_node(facts[wire.LETTERS]))
    _enter(part, int(facts[wire.PASS]), message, context.state)
    return part, facts


def _enter(
    part: Participant, number: int, message: Message, records: RecordDict
) -> None:
    """Begin a pass, once: what comes of it says something, a refusal as well."""
    part.enter(number, secure_views.asked(message))
    save(records, part)


def _written(node: Node, part: Participant) -> Any:
    nodes = len(part.key_set.adverts)
    return of_clients(nodes, node.settings.limits.max_examples)


def _masked(
    node: Node,
    part: Participant,
    number: int,
    sums: dict[str, Tensor],
    records: RecordDict,
    share: NoiseShare | None = None,
) -> RecordDict:
    """Write sums as one vector, with noise, check their range, and mask it."""
    point, _ = _written(node, part)
    sums = share.added(sums) if share else sums
    vector = part.mask(number, point.encode(wire.flatten(sums)))
    save(records, part)
    return RecordDict({wire.SECURE: wire.masked(vector)})


def _share(node: Node, part: Participant, facts: Any) -> NoiseShare | None:
    point, _ = _written(node, part)
    return NoiseShare.of(node, facts, part.key_set.threshold, point.bits)


def _facts(message: Message) -> Any:
    facts = message.content.config_records.get(wire.SECURE)
    if facts is None:
        raise wire.WireError("a message of secure aggregation without its record")
    return facts
