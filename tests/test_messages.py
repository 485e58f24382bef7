"""What nodes are sent, and how often the server holds it."""

import pytest
import torch
from flwr.app import RecordDict

from ilora_app import wire
from ilora_app.corrections import ControlVariates
from ilora_app.federation import messages
from ilora_app.strategies import ILoRA
from tests.packets import opened
from tests.quadratic import Problem
from tests.toy import Toy

RANKS = (2, 4, 2, 4, 2)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("record", [wire.ARRAYS, wire.CORRECTION])
def test_bytes_that_many_nodes_are_sent_are_held_once(dtype, record):
    problem = Problem(RANKS, (10, 20, 30, 40, 50))
    strategy = ILoRA(drift_correction=ControlVariates(), wire_dtype=dtype)
    run = Toy(strategy, problem)
    for _ in range(2):
        run.round()
    assert len(run.grid.asked) == len(RANKS)
    held = {}
    for node, message in run.grid.asked.items():
        (array,) = message.content[record].values()
        held.setdefault(RANKS[node - 1], set()).add(id(array.data))
    assert [len(held[rank]) for rank in (2, 4)] == [1, 1]
    one, other = (opened(run.grid.asked[n].content[record]) for n in (1, 2))
    name = next(name for name in one if name.endswith("lora_A"))
    assert (len(one[name]), len(other[name])) == (2, 4)


def test_what_differs_between_nodes_stays_apart():
    shared = messages.Shared()
    tensors = {"a": torch.randn(3, 4)}
    other = {"a": tensors["a"] + 1}
    made = [
        shared(RecordDict({wire.ARRAYS: wire.encode_tensors(values)}))
        for values in (tensors, other, tensors)
    ]
    for content, values in zip(made, (tensors, other, tensors), strict=True):
        found = wire.decode_tensors(content.array_records[wire.ARRAYS])
        assert torch.equal(found["a"], values["a"])
    data = [content.array_records[wire.ARRAYS]["packet"].data for content in made]
    assert data[0] is data[2]
    assert data[0] != data[1]
