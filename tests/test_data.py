"""The packaged set, local folders, and the split over clients."""

import json
from collections import Counter

import datasets
import pytest

from ilora_app.settings import DataSettings
from ilora_app.settings.model import TEXT
from ilora_app.tasks import data, labels, sources
from ilora_app.tasks.text import tokenise

SETTINGS = data.resolve_columns(DataSettings(label_column="domain"), TEXT, 0)


def test_the_packaged_set_is_whole_and_has_its_licence():
    folder = sources.PACKAGED / "clinc150"
    counts = {"train": 5000, "validation": 1500, "test": 1500}
    for split, rows in counts.items():
        lines = (folder / f"{split}.jsonl").read_text().splitlines()
        domains = Counter(json.loads(line)["domain"] for line in lines)
        assert len(lines) == rows
        assert set(domains.values()) == {rows // 10}
    notice = (folder / "README.md").read_text()
    assert "CC BY 3.0" in notice
    assert "Larson" in notice


def test_partitions_are_a_skewed_split_of_all_rows():
    settings = SETTINGS
    parts = [data.partition(settings, i, 8, seed=0) for i in range(8)]
    rows = [
        row["text"] for p in parts for half in (p.train, p.held_out) for row in half
    ]
    whole = sources.split(settings, "train", 0)["text"]
    assert sorted(rows) == sorted(whole)
    shares = [max(Counter(p.train["domain"]).values()) / len(p.train) for p in parts]
    assert max(shares) > 0.25
    for part in parts:
        total = len(part.train) + len(part.held_out)
        assert len(part.held_out) == int(total * 0.1)


def test_the_split_depends_on_the_seed_and_on_nothing_else():
    settings = SETTINGS
    first = data.partition(settings, 3, 8, seed=0).train["text"]
    sources._opened.cache_clear()
    sources.split.cache_clear()
    labels.label_names.cache_clear()
    data.partition(settings, 5, 8, seed=0)
    assert data.partition(settings, 3, 8, seed=0).train["text"] == first
    assert data.partition(settings, 3, 8, seed=1).train["text"] != first


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_local_folder_with_named_classes(tmp_path, form):
    features = datasets.Features(
        {
            "a": datasets.Value("string"),
            "b": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    for split in ("train", "test"):
        rows = [
            {"a": f"first {i}", "b": f"second {i}", "label": i % 2} for i in range(40)
        ]
        table = datasets.Dataset.from_list(rows, features=features)
        write = {"jsonl": "to_json", "csv": "to_csv", "parquet": "to_parquet"}[form]
        getattr(table, write)(str(tmp_path / f"{split}.{form}"))
    settings = DataSettings(
        dataset=str(tmp_path), text_columns="a,b", label_column="label"
    )
    names = labels.label_names(settings, 0)
    assert names == (("no", "yes") if form == "parquet" else ("0", "1"))


def test_pairs_are_tokenised_together_and_cut(tmp_path, minilm):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm)
    table = datasets.Dataset.from_dict(
        {"a": ["one two"], "b": ["three " * 50], "label": ["x"]}
    )
    settings = DataSettings(text_columns="a,b", label_column="label", max_length=12)
    examples = tokenise(table, settings, ("x", "y"), tokenizer)
    text = tokenizer.decode(examples.rows[0]["input_ids"])
    assert text.startswith("[CLS] one two [SEP] three")
    assert len(examples.rows[0]["input_ids"]) == 12
    assert examples.labels == [0]


def test_a_column_without_a_value_is_an_empty_text(minilm):
    from transformers import AutoTokenizer

    from ilora_app.tasks import causal_lm

    tokenizer = AutoTokenizer.from_pretrained(minilm)
    tokenizer.eos_token = tokenizer.sep_token
    table = datasets.Dataset.from_dict(
        {"a": ["one", "one"], "b": ["", None], "label": ["x", "x"]}
    )
    settings = DataSettings(text_columns="a,b", label_column="label", answer_column="b")
    empty, missing = tokenise(table, settings, ("x", "y"), tokenizer).rows
    assert empty == missing
    asked = causal_lm.tokenise(table, settings, tokenizer)
    assert asked.answers == ["", ""]
    assert asked.rows[0] == asked.rows[1]
