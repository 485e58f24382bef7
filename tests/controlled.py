"""Both halves of control variates over rounds, on gradients that are given."""

import torch
from flwr.app import RecordDict

from ilora_app.corrections import ControlVariates, ControlVariatesClient
from ilora_app.node.client_state import ClientState
from tests.builders import random_state


class Federation:
    """Clients with given raw gradients, over rounds; replies can be lost."""

    def __init__(self, ranks, adapter, basis="keep", **settings):
        self.server = ControlVariates(basis=basis, **settings)
        self.server.begin(adapter)
        self.ranks, self.adapter, self.basis = list(ranks), adapter, basis
        self.memories = [ClientState(RecordDict()) for _ in ranks]
        self.number = 0

    def join(self, rank):
        self.ranks.append(rank)
        self.memories.append(ClientState(RecordDict()))

    def round(self, gradients, lost=(), new=None):
        """One round; returns what each client's hook added to its gradient."""
        self.number += 1
        added, deltas, lost_states = [], {}, []
        for node, rank in enumerate(self.ranks):
            received, gradient = self.adapter.cut(rank), gradients[node]
            client = ControlVariatesClient(
                self.server.share(rank, self.ranks),
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
        new = new or self.adapter
        self.server.aggregate(
            self.number, deltas, self.adapter.factors, new.factors, lost_states
        )
        self.adapter = new
        return added


def gradient(rank, seed):
    return random_state(rank, seed=seed).named_tensors()


def largest(added):
    return max(float(v.abs().max()) for one in added for v in one.values())
