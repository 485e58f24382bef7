"""Runs whose models are differentially private to a node, through the whole app."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from ilora_app.federation.waiting import FederationError
from ilora_app.privacy.budget import spent
from tests.conftest import read_events
from tests.local_run import metrics, run
from tests.test_faults import BAD

pytestmark = pytest.mark.slow

PRIVATE = {
    "dp": "client",
    "dp-noise-multiplier": 2.0,
    "dp-delta": 0.01,
    "dp-clip": 0.5,
    "client-ranks": "2,4",
    "num-server-rounds": 2,
}


@pytest.fixture
def config(run_config, tmp_path) -> Callable[..., dict[str, Any]]:
    numbers = itertools.count()

    def made(**keys: Any) -> dict[str, Any]:
        named = {key.replace("_", "-"): value for key, value in keys.items()}
        where = str(tmp_path / f"run-{next(numbers)}")
        kept = {k: v for k, v in run_config.items() if k != "drift-correction"}
        return kept | PRIVATE | {"decomposition": "qr", "output-dir": where} | named

    return made


def test_a_run_says_what_it_costs_and_shows_no_node(config):
    folder, _, server = run(config(), nodes=4)
    table = metrics(folder)
    expected = [spent(2.0, 0.01, rounds) for rounds in (1, 2)]
    assert table["epsilon"][1:].tolist() == pytest.approx(expected)
    assert not [c for c in table if c.startswith(("drift", "energy"))]
    [event] = read_events(folder, "private")
    assert event["epsilon"] == pytest.approx(expected[-1])
    values = server.strategy.global_model().named_tensors().values()
    assert all(bool(value.isfinite().all()) for value in values)


@pytest.mark.parametrize(
    "strategy", ["fedit", "ffa-lora", "rolora", "fedsa-lora", "flexlora"]
)
def test_strategies_that_are_sums(config, strategy):
    keys = config(strategy=strategy)
    del keys["decomposition"]
    folder, _, _ = run(keys, nodes=3)
    assert metrics(folder)["clients"][1:].tolist() == [3, 3]
    # Under fedsa-lora accuracy is what nodes measure, which is in no account.
    assert (folder / "best").exists() == (strategy != "fedsa-lora")


SEND = {"aggregate": "increments", "residual": "send"}


@pytest.mark.parametrize("more", [{}, SEND, {"decomposition": "svd"}])
def test_without_noise_and_clip_it_is_the_mean_over_nodes(config, more):
    """Learned in the clear, by as much: all nodes count alike in both."""
    keys = config(dp="none", partitioner="iid", head="trained") | more
    for key in [key for key in keys if key.startswith("dp-")]:
        del keys[key]
    private = config(dp_noise_multiplier=1e-9, dp_clip=1e3, partitioner="iid") | more
    one, _, _ = run(private, nodes=3)
    other, _, _ = run(keys | {"drift-correction": "none"}, nodes=3)
    found, right = metrics(one), metrics(other)
    assert found["loss"].tolist() == pytest.approx(right["loss"].tolist(), rel=1e-3)


def test_noise_is_not_drawn_again(config):
    losses = [metrics(run(config(), nodes=3)[0])["loss"].tolist() for _ in range(2)]
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_one_that_fails_is_in_the_mean_as_it_was_sent(config):
    def away(reply):
        if reply.metadata.src_node_id == BAD and "arrays" in reply.content:
            del reply.content["arrays"]
        return reply

    folder, _, _ = run(config(), nodes=4, tamper=away)
    assert metrics(folder)["clients"][1:].tolist() == [3, 3]
    assert "epsilon" in metrics(folder)


def test_a_budget_ends_a_run(config):
    keys = config(dp_noise_multiplier=0.0, dp_target_epsilon=3.0, num_server_rounds=2)
    folder, _, _ = run(keys, nodes=3)
    spent_so_far = metrics(folder)["epsilon"].tolist()
    assert 2.9 < spent_so_far[-1] <= 3.0
    # The noise was made for two rounds: a third is not run, whoever asks for it.
    more = keys | {"resume": str(folder), "num-server-rounds": 4}
    more["dp-noise-multiplier"] = 0.0
    resumed, _, _ = run(more, nodes=3)
    assert metrics(resumed)["epsilon"].tolist()[1:] == spent_so_far[1:]
    [event] = read_events(resumed, "ended-early")
    assert "would exceed epsilon 3" in event["reason"]


def test_a_clip_that_follows_the_norms_goes_on_where_it_was(config):
    keys = config(dp_clip_quantile=0.5, dp_clip=0.01)
    folder, _, _ = run(keys, nodes=3)
    table = metrics(folder)
    assert table["clip"][1] == 0.01
    assert table["clip"][2] == table["clip_next"][1] != 0.01
    assert table["epsilon"][2] == pytest.approx(spent(2.0, 0.01, 2))
    more = keys | {"resume": str(folder), "num-server-rounds": 3}
    resumed = metrics(run(more, nodes=3)[0])
    assert resumed["clip"][3] == table["clip_next"][2]


@pytest.mark.parametrize(
    ("delta", "nodes", "said"),
    [(0.4, 3, "dp-delta = 0.4: expected below 0.333"), (0.01, 1, "two nodes or more")],
)
def test_too_few_nodes_for_delta(config, delta, nodes, said):
    with pytest.raises(FederationError, match=said):
        run(config(dp_delta=delta, min_available_nodes=1), nodes=nodes)
