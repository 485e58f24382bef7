"""``ilora export --for``: what is written, held against the rules of those servers.

The rules are those of vLLM (config/lora.py; peft_helper.py, lora_model.py and utils.py
of vllm/lora), of llama.cpp (convert_lora_to_gguf.py, src/llama-adapter.cpp) and of TGI
(server/text_generation_server/adapters/lora.py), as their repositories have them.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from ilora_app.export.source import open_run
from ilora_app.export.targets import TARGETS, ranks, refusals, sufficient
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.settings.kinds import TASKS
from tests.finished import Finished, ilora, objects

PREFIX = "base_model.model."
LIMITS = (8, 16, 32, 64, 128, 256, 320, 512)  # MaxLoRARanks of vLLM
FILE, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def vllm_refuses(folder: Path, limit: int = 16) -> list[str]:
    """PEFTHelper.from_local_dir and validate_legal, LoRAModel.from_local_checkpoint."""
    config = json.loads((folder / CONFIG).read_text())
    found = [key for key in ("r", "lora_alpha", "target_modules") if key not in config]
    found += [] if isinstance(config["lora_alpha"], int) else ["lora_alpha"]
    if config["modules_to_save"]:
        found.append("vLLM only supports modules_to_save being None.")
    found += ["use_dora"] if config["use_dora"] else []
    found += ["bias"] if config["bias"] != "none" else []
    if limit not in LIMITS or config["r"] > limit:
        found.append(f"rank {config['r']} is greater than max_lora_rank {limit}")
    for name, tensor in load_file(folder / FILE).items():
        parts = name.removeprefix(PREFIX).split(".")
        sides = parts[-2] in ("lora_A", "lora_B") and parts[-1] == "weight"
        if not name.startswith(PREFIX) or not sides:
            found.append(f"{name} is unsupported LoRA weight")
        elif tensor.shape[parts[-2] == "lora_B"] != config["r"]:
            found.append(f"{name} is not of rank {config['r']}")
    return found


@pytest.fixture(scope="module")
def wide(made, tmp_path_factory) -> Path:
    """The run of a language model, with an update of rank 24 that decays."""
    run = tmp_path_factory.mktemp("wide") / "run"
    shutil.copytree(made["llama"].folder, run)
    file = run / "adapter" / FILE
    tensors, falling = {}, 0.79 ** torch.arange(24.0).unsqueeze(1)
    for name, value in sorted(load_file(file).items()):
        draw = torch.Generator().manual_seed(len(name))
        if ".lora_A." in name:
            drawn = torch.randn(24, value.shape[1], generator=draw)
            tensors[name] = drawn * falling
        else:
            tensors[name] = torch.randn(value.shape[0], 24, generator=draw)
    save_file(tensors, file)
    config = LoraConfig.from_pretrained(run / "adapter")
    config.lora_alpha, config.r = config.lora_alpha / config.r * 24, 24
    config.save_pretrained(run / "adapter")
    return run


def export(run: object, out: Path, *words: object) -> dict[str, Any]:
    (said,) = objects(ilora("export", run, "--out", out, "--json", *words))
    return said


def product(folder: Path, module: str) -> torch.Tensor:
    tensors = load_file(folder / FILE)
    config = json.loads((folder / CONFIG).read_text())
    B, A = (tensors[f"{PREFIX}{module}.lora_{side}.weight"] for side in "BA")
    return config["lora_alpha"] / config["r"] * (B @ A)


def test_vllm_takes_what_is_made_for_it(made, wide, tmp_path):
    plain = export(wide, tmp_path / "plain")
    assert (plain["rank"], plain["energy"], plain["target"]) == (24, 1.0, None)
    assert vllm_refuses(tmp_path / "plain"), "all of the update is beyond its default"
    said = export(wide, tmp_path / "vllm", "--for", "vllm")
    assert said["rank"] == 16
    assert 0.999 <= said["energy"] < 1
    assert said["sufficient_rank"] <= 16
    assert vllm_refuses(tmp_path / "vllm") == []
    assert LoraConfig.from_pretrained(tmp_path / "vllm").modules_to_save is None
    (command,) = said["commands"]
    assert "--enable-lora --lora-modules" in command
    card = (tmp_path / "vllm" / "README.md").read_text()
    assert "vllm serve PATH/model --enable-lora --lora-modules ilora=this/" in card
    said = export(wide, tmp_path / "all", "--for", "vllm", "--rank", 24)
    assert vllm_refuses(tmp_path / "all", 32) == []
    assert "--max-lora-rank 32" in said["commands"][0]
    result = ilora("export", wide, "--out", tmp_path / "people", "--for", "vllm")
    model = made["llama"].config["model"]
    assert "an adapter of rank 16\nit holds 99.9" in result.output
    assert f"vllm serve {model} --enable-lora --lora-modules ilora={tmp_path}" in (
        result.output.replace("\n", " ")
    )


def test_tgi_gets_a_rank_that_it_does_not_pad(wide, tmp_path):
    whole = export(wide, tmp_path / "plain", "--rank", 13)
    assert whole["rank"] == 13
    said = export(wide, tmp_path / "tgi", "--for", "tgi", "--rank", 13)
    assert said["rank"] == said["sufficient_rank"] == 16
    assert said["energy"] == pytest.approx(whole["energy"])
    module = "model.layers.0.self_attn.q_proj"
    both = (product(tmp_path / name, module) for name in ("tgi", "plain"))
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-6)
    assert said["commands"][0].endswith(f"--lora-adapters ilora={tmp_path / 'tgi'}")


def test_llama_cpp_takes_every_tensor_under_a_name_that_it_knows(wide, tmp_path):
    """As convert_lora_to_gguf.py names tensors and llama-adapter.cpp reads them."""
    gguf = pytest.importorskip("gguf", reason="gguf is not installed (extra: test)")
    said = export(wide, tmp_path / "out", "--for", "llama.cpp")
    assert said["rank"] == 24, "it takes any"
    config = json.loads((tmp_path / "out" / CONFIG).read_text())
    layers = json.loads((tmp_path / "out" / "config.json").read_text())
    arch = gguf.MODEL_ARCH.LLAMA
    known = gguf.get_tensor_name_map(arch, layers["num_hidden_layers"])
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", gguf.MODEL_ARCH_NAMES[arch])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(config["lora_alpha"]))
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in load_file(tmp_path / "out" / FILE).items():
        module, side = name.removeprefix(PREFIX).removesuffix(".weight").rsplit(".", 1)
        assert side in ("lora_A", "lora_B"), f"Unexpected name '{name}'"
        mapped = known.get_name(f"{module}.weight", try_suffixes=(".weight",))
        assert mapped, name
        shapes.setdefault(mapped, {})[side] = tuple(tensor.shape)
        writer.add_tensor(f"{mapped}.{side.lower()}", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = gguf.GGUFReader(tmp_path / "a.gguf")
    assert {"blk.0.attn_q.weight", "blk.1.ffn_down.weight"} <= set(shapes)
    assert len(read.tensors) == 2 * len(shapes)
    for tensor in read.tensors:
        base, _, side = tensor.name.rpartition(".")
        a, b = shapes[base]["lora_A"], shapes[base]["lora_B"]
        assert a[0] == b[1] == config["r"], "lora_a is not transposed"
        assert tuple(tensor.data.shape) == (a if side == "lora_a" else b)
        assert np.isfinite(tensor.data).all()


def failure(finished: Finished, out: Path, *words: object) -> str:
    result = ilora("export", finished.folder, "--out", out, *words)
    assert result.exit_code == 2, result.output
    assert not out.exists()
    return result.output


@pytest.mark.parametrize("target", ["vllm", "tgi", "llama.cpp"])
def test_a_head_and_transposed_layers_are_refused_with_the_way_out(
    made, tmp_path, target
):
    said = failure(made["gpt2"], tmp_path / "out", "--for", target)
    assert "lm_head was trained whole" in said
    assert "layers that hold W transposed" in said
    assert "expected --merge" in said
    export(made["gpt2"].folder, tmp_path / "out", "--for", target, "--merge")
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_classifier_goes_to_vllm_merged_and_an_image_model_not_at_all(made, tmp_path):
    out = tmp_path / "out"
    assert "adapters of causal-lm alone" in failure(made["bert"], out, "--for", "vllm")
    assert "TGI serves no text-class" in failure(made["bert"], out, "--for", "tgi")
    said = failure(made["vit"], out, "--for", "vllm", "--merge")
    assert "serves no image-classification: expected --for transformers" in said
    said = export(made["bert"].folder, out, "--for", "vllm", "--merge")
    assert said["commands"] == [f"vllm serve {out}"]
    architecture = json.loads((out / "config.json").read_text())["architectures"]
    assert architecture == ["BertForSequenceClassification"]
    for name in ("bert", "vit"):
        there = tmp_path / name
        assert export(made[name].folder, there, "--for", "transformers")["rank"] > 2


@pytest.mark.parametrize(
    ("held", "asked", "expected"),
    [
        (12, 0, (12, 12)),  # below the default: all of it
        (40, 0, (16, 16)),
        (40, 40, (40, 40)),
        (600, 0, (512, 512)),
    ],
)
def test_the_rank_that_vllm_gets(held, asked, expected):
    """0.1 % is lost at rank 13 of 40, and at every rank of 600."""
    half = 1 - 0.5 ** (14 / 1.4 / 13 * torch.arange(1.0, held + 1))
    energies = tuple((half if held == 40 else half * 0.5).tolist())
    assert ranks(TARGETS["vllm"], energies, asked) == expected
    if held == 40:
        assert [sufficient(TARGETS[n], energies) for n in ("vllm", "tgi")] == [13, 16]
    right = "512 at most, as vLLM has" if held > 512 else f"1 to {held}, the rank of"
    for target, name in (("vllm", "vLLM"), ("tgi", "TGI")):
        with pytest.raises(ValueError, match="rank 601: expected") as error:
            ranks(TARGETS[target], energies, 601)
        if held < 512 or name == "vLLM":
            assert right in str(error.value)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", TARGETS)
def test_no_refusal_sends_to_what_is_refused_too(made, name, task):
    source = open_run(made["bert"].folder)
    model = replace(source.settings.model, task=task)
    source = replace(source, settings=replace(source.settings, model=model))
    adapter = AdapterState(LoraFactors({}), {})
    for found in (adapter, None):
        said = " ".join(refusals(TARGETS[name], source, found, False))
        other = re.search(r"--for ([\w.]+)", said)
        if other:
            assert other[1] != name
            assert not refusals(TARGETS[other[1]], source, found, False)
        if name == "transformers":
            assert bool(said) is (task == "image-text-classification"), said


def test_layers_that_a_server_has_no_factors_for(made):
    source = open_run(made["llama"].folder)
    some = replace(source.settings.model, layers_to_transform="1")
    some = replace(source, settings=replace(source.settings, model=some))
    pair = (torch.ones(4, 2), torch.ones(2, 4))
    names = ("model.layers.1.self_attn.qkv_proj", "lm_head")
    adapter = AdapterState(LoraFactors(dict.fromkeys(names, pair)), {})
    found = refusals(TARGETS["tgi"], some, adapter, False)
    assert found == [
        "TGI has no factors for lm_head, qkv_proj (but for down_proj, gate_proj, "
        "k_proj, o_proj, q_proj, up_proj, v_proj)",
        "TGI takes factors for all layers or none",
    ]
    (said,) = refusals(TARGETS["llama.cpp"], some, adapter, False)
    assert "leaves out an lm_head that is one with the embeddings" in said
    assert refusals(TARGETS["vllm"], some, adapter, False) == []
    assert refusals(TARGETS["transformers"], some, adapter, True) == []
