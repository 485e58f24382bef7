"""What the study runs: settings, rows of every table, learning rates."""

from benchmarks.laboratory import TASKS, Config

RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
START = RATES[1:4]
SEEDS = 5
BEHIND, AFTER = 0.05, 2
PERSONAL = ("fedsa-lora", "local")
UNTRAINED = ("linear-probe",)  # rows without a rate
ROUNDS: Config = {
    "num-server-rounds": 12,
    "local-steps": 8,
    "batch-size": 16,
    "evaluate-every": 6,
    "head-refit-every": 6,
}
SETTINGS: dict[str, Config] = {
    "skewed": {"dirichlet-alpha": 0.1},
    "mild": {"dirichlet-alpha": 0.5},
    "equal ranks": {"dirichlet-alpha": 0.1, "client-ranks": "8"},
    # Three times the rounds, towards flat curves.
    "longer": {
        "dirichlet-alpha": 0.1,
        "num-server-rounds": 36,
        "evaluate-every": 12,
    },
    # And three times those, for language models.
    "longest": {
        "dirichlet-alpha": 0.1,
        "num-server-rounds": 108,
        "evaluate-every": 36,
    },
}
_PUBLISHED: Config = {"head": "trained", "head-refit-every": None}
_ILORA: Config = {"strategy": "ilora", "drift-correction": "none"}
# What a client's rank cannot hold is in nobody's base; the QR start of the paper.
_DROPPED: Config = {
    **_ILORA,
    "aggregate": "products",
    "residual": "drop",
    "initialisation": "qr",
}
_PAPER: Config = {**_ILORA, "cut": "product", "decomposition": "qr"}


def _plain(*names: str) -> dict[str, Config]:
    """Strategies by name, without a correction."""
    return {n: {"strategy": n, "drift-correction": "none"} for n in names}


_OTHERS = (
    "fedit",
    "flora",
    "ffa-lora",
    "lora-fair",
    "hetlora",
    "flexlora",
    "fedex-lora",
    "rolora",
    "lora-a2",
    "raflora",
    "fedrot-lora",
)
# Without a head that all share.
_PERSONAL: Config = {"drift-correction": "none", "head-refit-every": None}
_CORRECTIONS = (
    "control-variates",
    "fedprox",
    "fedadamw",
    "fedlada",
    "fedsmoo",
    "fedglomo",
    "fedzmg",
    "second-moments",
)
_WIRE: dict[str, Config] = {
    "": {},
    ", bfloat16 on the wire": {"wire-dtype": "bfloat16"},
    ", int8 on the wire": {"wire-dtype": "int8"},
}
# Rows that take the rate of another: what is asked is what changes at one rate.
RATE_OF = {name + suffix: name for name in ("ilora", "fedit") for suffix in _WIRE}
_NEED_A_BASIS = ("fedsmoo", "fedglomo")  # that lasts from round to round
_ANY_BASIS = tuple(c for c in _CORRECTIONS if c not in _NEED_A_BASIS)
TABLES: dict[str, dict[str, Config]] = {
    # All with the head solved, and the base without dropout.
    "strategies": {
        "ilora": _ILORA,
        **_plain(*_OTHERS),
        "fedgalore": {"strategy": "fedgalore"},
        "ilora, published cut": _PAPER,
        "ilora, rest dropped": _DROPPED,
    },
    # Models of clients' own, beside the one that all share, on the clients' own data.
    "personal": {
        "ilora": _ILORA,
        **_plain("fedit"),
        **{n: {"strategy": n, **_PERSONAL} for n in PERSONAL},
    },
    # Those that are level with the best, for what takes longer.
    "leaders": {
        "ilora": _ILORA,
        **_plain("fedit", "flora", "hetlora", "flexlora", "fedex-lora"),
        "fedgalore": {"strategy": "fedgalore"},
    },
    # Of those, the ones with three times the rounds, in the setting "longer",
    # and of language models in "longest".
    "rounds": {"ilora": _ILORA, **_plain("fedit", "flora")},
    "corrections": {
        "ilora": _ILORA,
        **{f"ilora + {c}": {**_ILORA, "drift-correction": c} for c in _ANY_BASIS},
        "ilora, rest dropped": _DROPPED,
        **{
            f"ilora, rest dropped + {c}": {**_DROPPED, "drift-correction": c}
            for c in _ANY_BASIS
        },
        **_plain("fedit"),
        **{
            f"fedit + {c}": {"strategy": "fedit", "drift-correction": c}
            for c in _CORRECTIONS
        },
    },
    # In which numbers the factors travel.
    "wire": {
        name + suffix: {**row, **dtype}
        for name, row in {"ilora": _ILORA, **_plain("fedit")}.items()
        for suffix, dtype in _WIRE.items()
    },
    # What fine-tuning adds on a task: three times the steps, on all data in one place.
    "headroom": {
        "linear-probe": {
            "strategy": "linear-probe",
            "num-server-rounds": 1,
            "evaluate-every": 1,
            "head-refit-every": None,
        },
        "centralized": {**_plain("centralized")["centralized"], "local-steps": 24},
    },
    # The strategies as published: a head that is trained, the published cut.
    "published": {
        f"{name}, trained head": {**row, **_PUBLISHED}
        for name, row in {
            "ilora": {**_PAPER, "drift-correction": "control-variates"},
            **_plain(*_OTHERS),
        }.items()
    },
    # The steps of the paper, one by one.
    "ablation": {
        "fedit, trained head": {**_plain("fedit")["fedit"], **_PUBLISHED},
        "+ qr start": {
            **_plain("fedit")["fedit"],
            **_PUBLISHED,
            "initialisation": "qr",
        },
        "+ concatenated qr": {**_PAPER, **_PUBLISHED},
        "ilora, trained head": {
            **_PAPER,
            **_PUBLISHED,
            "drift-correction": "control-variates",
        },
    },
}


# Tables whose rows are compared with each other, the last ones too, or by more than
# the test split, on which they stop: they get all seeds.
TO_THE_END = {"ablation", "personal"}
# A language model has no head: what rows with a trained one are there.
HEADLESS = {
    "fedit, trained head": "fedit",
    "+ concatenated qr": "ilora, published cut",
}


def rows(table: str, task: str) -> dict[str, Config]:
    """Those of a table that a task has.

    A language model has no linear probe, and of models of clients' own no perplexity.
    """
    language = TASKS[task].get("task") == "causal-lm"
    return {
        HEADLESS.get(name, name) if language else name: row
        for name, row in TABLES[table].items()
        if not (language and (name in UNTRAINED or row.get("strategy") in PERSONAL))
    }
