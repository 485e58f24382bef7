"""What each task reads and what it learns; everything else about it follows."""

from dataclasses import dataclass

TEXT, IMAGE, LANGUAGE = "text-classification", "image-classification", "causal-lm"
MULTI_LABEL, REGRESSION = "multi-label-classification", "regression"
TAGS, SEQ2SEQ = "token-classification", "seq2seq-lm"


@dataclass(frozen=True)
class Kind:
    """Kind of a task.

    Attributes:
        reads: texts, an image, the words of a text, or a prompt.
        learns: one class a row, any number of them, a number, a tag for every word, or
            what to write.
        model: of the hub, to suggest where the default model does not serve.

    """

    reads: str
    learns: str
    model: str = ""

    @property
    def images(self) -> bool:
        """It reads images, and else texts."""
        return self.reads == "image"

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
}
TASKS = tuple(_KINDS)


def kind(task: str) -> Kind:
    """Kind of a task of this name."""
    return _KINDS[task]
