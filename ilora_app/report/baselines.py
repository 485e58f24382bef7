"""What a run is held against: names of what it records of its data at the start."""

BASELINES = (
    ("majority_class", "guessing the commonest class"),
    ("tfidf", "TF-IDF and a linear model, texts pooled"),
)
"""(key in the event ``baselines``, what people read)."""
