"""Bad clients: their replies are left out with a reason, and the run goes on."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import (
    ConfigRecord,
    Error,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)

from ilora_app import wire
from ilora_app.federation.member import Member
from ilora_app.federation.replies import Request, collect
from ilora_app.federation.waiting import UntrainedError
from tests.conftest import read_events
from tests.local_run import metrics, run
from tests.packets import Arrays, bytes_of, change, raw

BAD = 2  # the node that misbehaves: partition 1


def on_training(lie):
    """Apply ``lie`` to the bad node's training replies."""

    def tamper(reply: Message) -> Message | None:
        kind = reply.metadata.message_type
        if reply.metadata.src_node_id != BAD or kind != MessageType.TRAIN:
            return reply
        return lie(reply)

    return tamper


def first_of(
    name: str, make: Callable[[np.ndarray], Arrays]
) -> Callable[[Message], Message]:
    """Have others stand in the place of the first array of a record."""

    def tamper(reply: Message) -> Message:
        def changed(arrays: Arrays) -> Arrays:
            first = next(iter(arrays))
            made = make(arrays[first])
            return {**arrays, **{first + more: v for more, v in made.items()}}

        change(reply.content, name, changed)
        return reply

    return tamper


nan = first_of(wire.ARRAYS, lambda value: {"": np.full_like(value, np.nan)})
infinity_in_the_correction = first_of(
    wire.CORRECTION, lambda value: {"": np.full_like(value, np.inf)}
)
wrong_rank = first_of(wire.ARRAYS, lambda value: {"": value[:, :1]})
extra_keys = first_of(wire.ARRAYS, lambda v: {f".{i}": v for i in range(100)})


def missing_key(reply: Message) -> Message:
    change(reply.content, wire.ARRAYS, lambda found: dict(list(found.items())[1:]))
    return reply


def archive(reply: Message) -> Message:
    """Bytes that numpy reads as something else than an array."""
    file = io.BytesIO()
    np.savez(file)
    reply.content[wire.ARRAYS] = raw(file.getvalue())
    return reply


def no_arrays(reply: Message) -> Message:
    del reply.content[wire.ARRAYS]
    return reply


def no_examples(reply: Message) -> Message:
    reply.content[wire.METRICS] = MetricRecord(
        {wire.EXAMPLES: -5, wire.LOSS: 1.0, wire.SECONDS: 1.0}
    )
    return reply


def too_many_examples(reply: Message) -> Message:
    reply.content[wire.METRICS] = MetricRecord(
        {wire.EXAMPLES: 1e9, wire.LOSS: 1.0, wire.SECONDS: 1.0}
    )
    return reply


def absurd_seconds(reply: Message) -> Message:
    reply.content[wire.METRICS] = MetricRecord(
        {wire.EXAMPLES: 10, wire.LOSS: 1.0, wire.SECONDS: 1.7e308}
    )
    return reply


def error_reply(reply: Message) -> Message:
    failed = Message(Error(code=0, reason="the disk is full"), reply_to=reply)
    failed.metadata.__dict__["_src_node_id"] = BAD
    return failed


def no_reply(reply: Message) -> None:
    return None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (nan, "holds NaN or infinity"),
        (infinity_in_the_correction, "correction: .* holds NaN or infinity"),
        (wrong_rank, r"expected float32 \(32, 4\)"),
        (missing_key, "1 missing"),
        (extra_keys, "100 unknown"),
        (archive, "a header of 101010256 bytes"),
        (no_arrays, "no array record"),
        (no_examples, "num-examples is -5"),
        (too_many_examples, "num-examples is 1000000000.0, expected at most"),
        (absurd_seconds, "seconds is 1.7e"),
        (error_reply, "the disk is full"),
        (no_reply, "no reply within"),
    ],
)
def test_a_bad_reply_is_left_out(run_config, change, reason):
    folder, _, _ = run(run_config, tamper=on_training(change))
    left_out = read_events(folder, "reply-left-out")
    assert [e["round"] for e in left_out] == [1, 2]
    for event in left_out:
        assert event["node"] == BAD
        assert event["partition"] == 1
        assert re.search(reason, event["reason"])
    table = metrics(folder)
    assert list(table["clients"].iloc[1:]) == [2, 2]
    assert table["loss"].iloc[-1] < table["loss"].iloc[0]
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


def test_a_record_that_flower_cannot_count_ends_no_run(run_config):
    def more(reply: Message) -> Message:
        reply.content["more"] = ConfigRecord({"text": ""})
        with pytest.raises(ValueError, match="Config values"):
            reply.content["more"].count_bytes()
        return reply

    folder, _, _ = run(run_config, tamper=on_training(more))
    assert list(metrics(folder)["clients"].iloc[1:]) == [3, 3]
    assert metrics(folder)["bytes_up"].iloc[1:].gt(0).all()


def test_what_no_check_foresaw_ends_one_reply_and_no_run():
    def read(reply, asked):
        raise RuntimeError("no such thing\x1b[31m" + "x" * 5_000)

    member = Member(node_id=7, rank=2, examples=5)
    reply = Message(RecordDict(), dst_node_id=1, message_type=MessageType.TRAIN)
    reply.metadata.__dict__["_src_node_id"] = 7
    good, [(who, reason)] = collect({7: Request(member, None)}, [reply], read, 1.0)
    assert (good, who) == ([], member)
    assert reason.startswith("its reply cannot be read: RuntimeError: no such thing?")
    assert len(reason) < 600


@pytest.mark.parametrize(
    "metrics_of",
    [{"accuracy": float("nan")}, {wire.EXAMPLES: 1e9, "loss": 1.0, "accuracy": 1.0}],
    ids=["nan", "more examples than it has"],
)
def test_a_bad_evaluation_is_left_out(run_config, metrics_of):
    def tamper(reply: Message) -> Message:
        if reply.metadata.src_node_id == BAD and (
            reply.metadata.message_type == MessageType.EVALUATE
        ):
            reply.content[wire.METRICS] = MetricRecord(metrics_of)
        return reply

    folder, _, _ = run(run_config, tamper=tamper)
    assert {e["purpose"] for e in read_events(folder, "reply-left-out")} == {"evaluate"}
    assert (metrics(folder)["clients_evaluated"].iloc[1:] == 2).all()


def test_with_no_good_reply_the_model_stays(run_config):
    def tamper(reply: Message) -> Message | None:
        return None if reply.metadata.message_type == MessageType.TRAIN else reply

    with pytest.raises(UntrainedError, match="none of 2 rounds had usable") as error:
        run(run_config, tamper=tamper)
    assert str(error.value).count("(3 nodes)") == 1
    folder = Path(run_config["output-dir"])
    assert metrics(folder)["loss"].nunique() == 1
    assert len(read_events(folder, "model-unchanged")) == 2
    assert read_events(folder, "failed")
    assert (folder / "adapter" / "adapter_config.json").is_file()


def test_after_a_lost_first_round_clients_start_where_they_did(run_config):
    """The gain of the start depends on the rank, so it must not be applied late."""
    lost = iter([None, None, None])

    def tamper(reply: Message) -> Message | None:
        training = reply.metadata.message_type == MessageType.TRAIN
        return next(lost, reply) if training else reply

    run_config |= {"initialisation": "qr", "init-gain": "scaled"}
    folder, grid, _ = run(run_config, tamper=tamper)
    assert metrics(folder)["loss"][1] == metrics(folder)["loss"][0]
    trains = [m for m in grid.sent if m.metadata.message_type == MessageType.TRAIN]
    for first, second in zip(trains[:3], trains[3:], strict=True):
        there, here = (m.content.array_records[wire.ARRAYS] for m in (first, second))
        assert bytes_of(there) == bytes_of(here)
