"""A prediction as JSON has it: of the command line and of the server alike."""

import math

from ilora_app.predict.predictor import Prediction


def answer(found: Prediction) -> dict[str, object]:
    """Write a prediction beside its row; a probability that is no number is null."""
    if not found.labels:
        return {"input": found.row, "completion": found.completion}
    labels = [
        {"label": name, "probability": value if math.isfinite(value) else None}
        for name, value in found.labels
    ]
    return {"input": found.row, "labels": labels}
