"""What a classifier gets without a federation: the commonest class, and TF-IDF."""

from collections.abc import Sequence

import torch
from datasets import Dataset

from ilora_app.settings import Settings
from ilora_app.settings.kinds import TEXT
from ilora_app.tasks.data import test_rows
from ilora_app.tasks.description import texts
from ilora_app.tasks.examples import Examples
from ilora_app.tasks.labels import label_ids
from ilora_app.tasks.sources import split

MOST_ROWS = 20_000
"""So many rows of a split at most: the baseline stays a matter of seconds."""


def majority_class(test: Examples) -> float:
    """Accuracy of always guessing the commonest class of the test split."""
    found = torch.cat([batch["labels"] for batch in test.batches(1024)])
    return float(torch.bincount(found).max()) / len(found)


def tfidf(settings: Settings, labels: tuple[str, ...]) -> float | None:
    """Test accuracy of a linear model on TF-IDF of the pooled training texts.

    Words and pairs of words, sublinear term frequencies, a linear support vector
    machine: no network, no pretraining, and all data in one place, which a federation
    does not have. None where there are no texts, or where no split is dealt out.
    """
    data = settings.data
    if settings.model.task != TEXT or not data.train_split:
        return None
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    seed = settings.run.seed
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LinearSVC(random_state=0),
    )
    model.fit(*_pairs(split(data, data.train_split, seed), settings, labels))
    return float(model.score(*_pairs(test_rows(data, seed), settings, labels)))


def _pairs(
    rows: Dataset, settings: Settings, labels: tuple[str, ...]
) -> tuple[Sequence[str], Sequence[int]]:
    """Texts, the columns of a row behind one another, and their class ids."""
    data = settings.data
    rows = rows.select(range(min(len(rows), MOST_ROWS)))
    feature = rows.features[data.label_column]
    return texts(rows, data), label_ids(rows[data.label_column][:], feature, labels)
