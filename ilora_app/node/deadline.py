"""The deadline of a client's round, by its clock or by the speed of a simulation."""

from collections.abc import Mapping

from torch import nn

from ilora_app.lora.factors import group_of
from ilora_app.node.node import Node
from ilora_app.settings.deadline import HEAD, parse_speeds
from ilora_app.tasks.deadline import Deadline, SimulatedDeadline, TimedDeadline


def deadline_of(
    node: Node, seconds: float, parameters: Mapping[str, nn.Parameter], seed: int
) -> Deadline:
    """Begin the time of a round.

    Args:
        node: this client; nodes with data of their own go by the clock.
        seconds: T.
        parameters: that train, by flat name, in the order of the model.
        seed: of this node in this round.

    """
    layers: dict[str, list[nn.Parameter]] = {}
    heads = []
    for name, parameter in parameters.items():
        if group_of(name) == HEAD:
            heads.append(parameter)
        else:
            layers.setdefault(name.rsplit(".", 1)[0], []).append(parameter)
    if heads:
        layers[HEAD] = heads
    speeds = parse_speeds(node.settings.deadline.simulated_speeds)
    if not speeds or node.data.path:
        return TimedDeadline(seconds, layers)
    speed = speeds[node.data.partition % len(speeds)]
    return SimulatedDeadline(seconds, layers, speed, seed)
