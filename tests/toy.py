"""A federation on a quadratic problem: everything real but the transformer.

Clients take gradient steps on :class:`~tests.quadratic.Problem`. Strategies, messages,
records, memory and client halves are the app's.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from flwr.app import (
    ConfigRecord,
    Context,
    Error,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from torch import Tensor

from ilora_app import wire
from ilora_app.corrections import client_half
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.lora.factors import AdapterState, LoraFactors, only
from ilora_app.lora.initialisation import qr_directions, standard_factors
from ilora_app.node.instructions import Instructions
from ilora_app.node.packing import Packing, remembered
from ilora_app.settings import MethodSettings, TrainingSettings
from ilora_app.strategies import LoraStrategy
from tests.quadratic import HEAD, HEAD_SHAPE, SCALING, Dense, Problem, Taken, dense


class ToyGrid(LocalGrid):
    """Nodes that answer as ``client_app`` does, in this process.

    ``faults`` of a node in a round: ``absent`` (not connected), ``error`` (answers
    with an error and has done nothing), ``crash`` (an error after all of its work),
    ``lost`` (did its work, and the reply does not come).
    """

    def __init__(self, problem: Problem, strategy: LoraStrategy, settings=None):
        super().__init__(self.answer, {}, len(problem.ranks))
        self.problem, self.strategy = problem, strategy
        self.settings = settings or MethodSettings()
        self.faults: dict[int, str] = {}
        self.reverse = False
        self.taken: dict[int, Taken] = {}
        self.last: dict[int, Taken] = {}  # of every node, whatever became of its reply
        self.asked: dict[int, Message] = {}
        self.replied: dict[int, Message] = {}

    def get_node_ids(self) -> Iterable[int]:
        nodes = super().get_node_ids()
        return [node for node in nodes if self.faults.get(node) != "absent"]

    def send_and_receive(self, messages, *, timeout=None):
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            training = message.metadata.message_type == MessageType.TRAIN
            fault = self.faults.get(node) if training else None
            if training:
                self.asked[node] = message
            reply = None if fault == "error" else self._answer([message])[0]
            if fault in ("error", "crash"):
                message.metadata.__dict__["_message_id"] = f"message-{node}"
                reply = Message(Error(code=0, reason="toy fault"), reply_to=message)
                reply.metadata.__dict__["_src_node_id"] = node
            if fault != "lost":
                replies.append(reply)
                if training:
                    self.replied[node] = reply
            if fault and training:
                self.taken.pop(node, None)
        return replies[::-1] if self.reverse else replies

    def answer(self, message: Message, context: Context) -> Message:
        k = int(context.node_config[wire.PARTITION])
        if message.metadata.message_type == MessageType.QUERY:
            facts = {
                wire.RANK: self.problem.ranks[k],
                wire.PARTITION: k,
                wire.EXAMPLES: self.problem.examples[k],
            }
            return Message(
                RecordDict({wire.CONFIG: ConfigRecord(facts)}), reply_to=message
            )
        return Message(self.train(message, context.state, k), reply_to=message)

    def train(self, message: Message, memory: RecordDict, k: int) -> RecordDict:
        """One round of one client, in the order of ``client_app.train``."""
        problem, config = self.problem, message.content.config_records[wire.CONFIG]
        number = int(config[wire.ROUND])
        half = self.strategy.method.client_half(self.settings)
        received = Instructions.read(message, memory, keep=True)
        plan, rank = received.plan, received.rank
        shapes = {} if self.strategy.method.whole_model else problem.shapes
        start = half.start(received.tensors, shapes, rank, 1000 * number + k)
        offset = {
            m: (L @ R).double()
            for m, (L, R) in received.offset(
                start, lambda r: qr_directions(problem.W0.items(), r)
            ).items()
        }
        fixed = {
            m: W
            + SCALING
            * (received.base.get(m, 0.0) - offset.get(m, torch.zeros(1)).float())
            for m, W in problem.W0.items()
        }
        target = (problem.targets[k], problem.heads[k])
        examples = problem.examples[k]
        if plan.pooled:
            target, examples = problem.pooled(), sum(problem.examples)
        sent = message.content.array_records.get(wire.CORRECTION)
        correction = client_half(
            self.settings,
            config,
            None if sent is None else wire.decode_tensors(sent),
            start,
            list(half.trained(start.named_tensors(), plan.up)),
            received.state,
            number,
            int(config.get(wire.LAST_TAKEN, 0)),
        )

        def local(begin: AdapterState) -> tuple[dict, Tensor]:
            everything = {n: t.clone() for n, t in begin.named_tensors().items()}
            parameters = half.trained(everything, plan.trains)
            for parameter in parameters.values():
                parameter.requires_grad_()
            hook = correction.hook(parameters)
            make = correction.optimizer(parameters, everything) or _sgd
            settings = TrainingSettings(learning_rate=problem.rate)
            optimizer = make(list(parameters.values()), settings)
            for one in filter(None, (hook, half.watcher(everything))):
                one.attach(optimizer)
            terms = [half.penalty(parameters, rank), correction.penalty(parameters)]
            gradient = correction.gradient(parameters)

            def backward() -> Tensor:
                state = AdapterState.from_named_tensors(everything)
                loss = problem.loss(state, fixed, *target)
                (loss + sum(term() for term in terms if term)).backward()
                return loss

            for _ in range(problem.steps):
                optimizer.zero_grad()
                loss = gradient(backward) if gradient else backward()
                optimizer.step()
            return everything, loss

        everything, loss = local(start)
        flat = {n: t.detach().clone() for n, t in everything.items()}
        trained = AdapterState.from_named_tensors(flat)
        again = correction.again()
        if again is not None:
            ended, _ = local(again)
            ended = {n: t.detach().clone() for n, t in ended.items()}
            correction.trained_again(AdapterState.from_named_tensors(ended))
        received.state.keep_own(flat, plan)
        upload = half.finish(start, trained, rank)
        base = {m: T.double() for m, T in received.base.items()}
        self.taken[k + 1] = self.last[k + 1] = Taken(
            k + 1, rank, examples, start, trained, upload, base, offset
        )
        metrics: dict[str, int | float] = {
            wire.EXAMPLES: examples,
            wire.LOSS: float(loss.detach()),
            wire.SECONDS: 0.0,
            wire.RANK: upload.rank,
        }
        packing = self.packing(received, 1000 * number + k, config)
        arrays = packing.arrays(only(upload.tensors, plan.up))
        content = RecordDict({wire.ARRAYS: arrays, wire.METRICS: MetricRecord(metrics)})
        if upload.slots:
            content[wire.SLOTS] = wire.encode_tensors(upload.slots)
        if upload.extra:
            content[wire.EXTRA] = wire.encode_tensors(upload.extra)
        uploads = correction.finish(None, upload.rank if upload.pruned else None)
        if uploads:
            content[wire.CORRECTION] = packing.correction(correction, uploads)
        return content

    def packing(self, received: Instructions, seed: int, config) -> Packing:
        encoding = wire.Encoding(self.strategy.wire_dtype, seed)
        groups = remembered(type(self.strategy.method))
        taken = int(config.get(wire.UPLOAD_TAKEN, 0))
        return Packing(received, encoding, groups, taken)


def _sgd(parameters: list[Tensor], settings: TrainingSettings) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, lr=settings.learning_rate)


class Toy:
    """A strategy and its clients, round after round."""

    def __init__(self, strategy: LoraStrategy, problem: Problem, settings=None):
        self.strategy, self.problem = strategy, problem
        strategy.participation = replace(strategy.participation, min_available_nodes=1)
        self.grid = ToyGrid(problem, strategy, settings)
        self.number = 0
        self.history: list[list[Taken]] = []
        rank = max(problem.ranks)
        if strategy.method.whole_model:
            factors = LoraFactors({})
        elif getattr(strategy.method, "qr_start", False):
            factors = qr_directions(problem.W0.items(), rank)
        else:
            draw = torch.Generator().manual_seed(3)
            factors = standard_factors(problem.shapes, rank, draw)
        head = {HEAD: torch.zeros(HEAD_SHAPE)}
        if strategy.method.whole_model:
            head |= problem.W0
        self.arrays = wire.model_record(AdapterState(factors, head).named_tensors())
        strategy.begin(self.arrays)
        self.state = strategy.state

    def round(self, **faults: str) -> list[Taken]:
        """Train once; ``n2="lost"`` is a fault of node 2. Returns what was taken."""
        return self.take(self.ask(**faults))

    def ask(self, **faults: str) -> list[Message]:
        """Send the messages of a round; returns the replies."""
        self.number += 1
        grid = self.grid
        grid.faults = {int(node[1:]): kind for node, kind in faults.items()}
        grid.taken, grid.asked, grid.replied = {}, {}, {}
        how = self.number, self.arrays, ConfigRecord(), grid
        return grid.send_and_receive(list(self.strategy.configure_train(*how)))

    def take(self, replies: list[Message]) -> list[Taken]:
        """Aggregate the replies of a round."""
        self.arrays_out, _ = self.strategy.aggregate_train(self.number, replies)
        self.state = self.strategy.state
        taken = [self.grid.taken[node] for node in sorted(self.grid.taken)]
        self.history.append(taken)
        return taken

    def model(self) -> Dense:
        """(W - W0) / s of the global model, and the head, in float64."""
        model = self.strategy.method.model(self.state)
        found = dense(model.factors)
        if self.strategy.method.whole_model:
            W0 = self.problem.W0
            found = {m: (model.head[m].double() - W0[m]) / SCALING for m in W0}
        zeros = {m: torch.zeros(s).double() for m, s in self.problem.shapes.items()}
        return zeros | found | {HEAD: model.head[HEAD].double()}
