"""Private runs of which the server sees sums that nodes have put noise on."""

from typing import Any

import pytest
import torch
from flwr.app import Message, RecordDict

from ilora_app import wire
from ilora_app.methods.state import LEADING
from ilora_app.privacy.budget import spent
from tests.conftest import read_events
from tests.local_run import metrics, run
from tests.test_private_run import PRIVATE, config  # noqa: F401
from tests.test_secure_attacks import stage
from tests.test_secure_run import unchanged

pytestmark = pytest.mark.slow

BLIND: dict[str, Any] = {"secure_aggregation": True, "client_ranks": "4,8,8,8"}


WAYS: dict[str, dict[str, Any]] = {
    "qr": {"decomposition": "qr"},
    "svd": {"decomposition": "svd"},
    "flexlora": {"strategy": "flexlora", "decomposition": "svd"},
    "fedit": {"strategy": "fedit", "decomposition": "svd"},
    "fedavg-full": {"strategy": "fedavg-full", "decomposition": "svd"},
}  # svd is the default, which the last three do not use


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("clip", [1e3, 0.2])
def test_with_next_to_no_noise_it_is_the_run_whose_server_clips(
    config,  # noqa: F811
    way,
    clip,
):
    """All of it: who counts how much, the clip, and what is told of Q^T D."""
    keys = {**WAYS[way], "client_ranks": "4,8,8,8", "dp_clip": clip}
    keys |= {"optimizer": "sgd", "learning_rate": 0.5}
    open_run, _, _ = run(config(**keys, dp_noise_multiplier=1e-9), nodes=4)
    noise = 1e-4 / clip
    blind, _, _ = run(
        config(**keys, dp_noise_multiplier=noise, secure_aggregation=True), nodes=4
    )
    assert not read_events(blind, "reply-left-out")
    found, right = metrics(blind), metrics(open_run)
    assert found["loss"].tolist() == pytest.approx(right["loss"].tolist(), rel=1e-3)
    assert found["clients"][1:].tolist() == [4, 4]


def test_what_it_costs_is_counted_and_goes_on(config):  # noqa: F811
    keys = config(**BLIND)
    folder, _, _ = run(keys, nodes=4)
    table = metrics(folder)
    expected = [spent(2.0, 0.01, rounds) for rounds in (1, 2)]
    assert table["epsilon"][1:].tolist() == pytest.approx(expected)
    more = keys | {"resume": str(folder), "num-server-rounds": 3}
    resumed = metrics(run(more, nodes=4)[0])
    assert resumed["releases"].tolist()[1:] == [1, 2, 3]
    assert resumed["epsilon"][3] == pytest.approx(spent(2.0, 0.01, 3))


def test_noise_is_there_and_no_seed_repeats_it(config):  # noqa: F811
    losses = []
    for _ in range(2):
        folder, _, _ = run(config(**BLIND, dp_noise_multiplier=50.0), nodes=4)
        losses.append(metrics(folder)["loss"].tolist())
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_nodes_that_cannot_tell_their_noise_from_steps_refuse(config):  # noqa: F811
    keys = config(**BLIND, dp_noise_multiplier=1e-9, num_server_rounds=1)
    with pytest.raises(Exception, match="none of 1 round "):
        run(keys, nodes=4)


def longer(content: RecordDict) -> None:
    tensors = wire.decode_tensors(content.array_records[wire.FACTORS])
    twice = {name: 2 * value for name, value in tensors.items()}
    content[wire.FACTORS] = wire.encode_tensors(twice, torch.float64)


def thinner(content: RecordDict) -> None:
    tensors = wire.decode_tensors(content.array_records[wire.FACTORS])
    thin = {name: value[:, :1] for name, value in tensors.items()}
    content[wire.FACTORS] = wire.encode_tensors(thin, torch.float64)


def of_another_kind(content: RecordDict) -> None:
    content.config_records[wire.SECURE][wire.SUMS] = LEADING


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (longer, "what is to be multiplied by is no basis"),
        (thinner, "no directions of shape"),
        (of_another_kind, "pass 1 sums no products"),
    ],
)
def test_directions_are_refused_that_would_tell_more(config, change, said):  # noqa: F811
    def rewrite(message: Message) -> None:
        if stage(message) == wire.FACTORS:
            change(message.content)

    keys = config(**BLIND, decomposition="svd")
    assert said in unchanged(keys, rewrite=rewrite)
