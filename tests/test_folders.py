"""Folders of recordings by class, and tables that name the files beside them."""

import json

import datasets
import pandas
import pytest
from PIL import Image

from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import AUDIO, IMAGE, IMAGE_TEXT
from ilora_app.tasks import data, files, sources
from ilora_app.tasks.labels import label_names
from tests import media


def found(place, task: str, **changes) -> DataSettings:
    settings = DataSettings(dataset=str(place), partitioner="iid", **changes)
    assert data.problems(settings, task, 0) == []
    return data.resolve_columns(settings, task, 0)


def readable(settings: DataSettings, task: str) -> int:
    rows = sources.split(settings, settings.train_split, 0)
    assert files.unreadable(rows, settings, task, "here") == []
    return len(rows)


def test_a_folder_for_each_class_of_recordings(tmp_path):
    whole = media.recordings(tmp_path / "whole", 10)
    settings = found(whole, AUDIO)
    assert (settings.audio_column, settings.label_column) == ("audio", "label")
    assert label_names(settings, 0) == ("high", "low")
    assert readable(settings, AUDIO) == 16
    rows = sources.split(settings, "train", 0)
    named = rows.features["label"].names
    for row in rows:  # nothing is decoded by datasets, which wants another library
        assert f"/{named[row['label']]}/" in row["audio"]["path"]


def test_a_folder_for_each_split_and_class_of_recordings(tmp_path):
    for split, number in (("train", 6), ("test", 2)):
        media.recordings(tmp_path / "data" / split, number)
    settings = found(tmp_path / "data", AUDIO)
    assert readable(settings, AUDIO) == 12
    assert len(sources.split(settings, "test", 0)) == 4


def test_a_table_of_recordings_by_the_split_or_metadata(tmp_path):
    for split in ("train", "test"):
        media.recordings(tmp_path / "data" / split, 4)
        lines = [
            json.dumps({"file_name": f"{label}/{i:02}.wav", "class": label})
            for label in ("low", "high")
            for i in range(4)
        ]
        text = "\n".join(lines) + "\n"
        (tmp_path / "data" / split / "metadata.jsonl").write_text(text)
    settings = found(tmp_path / "data", AUDIO)
    assert (settings.audio_column, settings.label_column) == ("file_name", "class")
    assert readable(settings, AUDIO) == 8
    assert len(sources.split(settings, "test", 0)) == 8


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_a_table_beside_its_images(tmp_path, form, whole):
    file = media.posts(tmp_path / "data", 20, form)
    settings = found(file.parent if whole else file, IMAGE_TEXT)
    columns = settings.image_column, settings.text_columns, settings.label_column
    assert columns == ("picture", "caption", "label")
    assert readable(settings, IMAGE_TEXT) == 16
    assert found(file, IMAGE).text_columns == ""


def test_images_beside_a_metadata_file_as_datasets_has_it(tmp_path):
    for i in range(10):
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{i}.png")
    rows = [
        {"file_name": f"{i}.png", "text": "a", "label": "xy"[i % 2]} for i in range(10)
    ]
    pandas.DataFrame(rows).to_csv(tmp_path / "metadata.csv", index=False)
    settings = found(tmp_path, IMAGE_TEXT)
    assert (settings.image_column, settings.text_columns) == ("image", "text")
    assert readable(settings, IMAGE_TEXT) == 8


def test_a_file_that_is_not_there_is_named_and_other_texts_stay_texts(tmp_path):
    file = media.posts(tmp_path / "data", 20, "csv")
    (file.parent / "images" / "03.png").unlink()
    settings = DataSettings(dataset=str(file), test_split="train", train_split="")
    (said,) = data.problems(settings, IMAGE_TEXT, 0)
    assert "1 of 20 images" in said
    assert "03.png" in said
    for row in (file.parent / "images").iterdir():
        row.unlink()
    copy = file.rename(file.with_name("later.csv"))
    rows = sources.split(DataSettings(dataset=str(copy)), "train", 0)
    assert isinstance(rows.features["picture"], datasets.Value), "none of them is there"


def test_audio_in_parquet_is_not_decoded(tmp_path):
    sounds = [{"bytes": b"RIFF", "path": "a.wav"}] * 3
    rows = datasets.Dataset.from_dict({"sound": sounds, "label": ["a", "b", "a"]})
    rows = rows.cast_column("sound", datasets.Audio(decode=True, sampling_rate=16_000))
    rows.to_parquet(tmp_path / "train.parquet")
    settings = DataSettings(dataset=str(tmp_path), test_split="train")
    loaded = sources.split(settings, "train", 0)
    assert not loaded.features["sound"].decode
    assert loaded[0]["sound"]["bytes"] == b"RIFF"


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        ("text-classification", {}, "images want task = 'image-classification'"),
        (AUDIO, {}, "audio-column = 'auto': "),
        (IMAGE_TEXT, {"text_columns": "caption,label"}, "one text stands beside an"),
    ],
)
def test_what_does_not_fit_says_so(tmp_path, task, changes, said):
    frame = media.posts(tmp_path / "data", 10)
    names = {"caption": "words of it"} if task == "text-classification" else {}
    pandas.read_parquet(frame).rename(columns=names).to_parquet(frame)
    settings = DataSettings(dataset=str(frame), **changes)
    assert any(said in one for one in data.problems(settings, task, 0))


def test_recordings_as_texts_say_which_task_they_want(tmp_path):
    whole = media.recordings(tmp_path / "data", 3)
    (said,) = data.problems(DataSettings(dataset=str(whole)), "text-classification", 0)
    assert "recordings want task = 'audio-classification'" in said
