"""A prediction as JSON has it: of the command line and of the server alike."""

import math

from ilora_app.predict.answers import Prediction


def answer(found: Prediction) -> dict[str, object]:
    """Write a prediction beside its row; a value that is no number is null."""
    said: dict[str, object] = {"completion": found.completion}
    if found.number is not None:
        said = {"number": _finite(found.number)}
    if found.tags:
        said = {"tags": [{"word": word, "tag": tag} for word, tag in found.tags]}
    if found.labels:
        said = {
            "labels": [
                {"label": name, "probability": _finite(value)}
                for name, value in found.labels
            ]
        }
    return {"input": found.row, **said}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
