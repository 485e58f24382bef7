"""Images of more than eight bits, of fractions, and turned ones."""

import numpy as np
import pytest
from PIL import Image

from ilora_app.tasks import vision
from ilora_app.tasks.sources import DataError


def ramp(most: float, kind: type) -> np.ndarray:
    return np.linspace(0, most, 64 * 64).reshape(64, 64).astype(kind)


def read(image: Image.Image, file, **how) -> np.ndarray:
    image.save(file, **how)
    found = vision.read({"bytes": None, "path": str(file)}, "row 0")
    assert found.mode == "RGB"
    return np.asarray(found)


@pytest.mark.parametrize(
    ("name", "kind", "most"),
    [
        ("a.png", np.uint16, 2**16 - 1),
        ("a.png", np.uint16, 2**12 - 1),
        ("a.tif", np.uint16, 2**10 - 1),
        ("a.tif", np.int32, 2**16 - 1),
        ("a.tif", np.int32, 255),
        ("a.tif", np.float32, 1.0),
        ("a.tif", np.float32, 4095.0),
    ],
)
def test_grey_values_of_any_depth_are_those_of_eight_bits(tmp_path, name, kind, most):
    values = ramp(most, kind)
    values = np.rint(values).astype(kind) if most > 1 else values
    found = read(Image.fromarray(values), tmp_path / name)
    expected = np.rint(values.astype(float) * 255 / most)
    assert np.array_equal(found, np.repeat(expected[:, :, None], 3, axis=2))


def test_a_dark_image_is_scaled_as_a_bright_one_of_the_same_bits(tmp_path):
    bright, dark = ramp(4095, np.uint16), ramp(3000, np.uint16)
    one, other = (
        read(Image.fromarray(values), tmp_path / "a.png") for values in (bright, dark)
    )
    assert one.max() == 255
    assert other.max() == round(3000 / 4095 * 255)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (ramp(1, np.float32) * 2, "fractions from 0 to 2; expected fractions from 0"),
        (ramp(1, np.float32) - 0.5, "fractions from -0.5 to 0.5"),
        (ramp(1, np.float32) * np.nan, "fractions from nan to nan"),
        (ramp(3000, np.int32) - 1024, "from -1024 to 1976; expected whole numbers"),
        (ramp(70_000, np.int32), "from 0 to 70000"),
    ],
)
def test_values_of_no_image_are_refused_by_name(tmp_path, values, said):
    with pytest.raises(DataError, match=r"row 0 \(.*scan.tif\) cannot be read") as told:
        read(Image.fromarray(values), tmp_path / "scan.tif")
    assert said in str(told.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_an_image_is_turned_as_its_exif_says(tmp_path, name):
    left = np.zeros((40, 80), np.uint8)
    left[:, :40] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # its left is to be shown at the top
    found = read(Image.fromarray(left), tmp_path / name, exif=exif)
    assert found.shape == (80, 40, 3)
    assert found[:38].min() > 250
    assert found[42:].max() < 5


def test_torn_exif_is_no_torn_image(tmp_path):
    exif = b"Exif\0\0" + b"neither II nor MM"
    values = ramp(255, np.uint8)
    found = read(Image.fromarray(values), tmp_path / "a.png", exif=exif)
    assert np.array_equal(found[:, :, 0], values)
