"""Recordings: their samples, rates and channels, what is cut, and what is torn."""

import io
import sys

import datasets
import numpy as np
import pytest
import soundfile
import torch
from transformers import (
    ASTConfig,
    CLIPConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
)

from ilora_app.node.auto_rank import load_of
from ilora_app.settings import DataSettings, ModelSettings, Settings
from ilora_app.settings.kinds import AUDIO, IMAGE_TEXT
from ilora_app.tasks import audio, files
from ilora_app.tasks.places import DataError
from tests.media import RATE, tone

SETTINGS = DataSettings(audio_column="audio", label_column="label", max_seconds=1.0)


def wav(samples: np.ndarray, rate: int = RATE, **how) -> dict:
    held = io.BytesIO()
    soundfile.write(held, samples, rate, format="WAV", subtype="FLOAT", **how)
    return {"bytes": held.getvalue(), "path": None}


def table(sounds: list[dict]) -> datasets.Dataset:
    names = datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features(
        {"audio": datasets.Audio(decode=False), "label": names}
    )
    ids = [i % 2 for i in range(len(sounds))]
    return datasets.Dataset.from_dict({"audio": sounds, "label": ids}).cast(features)


def encoded(sounds: list[dict], **how) -> audio.AudioExamples:
    extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=RATE, return_attention_mask=True, **how
    )
    return audio.encode(table(sounds), SETTINGS, ("a", "b"), extractor, "partition 0")


def test_a_batch_is_what_the_extractor_makes_of_it_padded():
    waves = [tone(300, seconds, 0) for seconds in (0.5, 0.3, 0.4)]
    examples = encoded([wav(one) for one in waves])
    batch = examples.batch([2, 0, 1])
    expected = examples.extractor(
        [waves[i] for i in (2, 0, 1)],
        sampling_rate=RATE,
        padding=True,
        return_tensors="pt",
    )
    torch.testing.assert_close(batch["input_values"], expected["input_values"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    assert batch["labels"].tolist() == [0, 0, 1]
    assert examples.order() == [1, 2, 0]
    assert not examples.alone, "some are followed by silence"
    assert encoded([wav(waves[0]), wav(waves[0])]).alone


def test_a_tone_keeps_its_pitch_at_another_rate():
    sound = wav(tone(440, 0.5, 0, 44_100), 44_100)
    found = audio.read(sound, RATE, 1.0, "it")
    assert len(found) == RATE // 2
    spectrum = np.abs(np.fft.rfft(found))
    assert np.argmax(spectrum) * RATE / len(found) == pytest.approx(440, abs=2)
    inner = slice(200, -200)  # the filter's ends
    np.testing.assert_allclose(
        found[inner], tone(440, 0.5, 0)[inner], atol=0.15
    )  # but for the noise


def test_channels_become_their_mean_and_what_is_long_is_cut():
    left, right = tone(300, 1.5, 0), tone(500, 1.5, 1)
    found = audio.read(wav(np.stack([left, right], axis=1)), RATE, 1.0, "it")
    np.testing.assert_allclose(found, ((left + right) / 2)[:RATE], atol=1e-6)
    short = audio.read(wav(left[:10]), RATE, 1.0, "it")
    assert len(short) == RATE // 10
    assert not short[10:].any(), "silence behind what is too short"


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        ({"bytes": b"RIFF, torn", "path": "b.wav"}, r"\(b.wav\) cannot be read"),
        ({"bytes": None, "path": "/no/such.wav"}, "such.wav"),
        ({"bytes": b"", "path": None}, "cannot be read"),
        (None, "there is none"),
        (wav(np.zeros(0, "float32")), "it has no samples"),
        (wav(np.full(800, np.nan, "float32")), "NaN or infinite"),
        (wav(tone(300, 0.1, 0), 999), "999 samples a second, expected 1000 to 384000"),
    ],
)
def test_what_is_no_recording_is_told(sound, said):
    with pytest.raises(DataError, match=said) as raised:
        audio.read(sound, RATE, 1.0, "recording 3 of partition 1")
    assert raised.value.told == "a recording of its data cannot be read"


def test_torn_recordings_are_counted_and_named():
    rows = table([wav(tone(300, 0.2, 0))] * 2 + [{"bytes": b"torn", "path": "b.wav"}])
    (found,) = files.unreadable(rows, SETTINGS, AUDIO, "/data/train")
    assert "audio-column = 'audio': 1 of 3 recordings of /data/train" in found
    assert "row 2 (b.wav) cannot be read" in found
    assert files.unreadable(rows.select([0, 1]), SETTINGS, AUDIO, "here") == []
    numbers = datasets.Dataset.from_dict({"audio": [1, 2], "label": ["a", "b"]})
    with pytest.raises(DataError, match="expected audio or its files"):
        files.unreadable(numbers, SETTINGS, AUDIO, "here")


def test_without_the_library_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    rows = table([{"bytes": b"", "path": f"{n}.wav"} for n in range(5)])
    (found,) = files.unreadable(rows, SETTINGS, AUDIO, "here")
    assert found.startswith("task = 'audio-classification': reading recordings needs")
    assert "pip install soundfile" in found


def test_a_free_rank_counts_the_frames_of_a_recording_and_the_patches_beside_a_text():
    def tokens(config: object, task: str, **data: float) -> int:
        settings = Settings(model=ModelSettings(task), data=DataSettings(**data))
        return load_of(config, {"q": (32, 32)}, 64, settings).tokens

    assert tokens(Wav2Vec2Config(), AUDIO, max_seconds=4.0) == 200
    assert tokens(ASTConfig(), AUDIO, max_seconds=4.0) == 1214
    assert tokens(WhisperConfig(), AUDIO, max_seconds=4.0) == 1500
    vision = {"image_size": 224, "patch_size": 16}
    assert tokens(CLIPConfig(vision_config=vision), IMAGE_TEXT, max_length=64) == 197
