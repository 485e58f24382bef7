"""Rules against clients that stay within the limits and go the wrong way."""

import numpy as np
import pytest
import torch

from ilora_app import methods
from ilora_app.federation import robust, validity
from ilora_app.federation.limits import begun, update_norm
from ilora_app.lora.factors import AdapterState
from ilora_app.methods.ilora import ILoRA
from ilora_app.methods.registry import METHODS
from ilora_app.methods.state import Share
from ilora_app.settings import Settings, parsing
from ilora_app.settings.limits import ROBUST
from tests.builders import random_state, update
from tests.conftest import read_events
from tests.local_run import metrics, run
from tests.test_outliers import lying, moved

SCALING = 1.7
RULES = [rule for rule in ROBUST if rule != "none"]


def clients(ranks=(3,) * 8, hostile=0, times=1.0):
    """Who go about the same way by about as much; the last ones go back."""
    whole, way = random_state(max(ranks), seed=99), random_state(max(ranks), seed=98)
    found = []
    for k, rank in enumerate(ranks):
        by = -0.1 * times if k >= len(ranks) - hostile else 0.1
        own = random_state(max(ranks), seed=k).named_tensors()
        flat = {
            n: v + by * way.named_tensors()[n] + 0.03 * own[n]
            for n, v in whole.named_tensors().items()
        }
        adapter = AdapterState.from_named_tensors(flat).cut(rank)
        found.append(update(k, adapter, Share(whole.cut(rank)), examples=10 + k))
    return found


def dense(one, scaling=SCALING):
    """Everything that a client changed, as one vector."""
    before, after = one.received.adapter, one.adapter
    parts = [
        scaling * (B @ A - before.factors[m][0] @ before.factors[m][1])
        for m, (B, A) in after.factors.items()
    ]
    parts += [after.head[n] - before.head[n] for n in after.head]
    return torch.cat([part.double().flatten() for part in parts]).numpy()


def test_distances_are_those_of_the_dense_changes():
    some = clients((1, 2, 4, 4, 2))
    points = np.stack([dense(one) for one in some])
    expected = np.linalg.norm(points[:, None] - points[None], axis=2)
    found = robust.distances(some, SCALING).numpy()
    assert found == pytest.approx(expected, abs=1e-4 * expected.max())


def test_distances_of_tensors_count_what_a_client_does_not_hold_as_unchanged():
    some = clients((1, 2, 4))
    flat = [
        {n: v - begun(u).pad(4).named_tensors()[n] for n, v in padded.items()}
        for u in some
        for padded in [u.adapter.pad(4).named_tensors()]
    ]
    points = [torch.cat([v.flatten() for v in one.values()]) for one in flat]
    expected = torch.cdist(torch.stack(points).double(), torch.stack(points).double())
    assert robust.distances(some, None).numpy() == pytest.approx(expected.numpy(), 1e-5)


@pytest.mark.parametrize(
    ("n", "fraction", "f"), [(8, 0.25, 2), (5, 0.4, 1), (7, 0.3, 2)]
)
def test_krum_scores_by_the_nearest_others(n, fraction, f):
    generator = np.random.default_rng(n)
    points = generator.normal(size=(n, 4))
    D = np.linalg.norm(points[:, None] - points[None], axis=2)
    scores = [
        sum(sorted(D[i, j] ** 2 for j in range(n) if j != i)[: n - f - 2])
        for i in range(n)
    ]
    expected = sorted(np.argsort(scores)[: n - f].tolist())
    assert robust.krum(torch.from_numpy(D), fraction) == expected


@pytest.mark.parametrize(
    ("rule", "over"),
    [
        ("median", lambda rows: np.median(rows, axis=0)),
        (
            "trimmed-mean",
            lambda rows: np.sort(rows, axis=0)[len(rows) // 4 :][
                : len(rows) - 2 * (len(rows) // 4)
            ].mean(axis=0),
        ),
    ],
)
def test_every_number_changes_as_those_say_that_hold_it(rule, over):
    some = clients((1, 1, 2, 2, 2, 4, 4, 4))
    found = robust.choose(some, rule, 0.25, SCALING).updates
    for j in range(4):  # direction by direction, over those that hold it
        held = [k for k, one in enumerate(some) if one.rank > j]
        for module in some[0].adapter.factors.pairs:
            for side, column in ((0, (slice(None), j)), (1, (j, slice(None)))):
                changes = [
                    (
                        some[k].adapter.factors[module][side][column]
                        - some[k].received.adapter.factors[module][side][column]
                    ).numpy()
                    for k in held
                ]
                for k in held:
                    start = some[k].received.adapter.factors[module][side][column]
                    change = found[k].adapter.factors[module][side][column] - start
                    assert change.numpy() == pytest.approx(
                        over(np.stack(changes)), abs=1e-5
                    )
    heads = np.stack([dense(one)[-15:] for one in some])
    assert dense(found[0])[-15:] == pytest.approx(over(heads), abs=1e-5)


def test_clipping_brings_all_to_the_median():
    some = [
        update(
            k,
            moved(random_state(3, seed=99), 0.1 * (k + 1), k),
            Share(random_state(3, seed=99)),
        )
        for k in range(5)
    ]
    norms = [update_norm(one, SCALING) for one in some]
    found = robust.choose(some, "clip", 0.25, SCALING).updates
    for one, norm in zip(found, norms, strict=True):
        assert update_norm(one, SCALING) <= min(norm, sorted(norms)[2]) * 1.001


def learned(updates) -> np.ndarray:
    """What ILoRA makes of a round, over the mean of what clients received."""
    method = ILoRA(qr_start=False)
    state = method.begin(random_state(4, seed=99).pad(8))
    made = method.aggregate(state.next(state.adapter), updates).state.adapter
    parts = [(B @ A).flatten() for _, (B, A) in made.factors.items()]
    return torch.cat([*parts, *(v.flatten() for v in made.head.values())]).numpy()


@pytest.mark.parametrize("rule", ["krum", "geometric-median", "median", "trimmed-mean"])
def test_two_of_eight_that_go_back_do_not_turn_the_round(rule):
    """As far from what the six honest ones make as these are from one another."""
    ranks = (4,) * 8
    honest = learned(clients(ranks)[:6])
    hostile = clients(ranks, hostile=2, times=3.0)
    without = np.linalg.norm(learned(hostile) - honest)
    with_rule = np.linalg.norm(
        learned(robust.choose(hostile, rule, 0.25, SCALING).updates) - honest
    )
    assert with_rule < 0.35 * without


def test_what_a_client_says_of_its_examples_gives_it_no_say():
    some = clients((3,) * 8, hostile=2, times=3.0)
    for rule in ("krum", "geometric-median"):
        chosen = robust.choose(some, rule, 0.25, SCALING)
        total = sum(u.examples for u in chosen.updates)
        share = sum(u.examples for u in chosen.updates if u.node >= 106) / total
        assert share < 0.1


def test_of_two_clients_nobody_is_chosen():
    two = clients((3, 3))
    assert all(robust.choose(two, r, 0.25, SCALING).updates == two for r in RULES)


def settings_of(strategy: str, **more) -> Settings:
    given = parsing.dump(Settings()) | {"strategy": strategy} | more
    settings, wrong = methods.parse(given)
    assert not wrong
    return settings


def allowed(strategy: str) -> list[str]:
    return [
        rule
        for rule in RULES
        if "robust" not in validity.problems(settings_of(strategy, robust=rule))
    ]


def test_what_makes_no_sense_is_refused_with_a_reason():
    assert allowed("ilora") == allowed("fedit") == RULES
    rest = ["clip", "krum", "geometric-median"]
    assert allowed("flora") == allowed("lora-a2") == rest
    assert "geometric-median" not in allowed("hetlora")
    assert not any(map(allowed, ("centralized", "local", "linear-probe")))
    found = validity.problems(settings_of("ilora", **{"robust-fraction": 0.1}))
    assert (
        "is not used, as robust is not krum or trimmed-mean" in found["robust-fraction"]
    )


FEDERATED = [name for name in METHODS if allowed(name)]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(FEDERATED)))
def test_every_strategy_runs_with_a_rule_and_a_client_that_lies(run_config, number):
    rules = allowed(FEDERATED[number])
    config = run_config | {
        "strategy": FEDERATED[number],
        "robust": rules[number % len(rules)],
        "client-ranks": "2,4",
        "num-server-rounds": 2,
        "max-norm-ratio": 0.0,
    }
    for key in ("drift-correction", "initialisation", "head", "head-refit-every"):
        config.pop(key, None)
    folder, _, server = run(config, nodes=5, tamper=lying(3.0, "arrays"))
    rows = metrics(folder)
    assert np.isfinite(rows["train_loss"][1:]).all()
    left = server.strategy.state.adapter.named_tensors()
    assert all(value.isfinite().all() for value in left.values())


def test_who_is_passed_over_is_recorded_and_not_accused(run_config):
    """It holds what it was sent, is asked again, and its upload was not taken."""
    config = run_config | {"robust": "krum", "max-norm-ratio": 0.0}
    config |= {"strikes": 1, "num-server-rounds": 3}
    folder, _, server = run(config, nodes=5, tamper=lying(3.0, "arrays"))
    versions, nodes = server.strategy.model.versions, range(1, 6)
    assert {versions.since(node) for node in nodes} == {versions.time - 1}
    assert [versions.last_taken(node) for node in nodes] == [3, 0, 3, 3, 3]
    passed = [event["nodes"] for event in read_events(folder, "passed-over")]
    assert passed == [[2]] * (len(metrics(folder)) - 1)
    assert not read_events(folder, "reply-left-out")
