"""What each task reads and what it learns; everything else about it follows."""

from dataclasses import dataclass

TEXT, IMAGE, LANGUAGE = "text-classification", "image-classification", "causal-lm"
MULTI_LABEL, REGRESSION = "multi-label-classification", "regression"
TAGS, SEQ2SEQ = "token-classification", "seq2seq-lm"
AUDIO, IMAGE_TEXT = "audio-classification", "image-text-classification"


@dataclass(frozen=True)
class Kind:
    """Kind of a task.

    Attributes:
        reads: texts, an image, an image and a text, a recording, the words of a text,
            or a prompt.
        learns: one class a row, any number of them, a number, a tag for every word, or
            what to write.
        model: of the hub, to suggest where the default model does not serve.

    """

    reads: str
    learns: str
    model: str = ""

    @property
    def file(self) -> str:
        """What the one file of a row is: an image or audio; empty where it has none."""
        return {"image": "image", "image and text": "image", "audio": "audio"}.get(
            self.reads, ""
        )

    @property
    def tokens(self) -> bool:
        """It reads texts, through a tokenizer, alone or beside an image."""
        return self.reads not in ("image", "audio")

    @property
    def writes(self) -> bool:
        """It learns to write an answer."""
        return self.learns == "answer"

    @property
    def has_head(self) -> bool:
        """Its model gets a head that is drawn anew."""
        return not self.writes

    @property
    def one_class(self) -> bool:
        """It learns one class a row: what a ridge head and a skewed deal go by."""
        return self.learns == "class"

    @property
    def has_names(self) -> bool:
        """What it learns has names: classes, or tags."""
        return self.learns in ("class", "classes", "tags")

    @property
    def has_accuracy(self) -> bool:
        """Something it says is right or wrong; a number is only near or far."""
        return self.learns != "number"


_KINDS = {
    TEXT: Kind("texts", "class"),
    IMAGE: Kind("image", "class", "google/vit-base-patch16-224"),
    LANGUAGE: Kind("prompt", "answer", "Qwen/Qwen2.5-0.5B-Instruct"),
    MULTI_LABEL: Kind("texts", "classes"),
    REGRESSION: Kind("texts", "number"),
    TAGS: Kind("words", "tags", "distilbert/distilbert-base-cased"),
    SEQ2SEQ: Kind("prompt", "answer", "google/flan-t5-small"),
    AUDIO: Kind("audio", "class", "facebook/wav2vec2-base-960h"),
    IMAGE_TEXT: Kind(
        "image and text", "class", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    ),
}
TASKS = tuple(_KINDS)


def example(task: str) -> str:
    """What a row to predict from looks like, on a command line."""
    text = '"a prompt"' if _KINDS[task].writes else '"a text"'
    file = {"image": "image.png", "audio": "recording.wav"}.get(_KINDS[task].file)
    words = (file, text if _KINDS[task].tokens else None)
    return " ".join(filter(None, words))


def kind(task: str) -> Kind:
    """Kind of a task of this name."""
    return _KINDS[task]
