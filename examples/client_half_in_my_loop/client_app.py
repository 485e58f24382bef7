"""ILoRA's client half around a training loop of your own."""

import random

import torch
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from my_data import RANKS, my_model, my_rows

from ilora_app import wire
from ilora_app.lora.factors import only
from ilora_app.node.instructions import Instructions
from ilora_app.settings import MethodSettings
from ilora_app.strategies import ILoRA

app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """Say which rank this node affords, and how many examples it has."""
    k, of = (int(context.node_config[n]) for n in ("partition-id", "num-partitions"))
    facts = {
        wire.PARTITION: k,
        wire.RANK: RANKS[k % len(RANKS)],
        wire.EXAMPLES: len(my_rows(k, of)),
    }
    return Message(RecordDict({wire.CONFIG: ConfigRecord(facts)}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Take up what the server sent, train, and send back what the method sends."""
    k, of = (int(context.node_config[n]) for n in ("partition-id", "num-partitions"))
    backbone = my_model(str(context.run_config["model"]))
    half = ILoRA.client_half(MethodSettings())
    sent = Instructions.read(message, context.state, keep=True)
    start = half.start(sent.tensors, backbone.shapes(), sent.rank, seed=k)
    offset = sent.offset(start, backbone.directions)
    backbone.install(start, offset, sent.base)
    parameters = only(backbone.parameters(), sent.plan.trains)

    # From here on it is a training loop like any other.
    rows, steps = my_rows(k, of), int(context.run_config["steps"])
    draw = random.Random(f"{k} {message.content['config'][wire.ROUND]}")
    rate = float(context.run_config["rate"])
    optimizer = torch.optim.AdamW(
        [p.requires_grad_() for p in parameters.values()], rate
    )
    backbone.model.train()
    total = 0.0
    for _ in range(steps):
        texts, classes = zip(*draw.sample(rows, 16), strict=True)
        batch = backbone.processor(list(texts), padding=True, return_tensors="pt")
        logits = backbone.forward(batch).logits
        wanted = torch.tensor(classes, device=logits.device)
        loss = torch.nn.functional.cross_entropy(logits, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()

    upload = half.finish(start, backbone.collect(), sent.rank)
    tensors = only(upload.tensors, sent.plan.up)
    metrics = {
        wire.EXAMPLES: len(rows),
        wire.LOSS: total / steps,
        wire.RANK: upload.rank,
    }
    content = {
        wire.ARRAYS: wire.encode_tensors(tensors),
        wire.METRICS: MetricRecord({**metrics, wire.SECONDS: 0.0}),
    }
    return Message(RecordDict(content), reply_to=message)
