"""image-size with processors that know a shorter side, and with those that do not."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForImageClassification,
    BitImageProcessor,
    ConvNextConfig,
    ConvNextImageProcessor,
    Dinov2Config,
    ViTConfig,
    ViTImageProcessor,
)

from ilora_app.settings import ModelSettings
from ilora_app.settings.kinds import IMAGE
from ilora_app.tasks import vision
from ilora_app.tasks.loading import load_pretrained

SIDE = 56
LAYERS = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
SQUARE, EDGE = {"height": SIDE, "width": SIDE}, {"shortest_edge": SIDE}
KINDS = {
    "convnext": (
        ConvNextConfig(hidden_sizes=[8, 8], depths=[1, 1], num_stages=2),
        ConvNextImageProcessor(size={"shortest_edge": 28}),
        ConvNextImageProcessor(size=EDGE),
    ),
    "dinov2": (
        Dinov2Config(**LAYERS),
        BitImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}
        ),
        BitImageProcessor(size=EDGE, crop_size=SQUARE),
    ),
    "vit": (
        ViTConfig(**LAYERS, intermediate_size=48),
        ViTImageProcessor(size={"height": 28, "width": 28}),
        ViTImageProcessor(size=SQUARE),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_a_processor_of_that_size(tmp_path, kind):
    config, processor, expected = KINDS[kind]
    AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    settings = ModelSettings(model=str(tmp_path), task=IMAGE, image_size=SIDE)
    _, found = load_pretrained(settings, ("a", "b"), 0)
    colours = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)
    file = tmp_path / "wide.png"
    Image.fromarray(colours).save(file)
    sent = [{"path": str(file), "bytes": None}]
    made = vision.ImageExamples(sent, [0], found, False, "the test").batch([0])
    right = expected(images=Image.open(file), return_tensors="pt")["pixel_values"]
    assert made["pixel_values"].shape == (1, 3, SIDE, SIDE)
    torch.testing.assert_close(made["pixel_values"], right, atol=1e-5, rtol=0)
