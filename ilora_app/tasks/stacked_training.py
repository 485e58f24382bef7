"""Local training of several clients at once, as one batch on one frozen model.

A GPU is not filled by the small batches of one client: with the rows of many behind one
another the base is computed once for all. Every client keeps its own factors, loss,
gradient norm, and draws of examples, and ends where it would have ended alone.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ilora_app.corrections import StepHook
from ilora_app.lora.factors import AdapterState, Pair
from ilora_app.settings import TrainingSettings
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.examples import Batch, Examples
from ilora_app.tasks.models import ModelError
from ilora_app.tasks.optimizers import groups_of, make_optimizer, reaches_of
from ilora_app.tasks.row_checks import mixing_layer
from ilora_app.tasks.stacked_loss import StackedLosses
from ilora_app.tasks.stacked_model import StackedModel
from ilora_app.tasks.training import Outcome

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True)
class StackedClient:
    """One of the clients that train together.

    Attributes:
        start: what it trains from.
        offset: what the base gives up of the start, by module.
        examples: at least one.
        seed: of its batches.
        hook: makes its hook of the optimizer, given what it trains.
        penalties: make its terms of the loss, given what it trains.

    """

    start: AdapterState
    offset: Mapping[str, Pair]
    examples: Examples
    seed: int
    hook: Callable[[Parameters], StepHook | None] = lambda parameters: None
    penalties: Sequence[Callable[[Parameters], Callable[[], Tensor] | None]] = ()


def train(
    backbone: Backbone,
    clients: Sequence[StackedClient],
    settings: TrainingSettings,
    trained: Collection[str],
    head_rate: float = 1.0,
) -> list[tuple[Outcome, AdapterState]]:
    """Train clients for one round, each as :func:`ilora_app.tasks.training.train` does.

    Dropout is drawn for all rows together: where there is any, a client's numbers
    depend on with whom it trains.

    Args:
        backbone: with the base that they share installed.
        clients: in a fixed order; their batches are as many, and under rsLoRA they
            have one rank.
        settings: the same for all.
        trained: names of the parameters to train, at least one; others are frozen.
        head_rate: factor on the learning rate for the head.

    Returns:
        For each client what the round came to, and what it ends with. The seconds are
        its share of those of all.

    Raises:
        ModelError: a layer does not see the rows of one client behind the other's.
        ValueError: the numbers of their batches differ.

    """
    clock = time.perf_counter()
    check(backbone, clients[0].examples)
    torch.manual_seed(sum(client.seed for client in clients) % 2**63)
    model = StackedModel(
        backbone, [c.start for c in clients], [c.offset for c in clients]
    )
    parameters = {}
    for name, parameter in model.parameters.items():
        parameter.requires_grad_(name in trained)
        if name in trained:
            parameters[name] = parameter
    rslora = backbone.settings.use_rslora
    groups = groups_of(parameters, settings, head_rate, rslora)
    optimizer = make_optimizer(groups, settings)
    hooks = _hooks(model, clients, parameters, optimizer)
    terms = _terms(model, clients, parameters)
    loss_of = StackedLosses(
        backbone, [client.examples for client in clients], settings.logit_adjustment
    )
    backbone.model.train()
    draws = [
        _draws(client, settings, torch.Generator().manual_seed(client.seed))
        for client in clients
    ]
    totals = torch.zeros(len(clients), dtype=torch.float64, device=backbone.device)
    seen = [0] * len(clients)
    with model.installed():
        for batches in zip(*draws, strict=True):
            optimizer.zero_grad(set_to_none=True)
            sizes = [len(batch["labels"]) for batch in batches]
            losses = loss_of(batches)  # (K,)
            whole: Any = torch.stack([losses.sum(), *[term() for term in terms]]).sum()
            whole.backward()
            totals += losses.detach() * torch.tensor(sizes, device=backbone.device)
            seen = [n + size for n, size in zip(seen, sizes, strict=True)]
            for hook, size in zip(hooks, sizes, strict=True):
                if hook is not None:
                    hook.examples = size
            if settings.clip_grad_norm:
                _clip(parameters, settings.clip_grad_norm, rslora)
            optimizer.step()
    means = [total / n for total, n in zip(totals.tolist(), seen, strict=True)]
    found = [model.collect(k) for k in range(len(clients))]
    seconds = (time.perf_counter() - clock) / len(clients)
    return [
        (Outcome(client.examples.count, mean, seconds), state)
        for client, mean, state in zip(clients, means, found, strict=True)
    ]


def check(backbone: Backbone, examples: Examples) -> None:
    """Look whether clients can be stacked.

    Raises:
        ModelError: a layer sees something else than one row behind the other.

    """
    if layer := mixing_layer(backbone, examples, parts=True):
        raise ModelError.openly(
            f"clients-per-batch: {layer} of this model sees something else than the "
            "rows of a batch, one behind the other: expected 1"
        )


def _draws(
    client: StackedClient, settings: TrainingSettings, generator: torch.Generator
) -> Iterator[Batch]:
    """The batches of a client, as it would draw them alone."""
    size, steps, epochs = (
        settings.batch_size,
        settings.local_steps,
        settings.local_epochs,
    )
    for indices in client.examples.drawn(size, steps, epochs, generator):
        yield client.examples.batch(indices, generator)


def _hooks(
    model: StackedModel,
    clients: Sequence[StackedClient],
    parameters: Mapping[str, nn.Parameter],
    optimizer: Optimizer,
) -> list[StepHook | None]:
    """Each client's hook, over views of its own parameters and their gradients."""
    with torch.no_grad():
        views = [
            model.of(k, {name: p.detach() for name, p in parameters.items()})
            for k in range(len(clients))
        ]
    made = [c.hook(own) for c, own in zip(clients, views, strict=True)]
    if not any(made):
        return made

    def show_gradients(*_: Any) -> None:
        gradients = {n: p.grad for n, p in parameters.items() if p.grad is not None}
        for k, own in enumerate(views):
            for name, gradient in model.of(k, gradients).items():
                own[name].grad = gradient

    optimizer.register_step_pre_hook(show_gradients)
    for hook in made:
        if hook is not None:
            hook.attach(optimizer)
    return made


def _terms(
    model: StackedModel,
    clients: Sequence[StackedClient],
    parameters: Mapping[str, nn.Parameter],
) -> list[Callable[[], Tensor]]:
    """All clients' terms of the loss; the sum of all is trained, each by its own."""
    made = []
    for k, client in enumerate(clients):
        own = model.of(k, parameters)
        made += [term for make in client.penalties if (term := make(own))]
    return made


def _clip(parameters: Mapping[str, nn.Parameter], most: float, rslora: bool) -> None:
    """Scale down the gradient of every client whose norm is above the limit."""
    reaches = reaches_of(parameters, rslora)
    held = {n: p.grad for n, p in parameters.items() if p.grad is not None}
    gradients = list(held.values())
    squares = [
        reaches[n] ** 2 * g.flatten(1).square().sum(dim=1) for n, g in held.items()
    ]
    norms = torch.stack(squares).sum(dim=0).sqrt()  # (K,)
    scale = (most / (norms + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))
