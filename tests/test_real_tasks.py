"""Each task trained for real, on real data and weights where they are.

``ILORA_SHARED`` names the folder with the data sets (``cifar100/``, ``qnli/``,
``e2e_nlg/``, parquet); small weights lie beside it, in ``../models``.
"""

import math
import os
from collections import Counter
from pathlib import Path

import pytest
import torch

from ilora_app.compare.presets import read_preset
from ilora_app.settings import Settings, options, parsing
from ilora_app.tasks.metrics import IGNORED
from tests.local_run import metrics, run

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def trained(name: str, folder: Path, **changes):
    """Run a preset, changed; the row before training, the last one, the server."""
    if not os.environ.get("ILORA_SHARED"):
        pytest.skip("ILORA_SHARED names no folder with data sets")
    preset, _ = read_preset(ROOT / "configs" / f"{name}.toml")
    settings = dict(preset.settings)
    for key in ("dataset", "model"):
        value = str(settings.get(key, ""))
        if "$" in value and not options.folder(value).is_dir():
            pytest.skip(f"there is no folder {options.folder(value)}")
    settings |= {"output-dir": str(folder / "run"), "save-adapters": False}
    settings |= {key.replace("_", "-"): value for key, value in changes.items()}
    settings["evaluate-every"] = settings["num-server-rounds"]
    path, _, server = run(parsing.dump(Settings()) | settings, preset.clients)
    table = metrics(path).set_index("round")
    return table.loc[0], table.loc[settings["num-server-rounds"]], server


def commonest(server) -> float:
    """Accuracy of always guessing the commonest class of the test examples."""
    counts = Counter(server.prepared.test.labels)
    return max(counts.values()) / sum(counts.values())


def standard_error(accuracy: float, examples: int) -> float:
    return math.sqrt(accuracy * (1 - accuracy) / examples)


def test_vit_tiny_learns_cifar_100(tmp_path):
    before, after, server = trained("vit-cifar100-tiny", tmp_path, num_server_rounds=4)
    test = server.prepared.test
    assert len(set(test.labels)) > 90
    chance = max(commonest(server), before.accuracy)
    assert after.accuracy > chance + 5 * standard_error(chance, len(test))
    # An untrained head is worse than one that gives every class the same share.
    assert after.loss < min(before.loss, math.log(100)) - 0.2
    assert after.f1 > before.f1


def test_minilm_learns_qnli_from_pairs(tmp_path):
    before, after, server = trained("qnli-tiny", tmp_path)
    test = server.prepared.test
    texts = test.rows[0]["input_ids"]
    assert texts.count(test.tokenizer.sep_token_id) == 2  # question, sentence
    chance = max(commonest(server), before.accuracy)
    assert after.accuracy > chance + 3 * standard_error(chance, len(test))
    assert after.loss < min(before.loss, math.log(2)) - 0.01


def test_a_tiny_llama_learns_e2e(tmp_path):
    before, after, server = trained("e2e-tiny", tmp_path, num_server_rounds=3)
    test = server.prepared.test
    answers = torch.tensor(
        [t for row in test.rows for t in row["labels"] if t != IGNORED]
    )
    shares = torch.bincount(answers) / len(answers)
    # What knows only how often each token occurs in these very answers.
    blind = math.exp(-float(torch.xlogy(shares, shares).sum()))
    assert after.perplexity < 0.6 * min(before.perplexity, blind)
    assert after.accuracy > 1.3 * max(before.accuracy, float(shares.max()))
    assert math.isclose(after.perplexity, math.exp(after.loss), rel_tol=1e-6)
