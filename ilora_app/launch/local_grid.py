"""A Flower Grid that runs the ClientApp in this process, one node after the other.

For tests, benchmarks, and stepping through a client with a debugger: the messages,
the handlers and the numbers are those of the simulation engine, without its processes.
"""

from collections.abc import Iterable

from flwr.app import Context, Error, Message, RecordDict
from flwr.app.user_config import UserConfig
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from ilora_app import wire


class LocalGrid(Grid):
    """Nodes 1..N in this process, each with its own ``context.state``.

    Args:
        app: the ClientApp that answers.
        run_config: as ``flwr run`` resolves it.
        nodes: how many; partition ids are dealt out in order.
        node_configs: added to the node config of a partition.

    """

    def __init__(
        self,
        app: ClientApp,
        run_config: UserConfig,
        nodes: int,
        node_configs: dict[int, UserConfig] | None = None,
    ) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id = 1, 1
        TaskIdentity.task_id = 1
        self._app = app
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
        return [self._answer(message) for message in messages]

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        message.metadata.__dict__["_message_id"] = f"message-{node}"
        try:
            reply = self._app(message, self._contexts[node])
        except Exception as error:  # as the simulation engine does
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            reply = Message(Error(code=code, reason=str(error)), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = node
        return reply

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
