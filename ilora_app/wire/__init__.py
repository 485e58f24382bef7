"""Tensors and facts <-> Flower records: the only room that knows the key names.

A message or reply holds one record of each kind: ``arrays`` (what is trained),
``correction`` (what the drift correction adds), ``config`` or ``metrics``. All arrays
of a record travel as one (``packets``).
"""

from ilora_app.wire.checks import (
    bounded,
    decode_checked,
    flag,
    number,
    readable,
)
from ilora_app.wire.digest import digest
from ilora_app.wire.errors import WireError
from ilora_app.wire.packets import Part, pack, unpack
from ilora_app.wire.records import (
    BaseUpdate,
    Encoding,
    bytes_of,
    content_bytes,
    decode_increment,
    decode_tensors,
    encode_increment,
    encode_tensors,
    exact,
    from_bytes,
    from_words,
    model_record,
    model_tensors,
    read,
    words,
)
from ilora_app.wire.rounding import DTYPES, FLOAT32
from ilora_app.wire.sums import (
    by_node,
    flatten,
    from_by_node,
    masked,
    read_masked,
    unflatten,
)
from ilora_app.wire.views import asked, nested_part, view

ARRAYS, CORRECTION, CONFIG, METRICS = "arrays", "correction", "config", "metrics"
BASE, SLOTS, EXTRA = "base", "slots", "extra"
DEADLINE, BATCH_SIZE, PROGRESS = "deadline", "batch-size", "progress"
SPEED, SPREAD = "seconds-per-example", "spread-of-seconds"
OFFSET, OFFSET_BASIS = "offset.", "offset-basis"
ROUND, EXAMPLES, HELD_OUT = "server-round", "num-examples", "num-held-out"
LAST_TAKEN, CORRECTION_LOST = "correction-taken-in-round", "correction-lost"
HEAD_SUMS, GRAM, CROSS = "head-sums", "gram", "cross"
# Secure aggregation: the record of it, what is asked of a node, and what is in it.
SECURE, STAGE = "secure", "stage"
KEYS, SHARES, AGREE, REVEAL, FACTORS = "keys", "shares", "agree", "reveal", "factors"
SECURE_REQUIRED, SECURE_LEAST = "secure-aggregation", "secure-min-nodes"
SECURE_KEY, SECURE_ROSTER = "secure-key", "secure-roster"
PURPOSE, PASSES, PASS = "purpose", "passes", "pass"
LETTERS, SIGNED, LEFT, MASKED, BY = "letters", "signed", "left", "masked", "by"
SUMS, CHANGED, SKETCH_SEED, TOP_RANK = "sums", "changed", "sketch-seed", "top-rank"
NOISE = "noise-multiplier"
# Hashes by rank of what nodes are sent, and how control variates begin in them.
VIEWS, CORRECTED = "views", "correction/"
# Fields of a plan that a client needs.
PLAN, POOLED = ("trains", "up", "own", "kept"), "pooled"
COUNTED_ON, HELD_AT, SENT_AT = "counted-on", "held-at-version", "sent-version"
FACTORS_RANK = "rank-of-factors"
# Where numbers travel rounded: the round in which the last upload was taken.
UPLOAD_TAKEN = "upload-taken-in-round"
# Where rows are hidden: the same, also for a node that has lost what it held.
TRAINED_IN = "trained-in-round"
BASE_START, BASE_END = "base-version-held", "base-version-sent"
EVALUATE, EVALUATION = "evaluate-before-training", "evaluation"
LOSS, ACCURACY, SECONDS, EPSILON = "loss", "accuracy", "seconds", "epsilon"
TEST_SPLIT, TEST_LOSS, TEST_ACCURACY = "test-split", "test-loss", "test-accuracy"
RANK, PARTITION, PARTITIONS, PROBLEM = (
    "lora-rank",
    "partition-id",
    "num-partitions",
    "problem",
)
DATA_PATH, CLASSES = "data-path", "classes"
# The run under whose name a node keeps its own state, the node's name for itself, and
# the round whose state it has taken up again.
RUN_KEY, IDENTITY, STATE_ROUND = "run-key", "identity", "state-of-round"

PER_NODE = frozenset((RANK, FACTORS_RANK, COUNTED_ON, HELD_AT, BASE_START, LAST_TAKEN))
"""Entries of a message's config in which those to two nodes may differ."""

__all__ = [
    "DTYPES",
    "FLOAT32",
    "BaseUpdate",
    "Encoding",
    "Part",
    "WireError",
    "asked",
    "bounded",
    "by_node",
    "bytes_of",
    "content_bytes",
    "decode_checked",
    "decode_increment",
    "decode_tensors",
    "digest",
    "encode_increment",
    "encode_tensors",
    "exact",
    "flag",
    "flatten",
    "from_by_node",
    "from_bytes",
    "from_words",
    "masked",
    "model_record",
    "model_tensors",
    "nested_part",
    "number",
    "pack",
    "read",
    "read_masked",
    "readable",
    "unflatten",
    "unpack",
    "view",
    "words",
]
