"""A ClientApp that trains with transformers' Trainer what ilora's own loop would."""

from pathlib import Path
from typing import Any

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from transformers import Trainer, TrainingArguments

from ilora_app import client_app, wire
from ilora_app.corrections import Holder
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.node import answers
from ilora_app.server import enrolment, preflight
from ilora_app.server.run import Server
from ilora_app.trainer import ClientRound


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    """As ilora's own loop: AdamW of a constant rate, without clipping and decay."""
    plain = {
        "optim": "adamw_torch",
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    return TrainingArguments(str(folder), **(plain | changes))


def trainer_app(folder: Path, **changes: Any) -> ClientApp:
    """An app whose nodes have the data, the order and the seeds of ilora's own."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return client_app.app(message, context)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        node = answers.node_of(message, context)
        number = int(message.content.config_records[wire.CONFIG][wire.ROUND])
        half, seed = node.client_half(), node.seed(number)
        how = message.content, context.state, node.data.backbone(), half, seed
        taken = ClientRound.begin(*how)
        examples, settings = node.data.examples()[0], node.local_training(False, number)
        drawn = examples.drawn(
            settings.batch_size,
            settings.local_steps,
            settings.local_epochs,
            torch.Generator().manual_seed(seed),
        )
        parts = settings.gradient_accumulation
        trainer = Trainer(
            taken.backbone.model,
            arguments(
                folder,
                per_device_train_batch_size=settings.batch_size // parts,
                gradient_accumulation_steps=parts,
                learning_rate=settings.learning_rate,
                num_train_epochs=1,
                seed=seed % 2**31,
                **changes,
            ),
            train_dataset=[index for batch in drawn for index in batch],
            data_collator=examples.batch,
            callbacks=[taken.callback],
        )
        loss = trainer.train().training_loss
        return Message(taken.reply(examples.count, loss), reply_to=message)

    return app


def federate(app: ClientApp, run_config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Run three nodes; returns the global model, and c of the next round."""
    grid = LocalGrid(app, run_config, nodes=3)
    prepared = preflight.prepare(run_config)
    server = Server(prepared, enrolment.meet(grid, prepared), grid, run_id=1)
    rows = server.run()
    assert [row.get("clients") for row in rows[1:]] == [3] * (len(rows) - 1)
    found = dict(server.strategy.global_model().named_tensors())
    members, state = server.membership.members, server.strategy.state
    holders = [Holder(m.node_id, m.rank, float(m.examples)) for m in members]
    control = server.strategy.drift_correction
    if c := control.broadcast(holders, state.adapter.factors):
        found |= {f"c {name}": value for name, value in c.named_tensors().items()}
    return found
