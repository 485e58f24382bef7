"""Servers and nodes that deviate in a secure run: nothing of one node comes out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict

from ilora_app import wire
from ilora_app.secure import SecureError, opened
from tests.interruptions import interrupted, resumed
from tests.local_run import run
from tests.test_secure_protocol import ASKED, Session, vector
from tests.test_secure_run import PLAIN, SECURE, configs, stage_of, unchanged

VICTIM = 2


@pytest.fixture
def config(tiny_config, tmp_path_factory) -> Callable[..., dict[str, Any]]:
    return configs(tiny_config, tmp_path_factory)


def test_masks_of_nodes_that_were_asked_different_things_do_not_cancel():
    session = Session(4)
    session.receive()
    masked = {i: vector(session.nodes[i], 0, session.values[i]) for i in (3, 13, 23)}
    masked[33] = vector(session.nodes[33], 0, session.values[33], b"another model")
    revealed = {i: session.nodes[i].reveal(0, session.peers, {}) for i in masked}
    for asked in (ASKED, b"another model"):
        with pytest.raises(SecureError, match="nodes were asked different things"):
            opened(session.key_set, 0, session.peers, masked, revealed, asked, set())


def test_a_refused_vector_is_not_asked_for_again():
    """Refusals of scaled vectors would tell of their numbers, bit by bit."""
    session = Session(4)
    session.receive()
    node = session.nodes[3]
    node.enter(0, ASKED)
    for asked in (ASKED, b"the same, twice as long"):
        with pytest.raises(SecureError, match="asked for a vector in pass 0 before"):
            node.enter(0, asked)


def zeros(record: ArrayRecord) -> ArrayRecord:
    tensors = wire.decode_tensors(record)
    dtype = next(iter(tensors.values())).dtype
    return wire.encode_tensors({n: 0 * v for n, v in tensors.items()}, dtype)


def stage(message: Message) -> Any:
    """What a message asks for: a stage, or the type of the message."""
    facts = message.content.config_records.get(wire.SECURE, {})
    return facts.get(wire.STAGE, message.metadata.message_type)


def to_all_but_the_victim(what: str, change: Callable[[RecordDict], None]) -> Any:
    def rewrite(message: Message) -> None:
        if stage(message) == what and message.metadata.dst_node_id != VICTIM:
            change(message.content)

    return rewrite


@pytest.mark.slow
def test_zeros_to_multiply_by_for_all_others_open_nothing(config):
    """The sum of Q^T D would be that of the one node that got a Q."""

    def change(content: RecordDict) -> None:
        content[wire.FACTORS] = zeros(content.array_records[wire.FACTORS])

    why = unchanged(
        config(**PLAIN, **SECURE), rewrite=to_all_but_the_victim(wire.FACTORS, change)
    )
    assert "nodes were asked different things" in why


@pytest.mark.slow
@pytest.mark.parametrize("record", [wire.ARRAYS, wire.CONFIG, wire.BASE])
def test_a_dead_model_or_another_task_for_all_others_is_found(config, record):
    def change(content: RecordDict) -> None:
        if record == wire.ARRAYS:
            content[record] = zeros(content.array_records[record])
            return
        more = {wire.BATCH_SIZE: 1}
        if record == wire.BASE:
            content[record] = wire.encode_increment({"layer": torch.ones(1, 1)})
            more = {wire.BASE_START: 0, wire.BASE_END: 1}
        facts = content.config_records[wire.CONFIG]
        content[wire.CONFIG] = ConfigRecord({**facts, **more})

    why = unchanged(
        config(**PLAIN, **SECURE),
        rewrite=to_all_but_the_victim(MessageType.TRAIN, change),
    )
    assert "1 nodes are left, 3 must" in why
    what = "no such record" if record == wire.BASE else "else than others are told"
    assert why.count(what) == 3


@pytest.mark.slow
def test_models_are_alike_in_the_directions_that_ranks_share(config):
    """Another model for rank 16, and told so: those of rank 16 find the others'."""
    keys = config(**PLAIN, **SECURE) | {"client-ranks": "8,8,8,16"}
    keys |= {"initialisation": "standard"}
    views: dict[int, bytes] = {}

    def rewrite(message: Message) -> None:
        if stage(message) != MessageType.TRAIN:
            return
        facts = message.content.config_records[wire.SECURE]
        views.update(wire.from_by_node(facts[wire.VIEWS]))
        made = views | {8: bytes(32) + views[8][32:]}
        facts[wire.VIEWS] = wire.by_node(made)

    why = unchanged(keys, rewrite=rewrite)
    assert "nodes of rank 8 were sent another model than this one" in why
    assert why.count("sent something else than others are told") == 3


@pytest.mark.slow
def test_heads_are_not_solved_of_sums_under_different_models(config):
    def change(content: RecordDict) -> None:
        content[wire.ARRAYS] = zeros(content.array_records[wire.ARRAYS])

    rewrite = to_all_but_the_victim(MessageType.EVALUATE, change)
    keys = config(**PLAIN, **SECURE) | {"head": "ridge", "num-server-rounds": 1}
    _, _, server = run(keys, 4, rewrite=rewrite)
    assert not [row for row in server.folder.rows if row.get("head_examples")]
    assert "client_loss_mean" not in server.folder.rows[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        # The 16th row of A, of which there is one.
        ({wire.SUMS: "means"}, "not the sums that its strategy takes"),
        ({wire.PASS: 3}, "pass 3 has not begun"),
        ({wire.PASS: 1}, "pass 1 has not begun"),
        ({wire.SUMS: "sketch"}, "not the session in which it trains"),
        ({wire.TOP_RANK: "x"}, "ValueError"),
    ],
)
def test_a_node_trains_for_the_sums_of_its_strategy_alone(config, facts, reason):
    def rewrite(message: Message) -> None:
        if stage(message) == MessageType.TRAIN:
            record = message.content.config_records[wire.SECURE]
            message.content[wire.SECURE] = ConfigRecord({**record, **facts})

    assert reason in unchanged(config(**PLAIN, **SECURE), rewrite=rewrite)


@pytest.mark.slow
def test_messages_of_a_finished_round_get_no_second_answer(config):
    _, grid, _ = run(config(**PLAIN, **SECURE) | {"num-server-rounds": 1}, 4)
    before = [m for m in grid.sent if m.metadata.dst_node_id == VICTIM]
    reasons = {}
    for message in before:
        if wire.SECURE not in message.content:
            continue
        kind = message.metadata.message_type
        (reply,) = grid.send_and_receive([Message(message.content, VICTIM, kind)])
        name = stage(message)
        if name == wire.REVEAL:
            # The same shares once more: nothing that was not said.
            assert reply.has_content()
            continue
        reasons[name] = reply.error.reason
    assert set(reasons) == {"train", "evaluate", "keys", "shares", "factors"}
    assert "masked before" in reasons["keys"]
    assert "has shared its secrets" in reasons["shares"]
    assert "has opened the shares" in reasons["train"]
    assert "pass 1 before" in reasons["factors"]
    assert "pass 2 before" in reasons["evaluate"]


@pytest.mark.slow
def test_a_round_that_is_run_again_has_other_keys_and_masks(config):
    """Where a run is cut off in round 2 and goes on, the numbers are the same."""
    seen: dict[str, list[bytes]] = {}

    def watch(reply: Message) -> Message:
        record = reply.content.get(wire.SECURE) if reply.has_content() else None
        if record is not None:
            node = reply.metadata.src_node_id
            # Of another id, and with the same data, when the run goes on.
            name = f"{stage_of(reply)} {min(node, 1000 - node)}"
            found = record.get("masked", record.get(wire.KEYS))
            if found is not None:
                data = found.data if isinstance(found, Array) else found
                seen.setdefault(name, []).append(bytes(data))
        return reply

    keys = config(**PLAIN, **SECURE)
    interrupted(keys, tamper=watch)
    resumed(keys, tamper=watch)
    assert {len(seen[f"train {node}"]) for node in (1, 2, 3)} == {3}  # 1, 2, 2
    for name, found in seen.items():
        assert len(found) == len(set(found)), name
    every = [data[12:44] for n, some in seen.items() if wire.KEYS in n for data in some]
    assert len(every) == len(set(every)) == 3 * 3


@pytest.mark.slow
def test_numbers_beyond_the_range_are_refused_by_the_node(config):
    why = unchanged(config(**PLAIN, **SECURE) | {"learning-rate": 1e9})
    assert "a number is beyond" in why or "a number is not finite" in why


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "reason"),
    [(0, "the sums count -"), (-1, "nodes were asked different things")],
)
def test_a_node_that_lies_about_its_examples_beyond_sense_moves_nothing(
    config, place, reason
):
    """The count is the first number that is summed: all others begin behind it."""

    def lying(reply: Message) -> Message:
        if stage_of(reply) == "train" and reply.metadata.src_node_id == VICTIM:
            array = reply.content.array_records[wire.SECURE]["masked"]
            numbers = np.frombuffer(array.data, "<u8").copy()
            numbers[place] -= np.uint64(1 << 50)
            data = numbers.tobytes()
            changed = Array(array.dtype, array.shape, array.stype, data)
            reply.content[wire.SECURE] = ArrayRecord({"masked": changed})
        return reply

    assert reason in unchanged(config(**PLAIN, **SECURE), tamper=lying)


def test_a_view_is_of_all_that_nodes_work_with():
    nested, own = {"a": torch.ones(2)}, {"offset.a": torch.ones(1)}
    right = wire.view(nested, own, {"x": 1})
    assert right == wire.view({"a": torch.ones(2)}, own, {"x": 1})
    for other in (
        wire.view({"a": torch.zeros(2)}, own, {"x": 1}),
        wire.view(nested, {}, {"x": 1}),
        wire.view(nested, own, {"x": 2}),
    ):
        assert other != right
    assert wire.view(nested, {}, {})[:32] == wire.nested_part(right)
    with pytest.raises(wire.WireError, match="no hashes"):
        wire.nested_part(b"")
