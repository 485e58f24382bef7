"""Images: the processor's own numbers, augmentation, and images that are torn."""

import datasets
import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessor

from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import IMAGE
from ilora_app.tasks import files, vision
from ilora_app.tasks.sources import DataError

SETTINGS = DataSettings(image_column="img", label_column="label")


@pytest.fixture
def rows() -> datasets.Dataset:
    generator = torch.Generator().manual_seed(0)
    images = [
        Image.fromarray(
            torch.randint(0, 256, (20 + i, 30, 3), generator=generator)
            .to(torch.uint8)
            .numpy()
        )
        for i in range(6)
    ]
    images[3] = images[3].convert("L")  # grey images are among real ones
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    listed = [{"img": image, "label": i % 2} for i, image in enumerate(images)]
    return datasets.Dataset.from_list(listed, features=features)


@pytest.fixture
def processor() -> ViTImageProcessor:
    return ViTImageProcessor(size={"height": 16, "width": 16})


def encode(rows, processor, **changes) -> vision.ImageExamples:
    settings = DataSettings(image_column="img", label_column="label", **changes)
    return vision.encode(rows, settings, ("a", "b"), processor, "partition 0")


def test_pixels_are_those_of_the_processor_itself(rows, processor):
    examples = encode(rows, processor)
    indices = [4, 0, 3]
    batch = examples.batch(indices)
    images = [rows[i]["img"].convert("RGB") for i in indices]
    expected = processor(images=images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(batch["pixel_values"], expected, atol=1e-6, rtol=0)
    assert batch["labels"].tolist() == [0, 0, 1]
    again = examples.batch(indices)["pixel_values"]
    assert torch.equal(again, batch["pixel_values"])


def test_training_batches_are_augmented_by_the_seed_and_evaluation_is_not(
    rows, processor
):
    examples = encode(rows, processor)
    plain = examples.batch([0, 1])["pixel_values"]
    one, same, other = (
        examples.batch([0, 1], torch.Generator().manual_seed(seed))["pixel_values"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, plain)
    off = encode(rows, processor, augment=False)
    found = off.batch([0, 1], torch.Generator().manual_seed(1))["pixel_values"]
    assert torch.equal(found, plain)


def test_flips_and_crops_keep_pixels_and_size():
    pixels = torch.arange(3 * 32 * 32).reshape(1, 3, 32, 32).repeat(64, 1, 1, 1) % 251
    pixels = pixels.to(torch.uint8)
    made = vision.flipped_and_cropped(pixels, torch.Generator().manual_seed(0))
    assert made.shape == pixels.shape
    assert made.dtype == torch.uint8
    middle = slice(8, 24)
    whole = pixels[0]
    flipped = 0
    for image in made:
        # The middle of every image is found again, shifted by at most an eighth.
        found = [
            (side, down, right)
            for side, source in enumerate((whole, whole.flip(-1)))
            for down in range(-4, 5)
            for right in range(-4, 5)
            if torch.equal(
                image[:, middle, middle],
                source[:, 8 + down : 24 + down, 8 + right : 24 + right],
            )
        ]
        assert found
        flipped += found[0][0]
    assert 16 < flipped < 48


def torn(rows: datasets.Dataset, index: int, keep: int) -> datasets.Dataset:
    listed = vision.encoded(rows, "img")
    listed[index] = {"bytes": listed[index]["bytes"][:keep], "path": "scan.png"}
    features = datasets.Features(
        {"img": datasets.Image(), "label": rows.features["label"]}
    )
    made = [
        {"img": image, "label": label}
        for image, label in zip(listed, rows["label"], strict=True)
    ]
    return datasets.Dataset.from_list(made, features=features)


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_a_torn_image_is_counted_and_named_before_round_one(rows, processor, keep):
    bad = torn(rows, 2, keep) if keep else rows
    if not keep:
        assert files.unreadable(rows, SETTINGS, IMAGE, "here") == []
        return
    (found,) = files.unreadable(bad, SETTINGS, IMAGE, "/data/train")
    assert "1 of 6 images of /data/train" in found
    assert "row 2 (scan.png) cannot be read" in found
    with pytest.raises(DataError, match=r"image 2 of partition 0 \(scan.png\)"):
        encode(bad, processor).batch([1, 2])


def test_many_torn_images_make_one_short_message(rows):
    for index in range(5):
        rows = torn(rows, index, 20)
    (found,) = files.unreadable(rows, SETTINGS, IMAGE, "the split test")
    assert "5 of 6 images" in found
    assert "and 2 more" in found
