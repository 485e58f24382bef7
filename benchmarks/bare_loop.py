"""The work of a simulated federation without a federation: PEFT in one process.

    python -m benchmarks.bare_loop CONFIG CLIENTS NUMBER OF

Prints ``ready`` when all is loaded and encoded, waits for a line, does its share of the
steps and of the evaluations, and prints the seconds that they took.
"""

import json
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

from ilora_app.node.data import NodeData
from ilora_app.settings import Settings, parsing
from ilora_app.tasks.examples import Examples
from ilora_app.tasks.models import locate


@torch.inference_mode()
def evaluated(
    model: torch.nn.Module, examples: Examples, size: int, part: slice = slice(None)
) -> int:
    """Count the right answers to a part of some examples."""
    model.eval()
    right, order = 0, examples.order()[part]
    for start in range(0, len(order), size):
        batch = examples.batch(order[start : start + size])
        labels = batch.pop("labels")
        right += int((model(**batch).logits.argmax(dim=-1) == labels).sum())
    return right


def trained(model: torch.nn.Module, examples: Examples, settings: Settings) -> None:
    """Some steps of AdamW."""
    how = settings.training
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=how.learning_rate)
    model.train()
    generator = torch.Generator().manual_seed(0)
    for indices in examples.drawn(how.batch_size, how.local_steps, 1, generator):
        optimizer.zero_grad(set_to_none=True)
        model(**examples.batch(indices)).loss.backward()
        optimizer.step()


def main(config: str, clients: str, number: str, of: str) -> None:
    """Load, wait, and run."""
    torch.set_num_threads(1)
    settings = parsing.load({**parsing.dump(Settings()), **json.loads(config)})
    ranks, size = settings.ranks, settings.training.eval_batch_size
    how = settings.model, settings.data, settings.run.seed
    mine = range(int(number), int(clients), int(of))
    nodes = [NodeData(*how, k, int(clients)) for k in mine]
    examples = [node.examples() for node in nodes]
    test, labels = nodes[0].test(), len(nodes[0].labels)
    assert test is not None
    share = slice(int(number), None, int(of))
    place = locate(settings.model.model)[0]
    models = {}
    for rank in sorted(set(ranks)):
        base = AutoModelForSequenceClassification.from_pretrained(
            place, num_labels=labels
        )
        lora = LoraConfig(
            r=rank, lora_alpha=2 * rank, target_modules=["query", "value"]
        )
        models[rank] = get_peft_model(base, lora)
    print("ready", flush=True)
    sys.stdin.readline()
    clock = time.perf_counter()
    for _ in range(settings.run.num_server_rounds):
        for k, (train, held_out) in zip(mine, examples, strict=True):
            model = models[ranks[k % len(ranks)]]
            trained(model, train, settings)
            evaluated(model, held_out, size)
        evaluated(models[max(ranks)], test, size, share)
    print(time.perf_counter() - clock)


if __name__ == "__main__":
    main(*sys.argv[1:])
