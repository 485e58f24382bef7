"""A step on a CPU with the C library's huge pages, beside the same without.

    python -m benchmarks.allocator [--turns 3]

Each in a process of its own, one thread, in turns; the best of each. The model has
MiniLM's shape (six layers, 384 wide) and LoRA of rank 8; no weights are read.
"""

import argparse
import os
import subprocess
import sys
import time

from ilora_app.launch import allocator

CASES = {"training, 16 texts": (16, True), "evaluation, 64 texts": (64, False)}
TOKENS, STEPS = 24, 8


def seconds(rows: int, trains: bool) -> float:
    """Of a step, in this process: the least of eight behind two."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import BertConfig, BertForSequenceClassification

    torch.set_num_threads(1)
    shape = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6}
    base = BertForSequenceClassification(
        BertConfig(**shape, num_attention_heads=12, num_labels=150)
    )
    chosen = LoraConfig(r=8, target_modules=["query", "value"], task_type="SEQ_CLS")
    model = get_peft_model(base, chosen)
    batch = {
        "input_ids": torch.randint(0, 30_000, (rows, TOKENS)),
        "labels": torch.randint(0, 150, (rows,)),
    }
    times = []
    for _ in range(STEPS + 2):
        began = time.perf_counter()
        with torch.set_grad_enabled(trains):
            loss = model(**batch).loss
        if trains:
            loss.backward()
        times.append(time.perf_counter() - began)
    return min(times[2:])


def main() -> None:
    """Print what a step takes, with and without."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--case", choices=CASES, help="of a process of its own")
    given = parser.parse_args()
    if given.case:
        print(seconds(*CASES[given.case]))
        return
    plain = {k: v for k, v in os.environ.items() if k != allocator.VARIABLE}
    for case in CASES:
        words = [sys.executable, "-m", "benchmarks.allocator", "--case", case]
        best = [float("inf")] * 2
        for _ in range(given.turns):
            for i, more in enumerate(({}, allocator.settings(plain))):
                told = subprocess.check_output(words, env=plain | more)
                best[i] = min(best[i], float(told))
        without, with_pages = (1e3 * value for value in best)
        ratio = f"{without / with_pages:.2f} times as fast"
        print(f"{case}: {without:.0f} ms, {with_pages:.0f} ms: {ratio}")


if __name__ == "__main__":
    main()
