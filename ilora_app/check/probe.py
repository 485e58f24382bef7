"""What is reached without training: the commonest class, TF-IDF, frozen features."""

from dataclasses import dataclass

import numpy as np
import torch

from ilora_app.settings import Settings
from ilora_app.settings.kinds import kind
from ilora_app.tasks import baselines, models, sources
from ilora_app.tasks.data import test_rows
from ilora_app.tasks.description import Description
from ilora_app.tasks.features import features_of
from ilora_app.tasks.labels import label_names
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.task import TASKS

# Rows that the frozen model reads, of training and of test: within a minute on a CPU.
_ROWS = {False: (2_000, 1_000), True: (400, 200)}
_BATCH = 32


@dataclass(frozen=True)
class Score:
    """Test accuracy of something that needs no federation.

    Attributes:
        name: what it is.
        accuracy: on the test split; None where it cannot be had.
        on: rows that it was trained on, or why there is no score.

    """

    name: str
    accuracy: float | None
    on: str


def majority(test: Description) -> Score:
    """Always the commonest class of the test split."""
    name = test.classes[0][0] if test.classes else ""
    return Score("the commonest class", test.majority, name)


def texts(settings: Settings) -> Score | None:
    """A linear model on TF-IDF of the texts; None where there are none."""
    labels = label_names(settings.data, settings.run.seed)
    accuracy = baselines.tfidf(settings, labels)
    if accuracy is None:
        return None
    rows = len(
        sources.split(settings.data, settings.data.train_split, settings.run.seed)
    )
    on = f"{min(rows, baselines.MOST_ROWS)} texts in one place"
    return Score("TF-IDF and a linear model", accuracy, on)


def frozen(settings: Settings) -> Score | None:
    """Logistic regression on what the frozen model makes of the rows.

    None where a row has not one class, and where nothing is dealt out.
    """
    task, data, seed = settings.model.task, settings.data, settings.run.seed
    if not kind(task).one_class or not data.train_split:
        return None
    name = "linear probe of the frozen model"
    if not _is_here(settings.model.model):
        return Score(name, None, f"{settings.model.model} is not on this machine")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = label_names(data, seed)
    try:
        backbone = load_backbone(settings.model, labels, seed)
        parts = []
        whole = sources.split(data, data.train_split, seed), test_rows(data, seed)
        for rows, most in zip(whole, _ROWS[bool(kind(task).file)], strict=True):
            part = rows.select(range(min(len(rows), most)))
            encode = TASKS[task].encode
            examples = encode(part, data, labels, backbone.processor, "the data")
            found = list(features_of(backbone, examples, _BATCH))
            features = torch.cat([x for x, _ in found]).numpy()
            parts.append((features, torch.cat([y for _, y in found]).numpy()))
    except (models.ModelError, sources.DataError) as error:
        return Score(name, None, str(error))
    (x, y), (test_x, test_y) = parts
    if len(np.unique(y)) < 2:
        return Score(name, None, "the rows that it reads are of one class")
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    accuracy = float(fitted.fit(x, y).score(test_x, test_y))
    return Score(name, accuracy, f"{len(x)} rows")


def _is_here(model: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        where, local = models.locate(model)
        return local or isinstance(try_to_load_from_cache(where, "config.json"), str)
    except (models.ModelError, HFValidationError):
        return False
