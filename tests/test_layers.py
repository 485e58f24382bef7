"""Which layers get factors, and dropout of the model's own."""

from typing import Any

import pytest
import torch

from ilora_app.settings.parsing import ConfigError
from tests import local_run, tiny_models
from tests.test_remembered import data_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    kinds = tiny_models.ARCHITECTURES
    return {k: tiny_models.make(k, tmp_path_factory.mktemp(k)) for k in kinds}


def test_numbers_of_layers_that_are_not_there_are_refused(made, tmp_path):
    for chosen, right in (("2", "layers 0 to 1"), ("0,-3", "layers 0 to 1")):
        config = {**made["bert"], "layers-to-transform": chosen}
        with pytest.raises(ConfigError, match=f"layers-to-transform.*{right}"):
            local_run.run({**config, "output-dir": str(tmp_path)})


@pytest.mark.parametrize("value", ["", "upper", "1-2", "1,,2"])
def test_what_is_no_list_of_numbers_is_refused(made, tmp_path, value):
    config = {**made["bert"], "layers-to-transform": value}
    with pytest.raises(ConfigError, match="all, or numbers such as"):
        local_run.run({**config, "output-dir": str(tmp_path)})


@pytest.mark.parametrize("kind", tiny_models.ARCHITECTURES)
def test_without_base_dropout_the_model_has_none(made, kind):
    _, data = data_of(made[kind])
    model = data.backbone().model
    rates = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    assert not any(rates)
    model.train()
    batch = data.examples()[0].batch([0, 1])
    one, other = (data.backbone().forward(batch).logits for _ in range(2))
    assert one.equal(other)
