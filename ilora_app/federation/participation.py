"""Who takes part in a round: seeded draws of members, blind to node ids."""

import random
from dataclasses import dataclass

from ilora_app.federation.member import Member


@dataclass(frozen=True)
class Participation:
    """How many members train and evaluate, by the names of Flower's FedAvg.

    Attributes:
        fraction_train, fraction_evaluate: part of the connected members.
        min_train_nodes, min_evaluate_nodes: at least so many, but never more than
            there are.
        min_available_nodes: so many nodes are waited for.
        seed: of the draws.

    """

    fraction_train: float = 1.0
    fraction_evaluate: float = 1.0
    min_train_nodes: int = 1
    min_evaluate_nodes: int = 1
    min_available_nodes: int = 2
    seed: int = 0

    def draw_train(self, members: list[Member], server_round: int) -> list[Member]:
        """Draw those that train in a round."""
        seed = f"{self.seed} train {server_round}"
        return _draw(members, self.fraction_train, self.min_train_nodes, seed)

    def draw_evaluate(self, members: list[Member], server_round: int) -> list[Member]:
        """Draw those that evaluate after a round."""
        seed = f"{self.seed} evaluate {server_round}"
        return _draw(members, self.fraction_evaluate, self.min_evaluate_nodes, seed)


def _draw(
    members: list[Member], fraction: float, least: int, seed: str
) -> list[Member]:
    """Draw members, and leave them in their order."""
    if fraction == 0.0:
        return []
    size = min(max(int(len(members) * fraction), least), len(members))
    drawn = random.Random(seed).sample(range(len(members)), size)
    return [members[i] for i in sorted(drawn)]
