"""Recordings, and images with texts, with untrained models small enough for a test."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import soundfile
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    AutoModelForAudioClassification,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    HubertConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
)

from ilora_app.settings import Settings, parsing
from tests import tiny_models

RATE = 8_000
LAYERS: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
_CONVOLUTIONS = {
    "conv_dim": (16, 16), "conv_kernel": (20, 8), "conv_stride": (20, 8),
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16, "feat_extract_norm": "layer",
}  # fmt: skip
_WAVES = {**LAYERS, **_CONVOLUTIONS}
AUDIO_CONFIGS = {
    "wav2vec2": Wav2Vec2Config(**_WAVES),
    "hubert": HubertConfig(**_WAVES),
    "wavlm": WavLMConfig(**_WAVES),
    "ast": ASTConfig(**LAYERS, max_length=64, num_mel_bins=32),
    "whisper": WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=48,
        decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=48,
        num_mel_bins=16, max_source_positions=50, classifier_proj_size=16,
    ),
}  # fmt: skip


def tone(pitch: float, seconds: float, seed: int, rate: int = RATE) -> np.ndarray:
    """A tone in noise: float32 samples."""
    noise = np.random.default_rng(seed).normal(size=int(seconds * rate))
    time = np.arange(len(noise)) / rate
    return (0.4 * np.sin(2 * np.pi * pitch * time) + 0.02 * noise).astype("float32")


def recordings(folder: Path, number: int = 24, rate: int = RATE) -> Path:
    """A folder for each of two classes: low and high tones, of several lengths."""
    for label, pitch in (("low", 250), ("high", 1200)):
        (folder / label).mkdir(parents=True)
        for i in range(number):
            wave = tone(pitch, 0.3 + 0.05 * (i % 3), i, rate)
            soundfile.write(folder / label / f"{i:02}.wav", wave, rate)
    return folder


def audio_model(folder: Path, kind: str = "wav2vec2", rate: int = RATE) -> Path:
    torch.manual_seed(0)
    AutoModelForAudioClassification.from_config(AUDIO_CONFIGS[kind]).save_pretrained(
        folder
    )
    if kind == "ast":
        extractor: Any = ASTFeatureExtractor(
            sampling_rate=16_000, num_mel_bins=32, max_length=64
        )
    elif kind == "whisper":
        extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    else:
        extractor = Wav2Vec2FeatureExtractor(
            sampling_rate=rate, return_attention_mask=True
        )
    extractor.save_pretrained(folder)
    return folder


def posts(folder: Path, number: int = 40, form: str = "parquet") -> Path:
    """A table of images and texts, labelled by whether the two agree."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(number):
        colour, word = ("red", "blue")[i % 2], ("red", "blue")[i // 2 % 2]
        Image.new("RGB", (18 + i % 3, 20), colour).save(folder / f"images/{i:02}.png")
        label = "same" if colour == word else "other"
        row = {
            "picture": f"images/{i:02}.png",
            "caption": f"{word} card",
            "label": label,
        }
        rows.append(row)
    table = pandas.DataFrame(rows)
    if form == "parquet":
        table.to_parquet(folder / "posts.parquet", index=False)
    else:
        table.to_csv(folder / "posts.csv", index=False)
    return folder / f"posts.{form}"


def clip(folder: Path) -> Path:
    """CLIP of two layers a side, with its processor."""
    torch.manual_seed(0)
    tokenizer = tiny_models.tokenizer()
    tokenizer.pad_token = "</s>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    text = {
        **LAYERS, "vocab_size": tiny_models.WORDS, "max_position_embeddings": 32,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    }  # fmt: skip
    vision = {**LAYERS, "image_size": 16, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    size = {"height": 16, "width": 16}
    images = CLIPImageProcessor(size=size, crop_size=size)
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def job(task: str, model: Path, dataset: Path, **changes: Any) -> dict[str, Any]:
    """Two rounds of two clients."""
    return parsing.dump(Settings()) | {
        "task": task,
        "model": str(model),
        "dataset": str(dataset),
        "num-server-rounds": 2,
        "client-ranks": "2,4",
        "local-steps": 3,
        "batch-size": 8,
        "max-length": 16,
        "min-partition-size": 2,
        "dirichlet-alpha": 10.0,
        "report": False,
        "output-dir": str(model.parent / "run"),
        **{key.replace("_", "-"): value for key, value in changes.items()},
    }
