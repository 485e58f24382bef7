"""The frozen layers below the first adapted one: what they compute never changes.

With factors in the layers from number n on, what layer n gets of an example,

    h_n(x) = layer_{n-1}( ... layer_0(embed(x))),

depends on nothing that is trained, and can be kept instead of being computed again.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

BELOW = "below"
"""Key of h_n in a batch: shape (batch, length, width)."""

_NUMBERED = re.compile(r"(.*?)\.(\d+)\.")


class _ReachedError(Exception):
    """Raised where the first adapted layer would begin."""


class FrozenLayers:
    """Layers 0 to n - 1 of a model, for n >= 1.

    Args:
        model: whose ``forward`` runs them.
        layers: in order.
        trained: modules that are trained whole; what runs behind one of them changes.

    Attributes:
        random: they compute something else in training: dropout.

    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[nn.Module],
        trained: Sequence[nn.Module],
    ) -> None:
        self._model, self._layers, self._trained = model, layers, trained
        self.random = _drops(model)

    @classmethod
    def below(
        cls,
        model: nn.Module,
        adapted: Sequence[str],
        trained: Sequence[nn.Module],
    ) -> "FrozenLayers | None":
        """Find those below the first adapted layer; None where there are none.

        Args:
            model: with numbered layers in one list.
            adapted: names of the modules of ``model`` that have factors.
            trained: modules that are trained whole.

        """
        config = getattr(model, "config", None)
        if getattr(config, "use_weighted_layer_sum", False):
            return None  # what each of them gives goes into the answer
        found = [_NUMBERED.match(name) for name in adapted]
        places = {match[1] for match in found if match}
        if len(places) != 1 or not all(found):
            return None
        first = min(int(match[2]) for match in found if match)
        layers = model.get_submodule(places.pop())
        if not first or not isinstance(layers, nn.ModuleList):
            return None
        return cls(model, list(layers)[:first], trained)

    @torch.no_grad()  # not inference_mode: autograd could not save what comes out
    def compute(self, batch: Mapping[str, Tensor], options: Mapping[str, Any]) -> Any:
        """h_n of a batch as in evaluation; whatever the last of them gives out.

        None where something that is trained runs before it, such as embeddings.

        Args:
            batch: on the device of the model.
            options: further arguments of its ``forward``.

        """
        training, found = self._model.training, []
        changing: list[nn.Module] = []

        def keep(module: nn.Module, args: Any, output: Any) -> None:
            found.append(output)
            raise _ReachedError

        def note(module: nn.Module, args: Any) -> None:
            changing.append(module)

        handles = [module.register_forward_pre_hook(note) for module in self._trained]
        handles.append(self._layers[-1].register_forward_hook(keep))
        self._model.eval()
        try:
            self._model(**batch, **options)
        except _ReachedError:
            pass
        finally:
            for handle in handles:
                handle.remove()
            self._model.train(training)
        return None if changing else found[0]

    @contextmanager
    def given(self, hidden: Tensor) -> Iterator[None]:
        """Have them give out ``hidden`` without computing, for a while."""

        def nothing(x: Any = None, *args: Any, **kwargs: Any) -> Any:
            return hidden

        for layer in self._layers:
            layer.__dict__["forward"] = nothing
        try:
            yield
        finally:
            for layer in self._layers:
                del layer.__dict__["forward"]


def stop_dropout(config: Any) -> None:
    """Set every rate of dropout in a model's config to 0, those of its parts too."""
    for part in (config, *(getattr(config, n, None) for n in config.sub_configs)):
        for name, value in vars(part).items() if part is not None else ():
            number = isinstance(value, float | int) and not isinstance(value, bool)
            if number and "drop" in name:
                setattr(part, name, 0.0)


def _drops(model: nn.Module) -> bool:
    """Whether a model drops anything in training, apart from what goes into factors."""
    rates = [
        getattr(module, name)
        for path, module in model.named_modules()
        if "lora_dropout" not in path
        for name in vars(module)
        if name == "p" or "drop" in name
    ]
    return any(isinstance(rate, float | int) and rate for rate in rates)
