"""A ClientApp that loads all it needs in every message, and a ServerApp around it."""

import time
from pathlib import Path

import torch
from datasets import load_dataset
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from peft import set_peft_model_state_dict as put
from transformers import AutoModelForSequenceClassification, AutoTokenizer

client = ClientApp()
server = ServerApp()


def load_model(config, labels):
    """The pretrained model with LoRA factors and a head to train."""
    torch.manual_seed(int(config["seed"]))
    base = AutoModelForSequenceClassification.from_pretrained(
        config["model"], num_labels=labels
    )
    chosen = LoraConfig(
        r=int(config["rank"]),
        lora_alpha=2 * int(config["rank"]),
        target_modules=["query", "value"],
        modules_to_save=["classifier"],
    )
    return get_peft_model(base, chosen)


def load_rows(config, split):
    """Rows of a split as texts and class numbers."""
    files = {name: f"{config['data']}/{name}.jsonl" for name in ("train", "test")}
    found = load_dataset("json", data_files=files)
    names = sorted(set(found["train"]["domain"]))
    rows = found[split]
    return rows["text"], [names.index(name) for name in rows["domain"]], len(names)


def batches(config, texts, labels, tokenizer):
    """Tensors of one batch after the other."""
    size = int(config["batch-size"])
    for start in range(0, len(texts), size):
        batch = tokenizer(
            list(texts[start : start + size]),
            padding=True,
            truncation=True,
            max_length=int(config["max-length"]),
            return_tensors="pt",
        )
        yield batch, torch.tensor(labels[start : start + size])


@client.train()
def train(message: Message, context: Context) -> Message:
    """Load everything, train some steps, and send the factors back."""
    torch.set_num_threads(1)
    config, node = context.run_config, context.node_config
    texts, labels, classes = load_rows(config, "train")
    part, of = int(node["partition-id"]), int(config["partitions"])
    texts, labels = list(texts)[part::of], labels[part::of]
    tokenizer = AutoTokenizer.from_pretrained(config["model"])
    model = load_model(config, classes)
    put(model, message.content["arrays"].to_torch_state_dict())
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    model.train()
    done = 0
    while done < int(config["steps"]):
        for batch, target in batches(config, texts, labels, tokenizer):
            optimizer.zero_grad()
            model(**batch, labels=target).loss.backward()
            optimizer.step()
            done += 1
            if done == int(config["steps"]):
                break
    arrays = ArrayRecord(get_peft_model_state_dict(model))
    metrics = MetricRecord({"num-examples": len(texts)})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Average for some rounds, and write down when each ended."""
    config = context.run_config
    _, _, classes = load_rows(config, "test")
    arrays = ArrayRecord(get_peft_model_state_dict(load_model(config, classes)))
    nodes = int(config["partitions"])
    while len(list(grid.get_node_ids())) < nodes:
        time.sleep(0.2)
    times = [time.time()]

    def ended(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            times.append(time.time())

    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=nodes)
    rounds = int(config["rounds"])
    strategy.start(grid, arrays, num_rounds=rounds, evaluate_fn=ended)
    Path(config["times"]).write_text("\n".join(map(str, times)))
