"""From a method to a Flower strategy whose constructor takes what both take."""

import inspect
from typing import Any, ClassVar

from ilora_app.federation.participation import Participation
from ilora_app.federation.strategy import LoraStrategy
from ilora_app.methods import ClientHalf, Method


class MethodStrategy(LoraStrategy):
    """A strategy that makes its own method: ``class Mine(MethodStrategy, method=M)``.

    Args:
        arguments: of the method's constructor, of Flower's FedAvg (``fraction_train``,
            ``min_train_nodes``, ...), and of
            :class:`~ilora_app.federation.strategy.LoraStrategy`.

    Attributes:
        client_half: what the method does on a client.

    Raises:
        TypeError: an argument that none of them takes.

    """

    client_half: ClassVar[type[ClientHalf]]
    _method: ClassVar[type[Method]]

    def __init_subclass__(cls, method: type[Method], **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._method, cls.client_half = method, method.client_half
        # What help() and editors show.
        cls.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
                for kind in (method, Participation, LoraStrategy)
                for parameter in inspect.signature(kind).parameters.values()
                if parameter.name not in ("method", "participation")
            ]
        )

    def __init__(self, **arguments: Any) -> None:
        def of(kind: type) -> dict[str, Any]:
            names = inspect.signature(kind).parameters
            return {name: arguments.pop(name) for name in names if name in arguments}

        method = self._method(**of(self._method))
        super().__init__(method, Participation(**of(Participation)), **arguments)
