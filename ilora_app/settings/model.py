"""Run-config keys of the task, the frozen model, and what is trained on it."""

from dataclasses import dataclass

from ilora_app.settings.kinds import IMAGE as IMAGE
from ilora_app.settings.kinds import LANGUAGE as LANGUAGE
from ilora_app.settings.kinds import TASKS
from ilora_app.settings.kinds import TEXT as TEXT
from ilora_app.settings.options import (
    above,
    at_least,
    below_one,
    layer_numbers,
    names,
    not_empty,
    option,
    some_place,
    within,
)

GAINS = ("paper", "scaled")
ALL = "all"
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class ModelSettings:
    """The task, the frozen model, and what is trained on it."""

    task: str = option(
        TEXT,
        "What is learned: the class of a text or a pair of texts, the class of an "
        "image, of a recording or of an image with a text, the answer to a prompt; all "
        "classes of a text that has several, a number for it, a tag for each of its "
        "words, or the answer of an encoder-decoder such as T5.",
        choices=TASKS,
    )
    model: str = option(
        "sentence-transformers/all-MiniLM-L6-v2",
        "Local folder, installed model package, hub cache or hub id, in that order.",
        check=some_place,
    )
    target_modules: str = option(
        "auto",
        "Layers that get factors, by the end of their names; auto is PEFT's choice for "
        "the architecture, else query and value; all-linear is every linear layer but "
        "those of the head. Paper: query,value.",
        check=not_empty,
    )
    modules_to_save: str = option(
        "auto",
        "Modules trained and sent whole beside the factors: the head; auto is every "
        "module of a classifier outside its encoder, and a pooler. Paper: classifier.",
    )
    layers_to_transform: str = option(
        ALL,
        "Numbers of the transformer layers that get factors, of those that "
        "target-modules names; negative ones count from the end, as in '-2,-1'.",
        check=layer_numbers,
    )
    lora_scaling: float = option(
        2.0,
        "s in W x + s B A x, one constant for all ranks (PEFT's lora_alpha = s r). "
        "Paper: lora_alpha 16 at every rank.",
        check=within(1e-6, 1e6),
    )
    use_rslora: bool = option(
        False,
        "rsLoRA: a client of rank r trains as with alpha / sqrt(r), s being that of "
        "rank 8: s sqrt(8 / r) in place of s. What travels stays in one scaling.",
    )
    use_dora: bool = option(
        False,
        "DoRA: rows of W0 + s B A keep their directions, and their lengths are trained "
        "apart; those are averaged as the head is.",
    )
    lora_dropout: float = option(0.0, "Dropout before A. Paper: 0.1.", check=below_one)
    initialisation: str = option(
        "auto",
        "Factors at the start: qr orthonormal directions of W0 (ilora, fedit) or "
        "standard (A random, B zero); auto is qr under ilora, standard elsewhere. "
        "Paper: qr.",
        choices=("auto", "qr", "standard"),
    )
    init_gain: str = option(
        "paper",
        "Gain of the qr start: paper is g = 1, scaled makes the initial product small.",
        choices=GAINS,
    )
    private_rank: int = option(
        0,
        "Rank of a second adapter of every client, which trains beside the shared one "
        "and never leaves the client; 0: none.",
        check=at_least(0),
    )
    private_weight: float = option(
        1.0,
        "w in W x + s B A x + s w B_p A_p x, with the private factors B_p, A_p.",
        check=above(0),
    )
    dtype: str = option(
        "float32",
        "Number type of the frozen model and of what it computes; factors and head "
        "are float32 whatever it is.",
        choices=DTYPES,
    )
    attn_implementation: str = option(
        "auto",
        "How attention is computed, as transformers names it; auto is its choice. On a "
        "CPU eager is the fast one for short texts in bfloat16.",
        choices=("auto", "eager", "sdpa", "flash_attention_2"),
    )
    quantisation: str = option(
        "none",
        "Hold the frozen weights in 8 or 4 bits; needs CUDA and the extra quantised.",
        choices=("none", "8bit", "4bit"),
    )
    base_dropout: bool = option(
        True,
        "Train with the dropout that the model's own config has; false sets it to 0.",
    )
    activation_cache: int = option(
        1000,
        "Megabytes of main memory, for each set of examples, to keep what the layers "
        "below the first adapted one compute: they are then run once; 0: never. In "
        "training only where base-dropout and augment change nothing.",
        check=at_least(0),
    )
    gradient_checkpointing: bool = option(
        False, "Compute activations again in the backward pass: less memory, slower."
    )
    image_size: int = option(
        0,
        "Side of the images in pixels, with position embeddings interpolated; 0: the "
        "model's own.",
        check=at_least(0),
    )

    @property
    def layers(self) -> list[int] | None:
        """``layers_to_transform`` of PEFT: numbers, or None for all."""
        chosen = self.layers_to_transform
        return None if chosen == ALL else [int(number) for number in names(chosen)]
