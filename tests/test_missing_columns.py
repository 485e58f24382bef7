"""What is said where a set has no column that could be named."""

import pytest
from PIL import Image

from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import IMAGE
from ilora_app.tasks import data


@pytest.mark.parametrize(
    "places",
    [["cat/1.png", "cat/more/2.png", "dog/3.png"], ["1.png", "2.png"]],
)
def test_images_that_are_not_in_folders_by_class(tmp_path, places):
    for name in places:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    settings = DataSettings(dataset=str(tmp_path), test_split="train")
    (found,) = data.problems(settings, IMAGE, 0)
    assert found.startswith(f"label-column = 'auto': {tmp_path} has images and no ")
    assert "expected a folder for each class, all as deep as one another" in found
    assert "name the one" not in found
