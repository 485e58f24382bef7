"""A head that is solved by sums over nodes of which the server sees the total alone."""

from flwr.app import Message

from ilora_app import wire
from ilora_app.federation import blind_sums
from ilora_app.federation.exchange import exchange
from ilora_app.federation.global_model import GlobalModel
from ilora_app.federation.reply_size import LEAST
from ilora_app.federation.ridge_head import RidgeHead
from ilora_app.federation.rounds import Row
from ilora_app.federation.secure_session import SecureSession
from ilora_app.lora.ridge import RidgeSums
from ilora_app.secure import SecureError

_HEAD = "head"


def solve(
    ridge: RidgeHead,
    session: SecureSession,
    sent: list[Message],
    model: GlobalModel,
) -> Row:
    """Ask the nodes of a session for their sums, and solve the head of the total.

    Args:
        ridge: the layer.
        session: of one pass.
        sent: the questions to its nodes.
        model: gets the head; it keeps the one it has where the sum cannot be opened.

    Returns:
        Columns of the round.

    """
    like = RidgeSums.zeros(ridge.features, ridge.classes)
    shapes: blind_sums.Shapes = {
        wire.GRAM: tuple(like.gram.shape),
        wire.CROSS: tuple(like.cross.shape),
    }
    length, standing = blind_sums.size(shapes), session.events.standing
    seconds = standing.wait(_HEAD, session.peers, session.timeout)
    most = LEAST + 4 * 8e-6 * length
    payloads = session.events.payloads(session.terms.round, _HEAD)
    how = seconds, standing.came, most, None, payloads
    replies = exchange(session.grid, sent, *how)
    masked, _ = session.collect(replies, length, _HEAD)
    contents = [reply.content for reply in replies if reply.has_content()]
    row: Row = {
        "bytes_down_head": sum(wire.content_bytes(m.content) for m in sent),
        "bytes_up_head": sum(wire.content_bytes(c) for c in contents),
    }
    try:
        total = wire.unflatten(session.open(0, masked), shapes)
    except (SecureError, wire.WireError) as error:
        why = f"the head is not solved: {error}"
        session.events.model_stays(session.terms.round, why)
        return row
    sums = RidgeSums(total[wire.GRAM], total[wire.CROSS])
    solved = ridge.head(model.state.adapter.head, sums)
    if not solved:
        why = "the head is not solved: its sums have no solution"
        session.events.model_stays(session.terms.round, why)
        return row
    model.replace_head(solved)
    return {**row, "head_examples": float(round(sums.examples()))}
