"""What hostile clients do to a model: without limits, with them, and under ``robust``.

    python -m benchmarks.attacks --data DATA --out DIR [--attacks flip-1,...]
        [--protections on,off,krum,...] [--seeds 0,1,2] [--hostile 1] [--every-round]

Eight clients, CLINC150's intents under Dirichlet 0.3, as in the main job; the last ones
lie in the middle round, or in every one. ``on`` are the defaults, ``off`` is without
their limits, and a value of ``robust`` stands beside the defaults. Finished runs are in
DIR/attacks.jsonl.
"""

import argparse
import json
import statistics
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from flwr.app import Message, MessageType

from benchmarks import laboratory
from benchmarks.laboratory import CLIENTS, Config
from benchmarks.lies import LIES
from benchmarks.poison import poisoned, triggered
from ilora_app import methods, wire
from ilora_app.launch.local_grid import LocalGrid

ROUNDS, MIDDLE = 8, 5
POISONS = ("label-flip", "backdoor")
AWAY = "away"
"""Hostile nodes that answer nothing: what is lost with their data alone."""
ATTACKS = (*LIES, *POISONS, AWAY)
OFF: Config = {"max-norm-ratio": 0.0, "max-examples-ratio": 0.0}


class Hostile(LocalGrid):
    """A grid whose last nodes lie, or train on data that does."""

    def __init__(
        self,
        app: Any,
        run_config: Config,
        nodes: int,
        *,
        attack: str,
        rounds: Iterable[int],
        hostile: int,
        place: Path,
        **more: Any,
    ) -> None:
        self.attack, self.rounds = attack, set(rounds)
        self.liars = set(range(nodes - hostile + 1, nodes + 1))
        own = {}
        if attack in POISONS:
            settings = methods.load(run_config)
            for k in (node - 1 for node in self.liars):
                folder = poisoned(attack, settings, k, nodes, place)
                rank = settings.ranks[k % len(settings.ranks)]
                own[k] = {wire.DATA_PATH: str(folder), wire.RANK: rank}
        super().__init__(app, run_config, nodes, own, **more)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Answer, and have the liars lie in training."""
        sent = {m.metadata.dst_node_id: m for m in messages}
        replies = list(super().send_and_receive(sent.values(), timeout=timeout))
        if self.attack == AWAY:
            return [reply for reply in replies if not self._is_away(sent, reply)]
        for reply in replies:
            node = reply.metadata.src_node_id
            asked = sent[node]
            trains = asked.metadata.message_type == MessageType.TRAIN
            lies = trains and node in self.liars and reply.has_content()
            if lies and int(asked.content[wire.CONFIG][wire.ROUND]) in self.rounds:
                self._lie(asked, reply)
        return replies

    def _is_away(self, sent: dict[int, Message], reply: Message) -> bool:
        node = reply.metadata.src_node_id
        met = sent[node].metadata.message_type == MessageType.QUERY
        return node in self.liars and not met

    def _lie(self, asked: Message, reply: Message) -> None:
        if self.attack in POISONS:
            return
        content = reply.content
        received = wire.decode_tensors(asked.content[wire.ARRAYS])
        learned = wire.decode_tensors(content[wire.ARRAYS])
        lie = LIES[self.attack](received, learned)
        content[wire.ARRAYS] = wire.encode_tensors(lie)
        if self.attack == "examples":
            content[wire.METRICS][wire.EXAMPLES] = 2**62
        if self.attack == "correction-1e5":
            held = wire.decode_tensors(content[wire.CORRECTION])
            far = {n: torch.full_like(v, 1e5) for n, v in held.items()}
            content[wire.CORRECTION] = wire.encode_tensors(far)


def config_of(
    attack: str, protection: str, seed: int, data: Path, cache: Path
) -> Config:
    """The run config of a run."""
    protected = {"on": {}, "off": OFF}.get(protection, {"robust": protection})
    return {
        **laboratory.COMMON,
        **laboratory.task("clinc150", data, cache),
        "dirichlet-alpha": 0.3,
        "num-server-rounds": ROUNDS,
        "local-steps": 8,
        "evaluate-every": ROUNDS,
        "learning-rate": 0.003,
        "seed": seed,
        "drift-correction": "control-variates" if "correction" in attack else "none",
        **protected,
    }


def tables(runs: Sequence[Config]) -> list[str]:
    """Lines of Markdown: final accuracy by attack and protection, one table a setting.

    A cell is the mean over the seeds, and the worst where there are several; of a
    backdoor also the part of the test rows that its trigger turns.
    """
    lines = []
    kinds = dict.fromkeys(tuple(run["run"][3:]) for run in runs)
    for kind in sorted(kinds):
        found: dict[tuple[str, str], list[Config]] = {}
        for run in runs:
            attack, protection, _, *rest = run["run"]
            if tuple(rest) == kind:
                found.setdefault((attack, protection), []).append(run)
        columns = list(dict.fromkeys(protection for _, protection in found))
        hostile, rounds = kind
        lines += [
            "",
            f"{hostile} of {CLIENTS} hostile, {rounds} of {ROUNDS} rounds:",
            "",
            "| attack | " + " | ".join(columns) + " |",
            "|---" * (1 + len(columns)) + "|",
        ]
        for attack in ATTACKS:
            row = [found.get((attack, column), []) for column in columns]
            if any(row):
                lines.append(f"| {attack} | " + " | ".join(map(cell, row)) + " |")
    return lines[1:]


def cell(runs: Sequence[Config]) -> str:
    """What some seeds came to."""
    if not runs:
        return ""
    failed = [run["accuracy"] for run in runs if isinstance(run["accuracy"], str)]
    if failed:
        return failed[0]
    ends = [run["accuracy"] for run in runs]
    text = f"{statistics.fmean(ends):.3f}"
    if len(ends) > 1:
        text += f" (worst {min(ends):.3f})"
    turned = [run["triggered"] for run in runs if "triggered" in run]
    return text + (f", trigger {statistics.fmean(turned):.2f}" if turned else "")


def tried(run: Sequence[Any], rounds: Iterable[int], data: Path, out: Path) -> Config:
    """Run one; what it came to, or what ended it."""
    attack, protection, seed, hostile, _ = run
    config = config_of(attack, protection, seed, data, out / "data")
    how = {
        "attack": attack,
        "rounds": rounds,
        "hostile": hostile,
        "place": out / "data",
    }
    measure = triggered if attack == "backdoor" else None
    try:
        make = partial(Hostile, **how)
        found = laboratory.run(config, make_grid=make, measure=measure)
    except Exception as error:  # a run that an attack has ended
        return {"accuracy": f"{type(error).__name__}: {error}"[:200]}
    turned = {"triggered": found["measured"]} if measure else {}
    return {"accuracy": found["rows"][-1].get("accuracy"), **turned}


def main() -> None:
    """Run what is missing, and print a row each, and the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--attacks", default=",".join(ATTACKS))
    parser.add_argument("--protections", default="on,off")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--hostile", type=int, default=1)
    parser.add_argument("--every-round", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "attacks.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    done = [json.loads(line)["run"] for line in lines]
    rounds = range(1, ROUNDS + 1) if given.every_round else [MIDDLE]
    laboratory.be_polite()
    for seed in map(int, given.seeds.split(",")):
        for attack in given.attacks.split(","):
            for protection in given.protections.split(","):
                run = [attack, protection, seed, given.hostile, len(rounds)]
                if run in done:
                    continue
                found = tried(run, rounds, given.data, given.out)
                with file.open("a") as out:
                    out.write(json.dumps({"run": run, **found}) + "\n")
                print(run, found, flush=True)
    print("\n".join(tables([json.loads(x) for x in file.read_text().splitlines()])))


if __name__ == "__main__":
    main()
