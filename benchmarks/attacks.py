"""What hostile clients do to a model, with the limits on replies and without.

    python -m benchmarks.attacks --data DATA --out DIR [--attacks flip-1,...]
        [--limits on,off] [--seeds 0] [--hostile 1] [--every-round]

Eight clients, CLINC150's intents under Dirichlet 0.3, as in the main job; the last ones
lie in the middle round, or in every one. Finished runs are in DIR/attacks.jsonl.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from flwr.app import Message, MessageType
from torch import Tensor

from benchmarks import laboratory
from benchmarks.laboratory import CLIENTS, Config
from ilora_app import wire
from ilora_app.launch.local_grid import LocalGrid

Tensors = dict[str, Tensor]
Lie = Callable[[Tensors, Tensors], Tensors]
ROUNDS, MIDDLE = 8, 5


def _flip(times: float, only: str = "") -> Lie:
    """Go the other way: what was received less what was learned, times a factor."""

    def lie(received: Tensors, learned: Tensors) -> Tensors:
        return {
            n: received[n] - times * (v - received[n])
            if n in received and n.startswith(only)
            else v
            for n, v in learned.items()
        }

    return lie


def _noise(times: float) -> Lie:
    """Noise of a multiple of the size of what was learned, tensor by tensor."""

    def lie(received: Tensors, learned: Tensors) -> Tensors:
        generator = torch.Generator().manual_seed(0)
        found = {}
        for n, v in learned.items():
            begun = received.get(n, torch.zeros_like(v))
            noise = torch.randn(v.shape, generator=generator)
            found[n] = begun + times * noise * (v - begun).square().mean().sqrt()
        return found

    return lie


def _all(value: float) -> Lie:
    return lambda received, learned: {
        n: torch.full_like(v, value) for n, v in learned.items()
    }


ATTACKS: dict[str, Lie] = {
    "none": lambda received, learned: learned,
    "flip-1": _flip(1),
    "flip-5": _flip(5),
    "flip-20": _flip(20),
    "head-20": _flip(20, "head"),
    "noise-30": _noise(30),
    "all-100": _all(100.0),
    "all-1e15": _all(1e15),
    "all-1e30": _all(1e30),
    "examples": _flip(1),  # and claims 2^62 examples
    "correction-1e5": lambda received, learned: learned,  # of its control variate
}


class Hostile(LocalGrid):
    """A grid whose last nodes lie."""

    def __init__(
        self, *args: Any, attack: str, rounds: Iterable[int], hostile: int, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self.attack, self.rounds = attack, set(rounds)
        self.liars = set(range(CLIENTS - hostile + 1, CLIENTS + 1))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Answer, and have the liars lie in training."""
        sent = {m.metadata.dst_node_id: m for m in messages}
        replies = list(super().send_and_receive(sent.values(), timeout=timeout))
        for reply in replies:
            node = reply.metadata.src_node_id
            asked = sent[node]
            trains = asked.metadata.message_type == MessageType.TRAIN
            lies = trains and node in self.liars and reply.has_content()
            if lies and int(asked.content[wire.CONFIG][wire.ROUND]) in self.rounds:
                self._lie(asked, reply)
        return replies

    def _lie(self, asked: Message, reply: Message) -> None:
        content = reply.content
        received = wire.decode_tensors(asked.content[wire.ARRAYS])
        learned = wire.decode_tensors(content[wire.ARRAYS])
        lie = ATTACKS[self.attack](received, learned)
        content[wire.ARRAYS] = wire.encode_tensors(lie)
        if self.attack == "examples":
            content[wire.METRICS][wire.EXAMPLES] = 2**62
        if self.attack == "correction-1e5":
            held = wire.decode_tensors(content[wire.CORRECTION])
            far = {n: torch.full_like(v, 1e5) for n, v in held.items()}
            content[wire.CORRECTION] = wire.encode_tensors(far)


OFF: Config = {"max-norm-ratio": 0.0, "max-examples-ratio": 0.0}


def config_of(attack: str, limits: str, seed: int, data: Path, cache: Path) -> Config:
    """The run config of a run."""
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
        **(OFF if limits == "off" else {}),
    }


def table(runs: Iterable[Config]) -> list[str]:
    """Lines of Markdown: final accuracy by attack, with the limits and without."""
    found = {tuple(run["run"]): run["accuracy"] for run in runs}
    lines = ["| attack | hostile | rounds | limits on | limits off |", "|---" * 5 + "|"]
    kinds = dict.fromkeys((a, s, h, r) for a, _, s, h, r in found)
    for attack, seed, hostile, rounds in sorted(
        kinds, key=lambda k: (*k[2:], [*ATTACKS].index(k[0]))
    ):
        cells = [
            f"{end:.3f}" if isinstance(end, float) else str(end or "not run")
            for limits in ("on", "off")
            for end in [found.get((attack, limits, seed, hostile, rounds))]
        ]
        head = f"{attack} | {hostile} of {CLIENTS} | {rounds} of {ROUNDS}"
        lines.append(f"| {head} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Run what is missing, and print a row each, and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--attacks", default=",".join(ATTACKS))
    parser.add_argument("--limits", default="on,off")
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
            for limits in given.limits.split(","):
                run = [attack, limits, seed, given.hostile, len(rounds)]
                if run in done:
                    continue
                config = config_of(attack, limits, seed, given.data, given.out / "data")
                how = {"attack": attack, "rounds": rounds, "hostile": given.hostile}
                try:
                    found = laboratory.run(config, make_grid=partial(Hostile, **how))
                    end = found["rows"][-1].get("accuracy")
                except Exception as error:  # a run that an attack has ended
                    end = f"{type(error).__name__}: {error}"[:200]
                with file.open("a") as out:
                    out.write(json.dumps({"run": run, "accuracy": end}) + "\n")
                print(run, end, flush=True)
    print("\n".join(table(map(json.loads, file.read_text().splitlines()))))


if __name__ == "__main__":
    main()
