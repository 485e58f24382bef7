"""Sentences of a privacy page, for readers who know data protection and no training."""

from collections.abc import Mapping
from typing import Any

OPERATOR = (
    "whoever operates the server (the SuperLink and the ServerApp), and whoever can "
    "read that machine's memory and disks"
)
GUIDE = "docs/privacy.md of the program"
NOT_KNOWN = "not known to the run"

UNITS: dict[str, tuple[str, str, str]] = {
    "none": ("none", "none", "none"),
    "client": (
        "a node with all its data",
        "Renyi divergences of Gaussian mechanisms (Mironov 2017): Flower's "
        "RdpAccountant over Google's dp-accounting",
        "no amplification: that a node was not asked in a round takes nothing off",
    ),
    "record": (
        "a row of a node's data",
        "Renyi divergences of Poisson-sampled Gaussian mechanisms (Google's "
        "dp-accounting), by each node of its own rows; shown is the node that has "
        "spent most",
        "amplification by Poisson sampling: each step draws every row by itself, and "
        "nobody but the node knows which",
    ),
}
"""By ``dp``: the unit, the accountant, and what is assumed of sampling."""

_UPDATE = (
    "what a node has trained in a round (its factors and head, as far as the strategy "
    "shares them), its number of rows, its losses and accuracies"
)

_SHARES = (
    "Each node adds a share of the noise before it masks: what the server opens is "
    "noised already."
)


def seen(config: Mapping[str, Any]) -> list[str]:
    """What of a single node's update can be seen, and by whom."""
    if config.get("secure-aggregation"):
        return [
            "Nobody sees what a single node has trained: it leaves the node masked, "
            "and the server opens sums over the nodes of a round alone.",
            "This holds against an operator that follows the protocol, together with "
            "less than a third of a round's nodes. Against one that does not, it holds "
            "for nodes that were started with secure-key and secure-roster, and that "
            "run no program but one that they have checked, as long as the models that "
            "it sends are not made up to tell of single nodes. Which nodes do is "
            f"{NOT_KNOWN}.",
            "The server does see that a node takes part, when it answers, its rank, "
            "whether it dropped out, and that it refused.",
        ] + ([_SHARES] if config.get("dp") == "client" else [])
    found = [f"In each round {OPERATOR} can see, of every node: {_UPDATE}."]
    if config.get("drift-correction") == "control-variates":
        found.append(
            "With it comes the node's control variate, a mean gradient of its data. Of "
            "few rows it tells much of each."
        )
    if config.get("head") == "ridge":
        found.append(
            "For the solved head each node sends sums over its rows, with the exact "
            "number of its rows of each class."
        )
    if config.get("dp") == "client":
        found.append(
            "Noise is added by the server: it protects the models from those who get "
            "them, and no update from the operator."
        )
    if config.get("dp") == "record":
        found.append(
            "What they see was noised on the node: no single row can be told from it "
            "beyond epsilon, whatever else they know. Of the node as a whole it tells."
        )
    return found


def cohort(config: Mapping[str, Any]) -> str:
    """How few nodes a model may be made of."""
    if config.get("secure-aggregation"):
        least = config.get("secure-min-nodes")
        return (
            f"No sum over fewer than {least} nodes is opened, nor without more than "
            "two thirds of the nodes that began the round. A node may ask for more."
        )
    least = config.get("min-replies")
    return (
        f"A round is used with {least} or more answers (min-replies). With one answer "
        "the model of that round is what one node sent."
    )


def unprotected(config: Mapping[str, Any]) -> list[str]:
    """What this run protects from nobody."""
    secure, private = config.get("secure-aggregation"), config.get("dp") != "none"
    found = []
    if not secure:
        found.append(f"Single updates of nodes: they are open to {OPERATOR}.")
    if private:
        plain = "Losses and accuracies of nodes, and which nodes take part"
        if config.get("dp") == "record":
            plain = (
                "How many rows a node has, how long it trains, and that it takes part"
            )
        found += [
            f"{plain}: that gets no noise.",
            "Other runs on the same nodes: their epsilons add up.",
        ]
    else:
        found += [
            "The model itself: nothing is noised. Whoever has it may find out whether "
            "a record was trained on, and parts of what was.",
        ]
    if secure:
        found += [
            "Sums over few nodes, and rounds whose nodes differ by one: they tell of "
            "single nodes.",
            "Nodes from an operator that makes up models: of directions that one alone "
            "trains, a sum may be its update alone.",
            "The model from a lying node: norms are checked by each node itself, and "
            "nobody can tell who lies.",
        ]
    found += [
        "Nodes' machines: whoever can read them reads their data.",
        "Nodes from the program: the operator's run brings it to them, unless their "
        "SuperNodes accept signed programs alone.",
        "What people later enter into the model.",
    ]
    return found


TRANSPORT = (
    f"Whether connections are encrypted (TLS) is {NOT_KNOWN}: see how the SuperLink "
    "and the SuperNodes were started, and docs/deploy.md."
)
_KEYS = (
    "Nodes are known by the keys that their SuperNodes sign requests with. Whether the "
    "SuperLink takes registered keys alone (SuperNode authentication) is "
    f"{NOT_KNOWN}: see docs/deploy.md."
)
_SAID = (
    "A node is taken for who it says it is: in a simulation all are parts of one "
    "process, and elsewhere this is no proof of identity."
)


def identity(names: list[str]) -> str:
    """How nodes were known, by the names that they had."""
    by_key = [name.startswith("key-") for name in names]
    if not by_key:
        return "No node has taken part yet."
    if all(by_key):
        return _KEYS
    return f"{_KEYS} Some have none, and are who they say." if any(by_key) else _SAID


def stored(config: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """What a run folder may hold: name, what is in it, whether erasing removes it."""
    secure = config.get("secure-aggregation")
    corrected = config.get("drift-correction") not in ("none", "fedprox", None)
    sums = "sums over nodes" if secure else "state of the drift correction"
    by_node = "nodes and their ranks" if secure else (
        "nodes, their ranks, numbers of rows, losses and accuracies"
    )  # fmt: skip
    found = [
        ("adapter*", "the model that was learned, also cut to smaller ranks", False),
        ("model", "the model that was learned, all its weights", False),
        ("best", "the model of the best round", False),
        (
            "checkpoints",
            "what the server needs to go on: the model"
            + (f", {sums}" if corrected else ""),
            True,
        ),
        ("parts", "for each node what the correction holds of it: gradients", True),
        ("events.jsonl", f"what happened: {by_node}, hashes of messages", False),
        ("metrics.csv", "a row for each round: means over nodes", False),
        ("classes.csv", "scores by class, of the server's own test split", False),
        ("confusion.csv", "what was taken for what, of the same rows", False),
        ("report.html", f"the run as plots and tables: {by_node}", False),
        ("flwr.log", "what Flower and the run have said: nodes, reasons", False),
        ("membership.*", "the result of the membership test", False),
    ]
    if config.get("dp") == "client":
        found.append(("releases.json", "how many models have been released", False))
    return found if corrected and not secure else [f for f in found if f[0] != "parts"]
