"""Two clients on quadratics of unequal curvature, under any drift correction."""

import torch
from flwr.app import RecordDict

from ilora_app.corrections import Holder, Returned, client_half, server_half
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.node.client_state import ClientState
from ilora_app.settings import MethodSettings

RATE, RHO, LAMBDA, BETA = 0.1, 0.2, 0.3, 0.4
NAME, NOTHING = "head.w", LoraFactors({})
TARGETS = {1: [3.0, 1.0], 2: [-1.0, 4.0]}
CURVES = {1: 1.0, 2: 2.0}
WEIGHTS = {1: 0.25, 2: 0.75}
HOLDERS = [Holder(1, 1, 25.0), Holder(2, 1, 75.0)]


def f64(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def state(value: torch.Tensor) -> AdapterState:
    return AdapterState(NOTHING, {"w": value})


def gradient_of(node: int, theta: torch.Tensor) -> torch.Tensor:
    return CURVES[node] * (theta - f64(*TARGETS[node]))


class Federation:
    """Two clients, two steps of SGD each, on quadratics of unequal curvature."""

    def __init__(self, **settings):
        self.server = server_half(MethodSettings(**settings))
        self.theta, self.number = f64(1.0, -2.0), 0
        self.server.begin(state(self.theta))
        self.noise, self.seed = None, 0
        self.memories = {node: ClientState(RecordDict()) for node in TARGETS}

    def round(self, steps: int = 2, replies=(1, 2)) -> torch.Tensor:
        self.number += 1
        down = self.server.broadcast(HOLDERS, NOTHING)
        sent = {} if down is None else down.named_tensors()
        ends, uploads = {}, {}
        for node in TARGETS:
            half = client_half(
                MethodSettings(),
                self.server.facts(),
                sent,
                state(self.theta),
                [NAME],
                self.memories[node],
                self.number,
                self.server.last_taken(node),
            )
            ends[node] = self.local(half, node, self.theta, steps)
            again = half.again()
            if again is not None:
                end = self.local(half, node, again.head["w"], steps)
                half.trained_again(state(end))
            uploads[node] = half.finish()
        weights = {n: w for n, w in WEIGHTS.items() if n in replies}
        weights = {n: w / sum(weights.values()) for n, w in weights.items()}
        moved = {n: {NAME: ends[n] - self.theta} for n in weights}
        taken = {n: uploads[n] for n in weights}
        self.server.aggregate(Returned(self.number, taken, NOTHING, (), moved, weights))
        mean = self.theta + sum(w * moved[n][NAME] for n, w in weights.items())
        self.theta = self.server.step(state(self.theta), state(mean)).head["w"]
        return self.theta

    def local(self, half, node, start, steps):
        own = start.clone().requires_grad_()
        run = half.gradient({NAME: own})
        if self.noise:  # the same batches from wherever the client trains
            self.noise.manual_seed(10 * self.seed + node)
        batch = torch.zeros_like(start)

        def backward():
            gap = own - f64(*TARGETS[node]) - batch
            loss = 0.5 * CURVES[node] * gap.square().sum()
            loss.backward()
            return loss

        for _ in range(steps):
            if self.noise:
                batch = torch.randn(1, 2, generator=self.noise, dtype=start.dtype)
            own.grad = None
            (run or (lambda once: once()))(backward)
            with torch.no_grad():
                own -= RATE * own.grad
        return own.detach()


def plain(theta, rounds, steps=2):
    for _ in range(rounds):
        ends = {}
        for node in TARGETS:
            own = theta
            for _ in range(steps):
                own = own - RATE * gradient_of(node, own)
            ends[node] = own
        theta = sum(p * ends[node] for node, p in WEIGHTS.items())
    return theta
