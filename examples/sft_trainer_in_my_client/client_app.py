"""ILoRA's client half around TRL's SFTTrainer, on conversations."""

from tempfile import TemporaryDirectory

from datasets import Dataset
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from my_data import RANKS, my_model, my_rows
from trl import SFTConfig, SFTTrainer

from ilora_app import wire
from ilora_app.settings import MethodSettings
from ilora_app.strategies import ILoRA
from ilora_app.trainer import ClientRound, in_processes

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
    """Train in this process, or in one for each GPU of this node."""
    processes = int(context.run_config["processes"])
    content = in_processes(local_round, message.content, context, processes)
    return Message(content, reply_to=message)


def local_round(content: RecordDict, context: Context) -> RecordDict:
    """Take up what the server sent, train, and make the reply."""
    k, of = (int(context.node_config[n]) for n in ("partition-id", "num-partitions"))
    config = context.run_config
    backbone = my_model(str(config["model"]))
    half = ILoRA.client_half(MethodSettings())
    taken = ClientRound.begin(content, context.state, backbone, half, seed=k)
    rows = my_rows(k, of)
    with TemporaryDirectory() as folder:
        arguments = SFTConfig(
            folder,
            max_steps=int(config["steps"]),
            per_device_train_batch_size=16 // int(config["processes"]),
            learning_rate=float(config["rate"]),
            lr_scheduler_type="constant",
            max_length=64,
            assistant_only_loss=True,
            bf16=False,
            gradient_checkpointing=False,
            seed=1000 * taken.round + k,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = SFTTrainer(
            backbone.model,
            arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=backbone.processor,
            callbacks=[taken.callback],
        )
        loss = trainer.train().training_loss
    return taken.reply(examples=len(rows), loss=loss)
