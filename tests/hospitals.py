"""Nodes of unequal rank, each with data of its own, and what a run says of them."""

from pathlib import Path

from tests.deployment import Deployment, Run
from tests.own_processes import Started, wait

RANKS = {1: 4, 2: 8, 3: 16, 4: 8, 5: 4}
SIZES = {1: 90, 2: 110, 3: 70, 4: 100, 5: 30}


class Federation:
    """Three nodes of unequal rank that are there, and two that may come."""

    def __init__(self, real: Deployment, config: dict, data: Path) -> None:
        self.real, self.config, self.data = real, config, data
        self.nodes: dict[int, Started] = {}
        self.patience = 60.0

    def start(self, *numbers: int) -> None:
        for number in numbers:
            self.nodes[number] = self.real.start_node(number, self.own(number))

    def own(self, number: int) -> dict:
        """What a node is configured with: its data and the rank it can afford."""
        data = str(self.data / f"node-{number}")
        return {"data-path": data, "lora-rank": RANKS[number]}

    def run(self, name: str, rounds: int, **config) -> Run:
        given = self.config | {"num-server-rounds": rounds, "fraction-evaluate": 0.0}
        return self.real.run(given | config, name)

    def wait_until_it_trains(self, number: int, seen: int, run: Run) -> None:
        """Until a node has received one more training message than ``seen``."""
        wait(lambda: self.trainings(number) > seen, 400, "training", run.context)

    def trainings(self, number: int) -> int:
        return self.nodes[number].log.count("Receiving: train message")


def deal_out(rows: Path, data: Path) -> None:
    """Give every node a file of its own, in a folder of its own, of another size."""
    lines, used = rows.read_text().splitlines(), 0
    for number, size in SIZES.items():
        (data / f"node-{number}").mkdir(parents=True)
        own = lines[used : used + size]
        (data / f"node-{number}" / "train.jsonl").write_text("\n".join(own) + "\n")
        used += size


def held(run: Run) -> dict[int, int]:
    """Rank by number of examples, held out ones with them, of every node met."""
    return {e["examples"] + e["held_out"]: e["rank"] for e in run.events("member")}


def took_part(run: Run) -> list[tuple[int, int]]:
    """(clients whose reply was used, clients asked) of every round after the start."""
    rounds = [e for e in run.events("round") if e["round"]]
    return [(e.get("clients", 0), e["asked"]) for e in rounds]
