"""Both halves of control variates over rounds, on gradients that are given."""

import torch
from flwr.app import RecordDict

from ilora_app.corrections import (
    ControlVariates,
    ControlVariatesClient,
    Holder,
    Returned,
)
from ilora_app.node.client_state import ClientState
from tests.builders import random_state


class Federation:
    """Clients with given raw gradients, over rounds; replies can be lost."""

    def __init__(self, ranks, adapter, basis="keep", **settings):
        self.server = ControlVariates(basis=basis, **settings)
        self.server.begin(adapter)
        self.ranks, self.adapter, self.basis = list(ranks), adapter, basis
        self.memories = [ClientState(RecordDict()) for _ in ranks]
        self.examples = [1] * len(self.ranks)
        self.number = 0

    def control(self):
        """c at r_max, for the factors that are broadcast next."""
        holders = map(Holder, range(len(self.ranks)), self.ranks, self.examples)
        return self.server.broadcast(list(holders), self.adapter.factors)

    def join(self, rank):
        self.ranks.append(rank)
        self.examples.append(1)
        self.memories.append(ClientState(RecordDict()))

    def round(self, gradients, lost=(), new=None):
        """One round; returns what each client's hook added to its gradient."""
        self.number += 1
        added, deltas, lost_states = [], {}, []
        control = self.control()
        for node, rank in enumerate(self.ranks):
            received, gradient = self.adapter.cut(rank), gradients[node]
            client = ControlVariatesClient(
                control.cut(rank).named_tensors(),
                received.factors,
                self.memories[node],
                self.basis,
                self.number,
                self.server.last_taken(node),
            )
            parameters = {
                name: torch.nn.Parameter(value.clone())
                for name, value in received.named_tensors().items()
            }
            hook = client.hook(parameters)
            for name, parameter in parameters.items():
                parameter.grad = gradient[name].clone()
            hook(torch.optim.SGD(parameters.values(), lr=0.1))
            added.append({n: p.grad - gradient[n] for n, p in parameters.items()})
            delta = client.finish()
            if node not in lost:
                deltas[node] = delta
                lost_states += [node] * client.lost
        received = self.adapter.factors
        self.server.aggregate(Returned(self.number, deltas, received, lost_states))
        self.adapter = new or self.adapter
        return added


def control_of(strategy):
    """c at r_max of a strategy with all of its members, for its present model."""
    holders = [
        Holder(m.node_id, m.rank, m.examples) for m in strategy.membership.members
    ]
    factors = strategy.state.adapter.factors
    whole = strategy.method.share(strategy.state, factors.rank).adapter.factors
    return strategy.drift_correction.broadcast(holders, whole).named_tensors()


def gradient(rank, seed):
    return random_state(rank, seed=seed).named_tensors()


def largest(added):
    return max(float(v.abs().max()) for one in added for v in one.values())
