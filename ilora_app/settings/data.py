"""Run-config keys of the data set and its split over the clients."""

from dataclasses import dataclass

from ilora_app.settings import options
from ilora_app.settings.options import (
    above,
    at_least,
    below_one,
    option,
    some_place,
)

AUTO = "auto"
TRAIN, TEST = "train", "test"
PARTITIONERS = (
    AUTO,
    "dirichlet",
    "iid",
    "pathological",
    "shard",
    "linear",
    "exponential",
    "natural-id",
)


@dataclass(frozen=True)
class DataSettings:
    """The data set, its columns, and its split over the clients."""

    dataset: str = option(
        "clinc150",
        "Packaged set (clinc150), local file or folder, or hub id.",
        check=some_place,
    )
    dataset_subset: str = option(
        "", "Configuration of a hub data set, such as qnli of nyu-mll/glue."
    )
    text_columns: str = option(
        AUTO,
        "Column with the text, or two for pairs; of a causal-lm or seq2seq-lm the "
        "columns of the prompt; of a token-classification the words. auto finds them "
        "by name.",
        check=options.columns,
    )
    label_column: str = option(
        AUTO,
        "Column with the class, the classes, the number or the tags; auto finds it by "
        "name.",
    )
    image_column: str = option(AUTO, "Column with the image; auto finds it.")
    audio_column: str = option(AUTO, "Column with the recording; auto finds it.")
    answer_column: str = option(
        AUTO,
        "Column with the answer that a causal-lm or seq2seq-lm learns; auto finds it "
        "by name.",
    )
    prompt_template: str = option(
        "",
        "Prompt of a language model with {column} for a row's values; empty: the "
        "tokenizer's chat template, or without one the columns on lines of their own.",
    )
    train_split: str = option(
        TRAIN,
        "Split dealt out to clients, or a part such as train[:80%]; empty where every "
        "node has data of its own.",
    )
    test_split: str = option(
        TEST,
        "Split on which the server evaluates, or a part such as train[80%:].",
        check=some_place,
    )
    test_fraction: float = option(
        0.2,
        "Part of the rows held out as the test split, a like part of every class, "
        "drawn by the seed, of a set that has one split alone; 0: none.",
        check=below_one,
    )
    drop_unlabelled: bool = option(
        False, "Leave out rows without a class, and say how many; false refuses them."
    )
    test_examples: int = option(
        0,
        "Evaluate on so many examples of the test split, drawn by the seed; 0: on all.",
        check=at_least(0),
    )
    generate_tokens: int = option(
        0,
        "Also let a language model write up to so many tokens for every test prompt, "
        "and count the right answers (exact_match): of a causal-lm those whose last "
        "number is right; 0: do not.",
        check=at_least(0),
    )
    partitioner: str = option(
        AUTO,
        "How the training split is dealt out: Dirichlet label skew, iid, a few classes "
        "each (pathological), sorted shards, sizes that grow linearly or "
        "exponentially, or by the values of a column (natural-id). auto is dirichlet "
        "where a row has one class or partition-by is named, else iid.",
        choices=PARTITIONERS,
    )
    partition_by: str = option(
        "",
        "Column that the partitioner goes by: a client's name for natural-id, a "
        "category for label skew without classes; empty: label-column.",
    )
    dirichlet_alpha: float = option(
        0.3,
        "Label skew between clients: Dirichlet concentration, small is skewed. "
        "Paper: 0.3 vision, 0.5 and 0.6 language, 0.1 at scale.",
        check=above(0),
    )
    classes_per_partition: int = option(
        2, "Classes a client has under pathological.", check=at_least(1)
    )
    shards_per_partition: int = option(
        2, "Shards a client has under shard.", check=at_least(1)
    )
    min_partition_size: int = option(
        10,
        "Draw a Dirichlet split again until every client has so many examples.",
        check=at_least(0),
    )
    partition_plot: bool = option(
        False, "Draw the label distribution of the clients into the run folder."
    )
    holdout_fraction: float = option(
        0.1, "Part of a client's data kept for its own evaluation.", check=below_one
    )
    max_length: int = option(
        64, "Tokens after which a text is cut. Paper: 64.", check=at_least(2)
    )
    max_seconds: float = option(
        20.0,
        "Seconds after which a recording is cut, before its model has a say.",
        check=above(0),
    )
    packing: bool = option(
        False, "Put several answers of a causal-lm into one row of max-length tokens."
    )
    augment: bool = option(True, "Flip and crop training images at random.")
