"""Data for the small presets, from stand-ins with the columns of the sources."""

import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value, load_dataset

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def fetch():
    place = ROOT / "examples" / "data" / "fetch.py"
    spec = importlib.util.spec_from_file_location("ilora_fetch", place)
    module = importlib.util.module_from_spec(spec)
    sys.modules["ilora_fetch"] = module
    spec.loader.exec_module(module)
    return module


def stand_in(source, rows: int) -> dict[str, Dataset]:
    """Splits of a source, with a column more than is kept."""
    return {
        split: Dataset.from_dict(
            {c: [f"{split} {i}" for i in range(rows)] for c in (*source.columns, "idx")}
        )
        for split in source.splits
    }


def test_every_set_that_a_preset_names_has_a_source_with_its_columns(fetch):
    presets = [tomllib.loads(f.read_text()) for f in (ROOT / "configs").glob("*.toml")]
    used = [p for p in presets if p.get("dataset", "").startswith("$ILORA_SHARED/")]
    names = {p["dataset"].rpartition("/")[2] for p in used} - {"ag_news"}
    assert names <= set(fetch.SOURCES)
    keys = ("text-columns", "label-column", "answer-column", "partition-by")
    for preset in used:
        name = preset["dataset"].rpartition("/")[2]
        if name not in fetch.SOURCES:
            continue
        asked = {c for key in keys for c in preset.get(key, "").split(",") if c}
        assert asked <= {*fetch.SOURCES[name].columns.values()}, name


def test_rows_are_drawn_cut_and_written_without_overlap(fetch, tmp_path):
    for name, source in fetch.SOURCES.items():
        loaded = stand_in(source, 6000)
        parts = fetch.prepared(source, loaded)
        folder = fetch.write(name, parts, tmp_path)
        found = load_dataset(str(folder))
        assert set(found["train"].column_names) == set(source.columns.values())
        train, test = (len(found[split]) for split in ("train", "test"))
        most, least = source.rows
        assert test == (least or 6000)
        assert train == (most or (6000 - test if len(source.splits) == 1 else 6000))
        column = next(iter(source.columns.values()))
        assert not set(found["train"][column]) & set(found["test"][column])
        again = fetch.prepared(source, loaded)
        assert again["train"][:] == parts["train"][:], "the same draw with every call"


def test_names_of_classes_stay(fetch):
    source = fetch.SOURCES["cifar100"]
    features = Features(
        {"img": Value("string"), "fine_label": ClassLabel(names=["apple", "bear"])}
    )
    rows = Dataset.from_dict({"img": ["a", "b"], "fine_label": [0, 1]}, features)
    parts = fetch.prepared(source, {"train": rows, "test": rows})
    assert parts["train"].features["label"].names == ["apple", "bear"]


def test_a_source_that_has_changed_is_named(fetch):
    source = fetch.SOURCES["sst2"]
    loaded = stand_in(source, 5)
    with pytest.raises(ValueError, match="no split validation in train"):
        fetch.prepared(source, {"train": loaded["train"]})
    bare = {split: rows.remove_columns("sentence") for split, rows in loaded.items()}
    with pytest.raises(ValueError, match="no column sentence in label, idx"):
        fetch.prepared(source, bare)


def test_without_the_hub_it_ends_with_a_sentence(tmp_path):
    nowhere = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, ROOT / "examples/data/fetch.py", tmp_path, "gsm8k"],
        env=os.environ | nowhere,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("gsm8k was not fetched: ")
    assert "It comes from https://huggingface.co/datasets/openai/gsm8k" in done.stderr


def test_a_name_that_is_no_set_is_a_mistake_in_the_command(fetch, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fetch.py", "out", "gsm7k"])
    with pytest.raises(SystemExit, match="2"):
        fetch.main()
    assert "no set gsm7k: expected sst2, qnli, " in capsys.readouterr().err
