"""Sums for a head that are finite, and too large to be solved with."""

import pytest
import torch
from flwr.app import Message

from ilora_app import wire
from ilora_app.lora.ridge import square, triangle
from tests.fuzz.federation import CLASSES, FEATURES, JOBS, Outcome, federate


def two_clients(length: float, everybody: bool = False) -> Outcome:
    """With two nobody can say who is the odd one."""

    def lie(reply: Message) -> list[Message]:
        if wire.HEAD_SUMS in reply.content:
            held = wire.decode_tensors(reply.content[wire.HEAD_SUMS])
            counted = square(held[wire.GRAM], FEATURES + 1)[-1, -1]
            gram = length * torch.eye(FEATURES + 1, dtype=torch.float64)
            gram[-1, -1] = counted
            held[wire.GRAM] = triangle(gram)
            held[wire.CROSS][:-1] = torch.zeros(FEATURES, CLASSES)
            record = wire.encode_tensors(held, torch.float64)
            reply.content[wire.HEAD_SUMS] = record
        return [reply]

    job = JOBS["ilora solved"]
    return federate(job, lie, (2, 3), rounds=1, everybody=everybody)


@pytest.mark.parametrize("everybody", [False, True])
@pytest.mark.parametrize(
    ("length", "reason"),
    [(1.7e308, "features of infinite length"), (3.5e307, "have no solution")],
)
def test_a_head_that_has_no_solution_stays_as_it_is(length, reason, everybody):
    outcome = two_clients(length, everybody)
    told = [event["reason"] for event in outcome.events if "reason" in event]
    if everybody or length > 1e308:
        assert any(reason in text for text in told), told
    for model in outcome.models:
        assert all(value.isfinite().all() for value in model.values())
    assert outcome.rows[-1]["clients"] == 2
