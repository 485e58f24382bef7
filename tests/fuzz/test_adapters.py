"""Whatever lies in the folder of a model, nothing of it is run or imported."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from ilora_app.runs.adapter import WEIGHTS
from tests.finished import ilora
from tests.fuzz.folders import Change, changed, changes
from tests.fuzz.test_folders import says

FILES = [
    "adapter_config.json", WEIGHTS, "config.json", "ilora.json", "tokenizer.json",
    "tokenizer_config.json",
]  # fmt: skip
CONFIGS = [FILES[0], "config.json", "ilora.json", "tokenizer_config.json"]
EVIL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
KEYS = [
    "auto_map", "auto_mapping", "peft_type", "megatron_core", "megatron_config", "r",
    "target_modules", "modules_to_save", "tokenizer_class", "model_type", "columns",
    "quantization_config", "labels", "max_length", "seed", "init_lora_weights",
    "layers_to_transform", "id2label", "base", "rank_pattern", "lora_alpha", "dtype",
    "base_model_name_or_path", "tokenizer_file", "torch_dtype", "use_dora", "revision",
    "_attn_implementation", "chat_template", "pad_token", "corda_config", "bias",
]  # fmt: skip
STRANGE = st.sampled_from(
    [
        "fuzz_evil", "fuzz_evil.Evil", {"AutoConfig": "fuzz_evil.Evil"}, ["a", "b"], "",
        {"parent_library": "fuzz_evil", "base_model_class": "Evil"}, -1, 0, 10**30,
        None, True, [], {}, "a,b,c", ",", "PROMPT_TUNING", "evil", "/etc/passwd", 1e308,
        "a\x1b[2J\nb", ["\ud800"], {"0": 1}, "pissa", {"quant_method": "gptq"},
    ]
)  # fmt: skip
TENSORS = ["drop", "rename", "shape", "double", "ints", "nan", "huge", "empty", "more"]


@pytest.fixture(scope="session")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "adapter"
    assert ilora("export", finished, "--out", out).exit_code == 0
    (out / "fuzz_evil.py").write_text(EVIL)
    return out


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> Any:
    """A new folder for every example, and one for all that python may import."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    return lambda: tmp_path_factory.mktemp("example")


def predicts(folder: Path) -> None:
    sys.path.append(str(folder))
    try:
        says(ilora("predict", folder, "a text", "another"))
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("fuzz_evil", None)
    assert not (folder / "ran").exists(), "code that came with a folder was run"


@settings(max_examples=10)
@given(made=changes(FILES))
def test_a_damaged_folder_predicts_or_says_why_not(exported, place, made):
    predicts(changed(exported, place(), made))


MEGATRON = {"megatron_core": "fuzz_evil", "megatron_config": {"a": 1}}


@settings(max_examples=12)
@example(file=FILES[0], entries=MEGATRON)
@example(file="ilora.json", entries={"columns": ""})
@example(file="ilora.json", entries={"max_length": 10**30})
@example(file="ilora.json", entries={"labels": ["a", "b"]})
@given(
    file=st.sampled_from(CONFIGS),
    entries=st.dictionaries(st.sampled_from(KEYS), STRANGE, min_size=1, max_size=3),
)
def test_entries_that_nobody_asked_for(exported, place, file, entries):
    folder = changed(exported, place(), [])
    found = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(found | entries))
    predicts(folder)


@settings(max_examples=4)
@example(how="nan", which=0)
@example(how="drop", which=20)
@given(how=st.sampled_from(TENSORS), which=st.integers(0, 30))
def test_tensors_that_are_not_what_was_written(finished, place, how, which):
    root = place()
    name = f"adapter/{WEIGHTS}"
    folder = changed(finished, root, [Change(name, "absent")])
    tensors = load_file(finished / name)
    key = sorted(tensors)[which % len(tensors)]
    value = tensors.pop(key)
    made = {
        "rename": lambda: {f"x.{key}": value},
        "shape": lambda: {key: value.flatten()},
        "double": lambda: {key: value.double()},
        "ints": lambda: {key: torch.ones(value.shape, dtype=torch.int64)},
        "nan": lambda: {key: torch.full_like(value, float("nan"))},
        "huge": lambda: {key: torch.full_like(value, 3e38)},
        "empty": lambda: {key: value[:0]},
        "more": lambda: {key: value, f"{key}.weight": value.clone()},
    }.get(how, dict)()
    (folder / name).write_bytes(save({**tensors, **made}))
    for words in ([], ["--rank", 1], ["--merge"]):
        says(ilora("export", folder, "--out", root / f"out{len(words)}", *words))
    says(ilora("predict", folder, "a text"))
