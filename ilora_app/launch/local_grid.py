"""A Flower Grid that runs the ClientApp in this process, one node after the other.

For tests, benchmarks, and stepping through a client with a debugger: the messages,
the handlers and the numbers are those of the simulation engine, without its processes.
"""

from collections.abc import Callable, Iterable, Sequence

from flwr.app import Context, Error, Message, MessageType, RecordDict
from flwr.app.user_config import UserConfig
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from ilora_app import wire

Together = Callable[[Sequence[tuple[Message, Context]]], list[Message]]


class LocalGrid(Grid):
    """Nodes 1..N in this process, each with its own ``context.state``.

    Args:
        app: the ClientApp that answers.
        run_config: as ``flwr run`` resolves it.
        nodes: how many; partition ids are dealt out in order.
        node_configs: added to the node config of a partition.
        train_together: answers the messages for TRAIN of as many nodes at a time as
            ``clients-per-batch`` says; None: ``app`` answers each.

    """

    def __init__(
        self,
        app: ClientApp,
        run_config: UserConfig,
        nodes: int,
        node_configs: dict[int, UserConfig] | None = None,
        train_together: Together | None = None,
    ) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id = 1, 1
        TaskIdentity.task_id = 1
        self._app = app
        self._together = train_together
        self._at_once = int(run_config.get("clients-per-batch", 1))
        self._contexts = {}
        for partition in range(nodes):
            node_config: UserConfig = {
                wire.PARTITION: partition,
                wire.PARTITIONS: nodes,
                **(node_configs or {}).get(partition, {}),
            }
            self._contexts[partition + 1] = Context(
                run_id=1,
                node_id=partition + 1,
                node_config=node_config,
                state=RecordDict(),
                run_config=dict(run_config),
            )

    def get_node_ids(self) -> Iterable[int]:
        """All nodes, always connected."""
        return list(self._contexts)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Let every node answer in turn; an exception becomes an error reply."""
        apart: list[Message] = []
        joint: list[Message] = []
        for message in messages:
            trains = message.metadata.message_type == MessageType.TRAIN
            together = self._together is not None and self._at_once > 1 and trains
            (joint if together else apart).append(message)
        # Who trains with whom must not hang on the order in which messages come.
        joint.sort(key=lambda message: message.metadata.dst_node_id)
        replies = [reply for one in apart for reply in self._answer([one])]
        for first in range(0, len(joint), self._at_once):
            replies += self._answer(joint[first : first + self._at_once])
        return replies

    def _answer(self, messages: list[Message]) -> list[Message]:
        pairs = []
        for message in messages:
            node = message.metadata.dst_node_id
            message.metadata.__dict__["_message_id"] = f"message-{node}"
            pairs.append((message, self._contexts[node]))
        try:
            if len(pairs) > 1 and self._together:
                replies = self._together(pairs)
            else:
                replies = [self._app(*pairs[0])]
        except Exception as error:  # as the simulation engine does
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            fault = Error(code=code, reason=str(error))
            replies = [Message(fault, reply_to=message) for message in messages]
        for message, reply in zip(messages, replies, strict=True):
            reply.metadata.__dict__["_src_node_id"] = message.metadata.dst_node_id
        return replies

    def set_run(self, run: Run) -> None:
        """Not needed: there is one run."""

    @property
    def run(self) -> Run:
        """Not available without a SuperLink."""
        raise NotImplementedError

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message; the same as calling ``Message``."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not available: messages are answered where they are sent."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not available: messages are answered where they are sent."""
        raise NotImplementedError
