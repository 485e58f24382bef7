"""Which settings a method takes, what ``auto`` means, and what is refused and why."""

from dataclasses import fields, replace

import pytest

from ilora_app.federation.validity import problems
from ilora_app.methods import METHODS, find
from ilora_app.settings import MethodSettings, Settings

OTHER = {
    "decomposition": "qr",
    "cut": "product",
    "aggregate": "increments",
    "residual": "merge",
    "residual_energy": 0.9,
    "control_basis": "rotate",
    "lora_fair_lambda": 0.5,
    "hetlora_gamma": 0.5,
    "hetlora_lambda": 0.5,
    "init_gain": "scaled",
    "galore_refresh_every": 3,
}
"""A value that is not the default, for every key that belongs to some methods."""

OWN = {
    "ilora": {
        "decomposition",
        "residual",
        "control_basis",
        "init_gain",
        "cut",
        "aggregate",
    },
    "flexlora": {"aggregate"},
    "lora-fair": {"lora_fair_lambda"},
    "hetlora": {"hetlora_gamma", "hetlora_lambda"},
    "fedgalore": {"galore_refresh_every"},
}
CONTROL = {
    "control_estimator": "full-pass",
    "control_weights": "uniform",
    "control_normalisation": "all",
    "control_scope": "head",
}
CORRECTION = {
    "proximal_mu": "fedprox",
    "fedadamw_gamma": "fedadamw",
    "fedlada_alpha": "fedlada",
    "fedsmoo_rho": "fedsmoo",
    "fedsmoo_lambda": "fedsmoo",
    "fedglomo_beta": "fedglomo",
}
every = pytest.mark.parametrize("name", METHODS)


def settings(name: str, head: str = "trained", **values: object) -> Settings:
    chosen = Settings()
    if find(name).whole_model or not find(name).trains:
        head = "auto"
    chosen = replace(
        chosen,
        run=replace(chosen.run, strategy=name),
        head=replace(chosen.head, head=head),
    )
    for group in ("model", "method"):
        part = getattr(chosen, group)
        there = {f.name for f in fields(part)} & set(values)
        given = {key: values[key] for key in there}
        chosen = replace(chosen, **{group: replace(part, **given)})
    return chosen


def refused(name: str, **values: object) -> dict[str, str]:
    return problems(settings(name, **values))


@every
def test_every_strategy_takes_the_defaults(name):
    for head in ("auto", "trained"):
        assert refused(name, head=head) == {}
    words = refused(name, head="auto", task="causal-lm")
    assert words == {} or name == "linear-probe"


@every
@pytest.mark.parametrize("key", OTHER)
def test_settings_of_another_method_are_refused(name, key):
    beside = {"cut": "product"} if key in ("residual", "init_gain") else {}
    beside = beside if name == "ilora" else {}
    found = refused(name, **{key: OTHER[key]}, **beside)
    dashed = key.replace("_", "-")
    assert set(found) == (set() if key in OWN.get(name, ()) else {dashed})
    for text in found.values():
        assert text.startswith(f"{dashed} = {OTHER[key]!r}: is not used, as ")


def test_every_setting_of_a_method_is_under_test():
    keys = {f.name for f in fields(MethodSettings)} | {"init_gain"}
    # The server's step is every method's: tests/test_server_step.py.
    step = {"server_rate", "server_momentum"}
    other = {"drift_correction", "moment_sync", *CORRECTION}
    assert keys == {*OTHER, *CONTROL, *step, *other}


@pytest.mark.parametrize("key", CONTROL)
@pytest.mark.parametrize("name", ["ilora", "fedit", "flora"])
def test_control_settings_need_control_variates(name, key):
    values = {key: CONTROL[key], "drift_correction": "none"}
    dashed = key.replace("_", "-")
    assert refused(name, **values) == {
        dashed: f"{dashed} = {CONTROL[key]!r}: is not used, as drift-correction is not "
        "control-variates"
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [("control_basis", "rotate"), ("control_normalisation", "all")],
)
def test_the_head_alone_has_no_basis_and_no_ranks(key, value):
    dashed = key.replace("_", "-")
    found = refused("ilora", control_scope="head", **{key: value})
    assert set(found) == {dashed}
    assert "every member holds the head" in found[dashed]


def test_numbers_that_mean_the_same_are_the_same():
    assert refused("fedsa-lora", server_rate="1.0") == {}
    assert "server-rate" in refused("fedsa-lora", server_rate="2")


@pytest.mark.parametrize("name", ["ilora", "flora"])
def test_a_language_model_has_no_head_to_correct(name):
    values = {"drift_correction": "control-variates", "control_scope": "head"}
    found = refused(name, task="causal-lm", **values)
    assert "has no head that is trained" in found["control-scope"]
    saved = {"modules_to_save": "lm_head"}
    assert refused(name, task="causal-lm", **saved, **values) == {}


@pytest.mark.parametrize(
    ("name", "limit"),
    [("centralized", {"min_replies": 2}), ("local", {"max_update_norm": 3.0})],
)
def test_limits_that_a_bound_cannot_have(name, limit):
    chosen = settings(name)
    chosen = replace(chosen, limits=replace(chosen.limits, **limit))
    (key,) = limit
    assert set(problems(chosen)) == {key.replace("_", "-")}


SCOPES = {
    "flora": ({"head"}, "would be reset every round: control-scope = 'head'"),
    "fedgalore": ({"head"}, "projectors that change, so a control variate"),
    "fedavg-full": ({"all"}, "no factors apart from a head: control-scope = 'all'"),
    "centralized": (set(), "centralized has one client, and no drift to correct"),
    "linear-probe": (set(), "trains nothing, and has no drift to correct"),
    "local": (set(), "share nothing, so there is nothing to drift from"),
}


@every
@pytest.mark.parametrize("scope", ["all", "head", "factors"])
def test_control_variates_are_refused_where_they_make_no_sense(name, scope):
    right, sentence = SCOPES.get(name, ({"all", "head", "factors"}, ""))
    found = refused(name, drift_correction="control-variates", control_scope=scope)
    if scope in right:
        assert found == {}
        return
    key = "control-scope" if right else "drift-correction"
    assert set(found) == {key}
    assert sentence in found[key]


@every
def test_only_ilora_and_fedit_start_from_qr(name):
    found = refused(name, initialisation="qr")
    if name in ("ilora", "fedit"):
        assert found == {}
        assert refused(name, initialisation="qr", init_gain="scaled") == {}
    else:
        assert found == {
            "initialisation": "initialisation = 'qr': expected auto or standard, as "
            f"{name} has no other start"
        }


def test_settings_that_depend_on_another():
    assert "residual is not merge" in refused("ilora", residual_energy=0.5).pop(
        "residual-energy"
    )
    merge = {"residual_energy": 0.5, "residual": "merge"}
    assert refused("ilora", **merge, cut="product", aggregate="products") == {}
    assert "of which it keeps what is cut away" in refused("ilora", **merge)["residual"]
    standard = refused("ilora", initialisation="standard", init_gain="scaled")
    assert "initialisation is not qr" in standard["init-gain"]
    plain = refused("flexlora", control_basis="rotate")
    assert "drift-correction is not control-variates" in plain["control-basis"]
    on = {"drift_correction": "control-variates"}
    assert refused("flexlora", control_basis="rotate", **on) == {}
    assert "control-basis" in refused("fedit", control_basis="rotate", **on)


def test_what_the_server_cannot_follow_is_refused():
    start = {"initialisation": "qr", "init_gain": "scaled"}
    found = refused("ilora", control_basis="rotate", **start)
    assert "in coordinates of its own" in found["control-basis"]
    assert not refused("ilora", control_basis="rotate")
    assert not refused("ilora", **start)


def test_private_adapters_go_with_what_trains_adapters():
    for name in METHODS:
        trains = find(name).trains and not find(name).whole_model
        found = refused(name, private_rank=2, private_weight=0.5)
        assert found == {} if trains else "private-rank" in found, name
    for correction in ("fedsmoo", "fedglomo"):
        found = refused("fedit", private_rank=2, drift_correction=correction)
        assert "takes several passes" in found["private-rank"]
    chosen = settings("ilora", private_rank=2)
    many = replace(chosen.training, clients_per_batch=3)
    assert "clients-per-batch" in problems(replace(chosen, training=many))
    alone = refused("ilora", private_weight=0.5)
    assert alone["private-weight"].endswith("as private-rank is 0")
