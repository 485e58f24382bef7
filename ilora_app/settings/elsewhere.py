"""Names that settings have in PEFT and in transformers' Trainer, and what is here."""

_SCALING = (
    "lora-scaling is lora_alpha / r, one number for clients of all ranks (2.0 is the "
    "lora_alpha 16 of rank 8)"
)

HINTS = {
    "lora-alpha": _SCALING,
    "r": "client-ranks has the rank of each client",
    "rank": "client-ranks has the rank of each client",
    "lora-r": "client-ranks has the rank of each client",
    "lora-rank": "client-ranks has the rank of each client; a node's own --node-config "
    "lora-rank wins",
    "early-stopping-rounds": (
        "patience ends a run after so many evaluations without a better best-metric, "
        "such as held_out_accuracy, that of the clients' held-out data"
    ),
    "early-stopping-patience": (
        "patience ends a run after so many evaluations without a better best-metric, "
        "such as held_out_accuracy, that of the clients' held-out data"
    ),
    "num-train-epochs": "local-epochs, with local-steps = 0, and num-server-rounds",
    "per-device-train-batch-size": "batch-size",
    "gradient-accumulation-steps": "gradient-accumulation",
    "warmup-steps": "rate-schedule has how the learning rate changes over the rounds",
    "max-seq-length": "max-length",
    "load-in-4bit": "quantisation = '4bit'",
    "load-in-8bit": "quantisation = '8bit'",
}
"""By key, with dashes; underscores are read as dashes."""
