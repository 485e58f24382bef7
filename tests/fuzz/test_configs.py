"""Any run config is read, or all of its mistakes are told at once, and at once."""

import time
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ilora_app import methods
from ilora_app.cli import run_checks
from ilora_app.cli.run_request import Request, RequestError
from ilora_app.federation import validity
from ilora_app.launch.paths import CONFIGS
from ilora_app.node import config as node_config
from ilora_app.server import preflight
from ilora_app.settings import Settings, parsing
from ilora_app.settings.parsing import ConfigError
from tests.fuzz.damage import damage, damages
from tests.fuzz.lies import FLOATS, INTEGERS, TEXTS

DEFAULTS = parsing.dump(Settings())
KEYS = sorted(DEFAULTS)
SECONDS = 1.0
LONGEST = 1000
"""Of one mistake."""

HUGE = st.sampled_from([10**400, -(10**400), 2**64, -(2**63) - 1])
WORDS = st.sampled_from(
    [
        "auto", "all", "none", "ridge", "control-variates", "1,2", "1" * 5000, "²",
        "١,٢", "nan", "1e999", "-1", "a,b,c", "~", "~nobody/x", "/proc/x",
        "/" + "a" * 300,
        "a/" * 3000, "$HOME", "os:system", "json:loads", "a" * 100_000, "latest",
        "\ud800", "/dev/null/x",
    ]
)  # fmt: skip
SCALARS = st.one_of(
    INTEGERS, FLOATS, HUGE, TEXTS, WORDS, st.booleans(), st.none(), st.dates(),
    st.binary(max_size=5), st.sampled_from([*methods.METHODS, "package:Class"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=5,
)


def of_its_kind(key: str) -> st.SearchStrategy[tuple[str, Any]]:
    """A key with a value of the right type, which may be right."""
    kinds = {bool: st.booleans(), int: INTEGERS, float: FLOATS, str: WORDS | TEXTS}
    choices = next(e for _, k, e in parsing.options() if k == key).metadata["choices"]
    right = st.sampled_from(choices) if choices else kinds[type(DEFAULTS[key])]
    return st.tuples(st.just(key), right)


PAIRS = st.one_of(
    st.tuples(st.sampled_from(KEYS), VALUES),
    st.sampled_from(KEYS).flatmap(of_its_kind),
    st.tuples(TEXTS | WORDS, VALUES),
)
CONFIGS_ = st.lists(PAIRS, max_size=12).map(dict)


def one_line(text: str) -> None:
    assert text.isprintable(), text
    assert len(text) < LONGEST, len(text)


@example(config={"learning-rate": 10**400})
@given(config=CONFIGS_)
def test_a_config_is_read_or_every_mistake_is_told(config):
    begun = time.process_time()
    found, problems = methods.parse(config)
    refused = validity.problems(found) if "strategy" not in problems else {}
    asked = run_checks.folders(found)
    assert time.process_time() - begun < SECONDS
    assert repr(methods.parse(config)) == repr((found, problems)), "of its input alone"
    for problem in [*problems.values(), *refused.values(), *asked]:
        one_line(problem)
    assert set(problems) <= set(config)
    str(ConfigError(list(problems.values())))
    method = {"strategy": config["strategy"]} if "strategy" in config else {}
    for key, value in config.items():
        _, alone = methods.parse({**method, key: value})
        assert (key in alone) == (key in problems), "every mistake is told"


@settings(max_examples=15)
@given(
    changes=st.lists(st.sampled_from(KEYS).flatmap(of_its_kind), max_size=2).map(dict)
)
def test_what_the_server_finds_before_round_1(tiny_config, changes):
    # What looks like a name of the hub would be looked for there.
    for key in ("model", "dataset"):
        if key in changes:
            changes[key] = f"/{changes[key]}"
    with suppress(ConfigError):
        preflight.prepare({**tiny_config, **changes})


@example(pairs=["seed=" + "9" * 5000], options={})
@example(pairs=["seed=" + "[" * 5000], options={})
@given(
    pairs=st.lists(
        st.tuples(st.sampled_from(KEYS) | TEXTS, TEXTS | WORDS | FLOATS.map(str)).map(
            "=".join
        ),
        max_size=5,
    ),
    options=CONFIGS_,
)
def test_words_of_a_command_are_read_or_refused(pairs, options):
    resolved(Request(pairs=tuple(pairs), options=options))


PRESETS = sorted(CONFIGS.glob("*.toml"))


@example(file=PRESETS[0], damages=[], more=b"\nseed = 0x" + b"f" * 5000)
@example(file=PRESETS[0], damages=[], more=b"\nx = " + b"[" * 9000)
@example(file=PRESETS[0], damages=[], more=b"\nlearning-rate = " + b"9" * 400)
@given(
    file=st.sampled_from(PRESETS),
    damages=damages(),
    more=st.sampled_from([b"", b"\n[table]\na = 1\n", b"\nseed = 1979-05-27\n"]),
)
def test_a_file_of_settings_is_read_or_refused(tmp_path_factory, file, damages, more):
    place = tmp_path_factory.mktemp("preset") / "job.toml"
    place.write_bytes(damage(file.read_bytes() + more, damages))
    resolved(Request(preset=str(place)))


def resolved(request: Request) -> None:
    begun = time.process_time()
    try:
        request.resolve()
    except RequestError as error:
        head, *mistakes = str(error).splitlines()
        assert head.startswith("the command has ")
        assert mistakes
        for mistake in mistakes:
            assert mistake.startswith("  - ")
            one_line(mistake)
    assert time.process_time() - begun < SECONDS


@given(config=st.dictionaries(st.sampled_from([*node_config.KEYS]) | TEXTS, VALUES))
def test_the_config_of_a_node_is_right_or_told_what_is_wrong(config):
    for texts in node_config.problems(config):
        for text in texts:  # for its own log, and for others
            one_line(text)
