"""What a run says of guessing and of a linear model on its texts."""

from dataclasses import replace

import pytest
from datasets import Dataset, DatasetDict

from ilora_app.settings import Settings
from ilora_app.tasks import baselines
from ilora_app.tasks.baselines import MOST_ROWS, tfidf
from ilora_app.tasks.data import resolve_columns
from tests.conftest import read_events
from tests.local_run import run

WORDS = {"red": ["rose", "brick"], "blue": ["sky", "sea"]}


@pytest.fixture
def texts(tmp_path):
    """Texts that a word tells apart, and one in four of the test rows that lies."""
    rows = [(f"a {w} today", c) for c, words in WORDS.items() for w in words] * 30
    test = [("a rose", "red"), ("the sky", "blue"), ("a brick", "red"), ("sea", "red")]
    DatasetDict(
        {
            name: Dataset.from_dict(
                dict(zip(("text", "label"), zip(*part, strict=True), strict=True))
            )
            for name, part in (("train", rows), ("test", test))
        }
    ).save_to_disk(str(tmp_path / "texts"))
    return str(tmp_path / "texts")


def settings(dataset, **data):
    chosen = Settings()
    data = resolve_columns(
        replace(chosen.data, dataset=dataset, **data), chosen.model.task, 0
    )
    return replace(chosen, data=data)


def test_words_alone_tell_classes_apart(texts):
    assert tfidf(settings(texts), ("blue", "red")) == 0.75


def test_nothing_is_said_where_no_texts_are_dealt(texts):
    chosen = settings(texts)
    apart = replace(chosen, data=replace(chosen.data, train_split=""))
    assert tfidf(apart, ("blue", "red")) is None
    images = replace(chosen, model=replace(chosen.model, task="image-classification"))
    assert tfidf(images, ("blue", "red")) is None
    assert MOST_ROWS > 5000


def test_texts_without_words_lose_no_other_baseline(run_config, monkeypatch):
    def fails(*_):
        raise ValueError("empty vocabulary")

    monkeypatch.setattr(baselines, "tfidf", fails)
    run_config |= {"report": True, "num-server-rounds": 1, "test-examples": 40}
    (event,) = read_events(run(run_config)[0], "baselines")
    assert event["majority_class"] > 0
    assert "tfidf" not in event


@pytest.mark.parametrize("report", [True, False])
def test_log_and_events_have_them(run_config, caplog, report):
    """The linear model takes seconds, and is for those who read a report."""
    run_config |= {"report": report, "num-server-rounds": 1, "test-examples": 40}
    folder, _, _ = run(run_config)
    (event,) = read_events(folder, "baselines")
    assert 0 < event["majority_class"] < 1
    assert ("tfidf" in event) == report
    assert ("TF-IDF" in caplog.text) == report
    if report:
        page = (folder / "report.html").read_text()
        assert "texts pooled" in page
        assert f"{event['tfidf']:.4f}" in page
