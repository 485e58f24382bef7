"""``ilora predict``: what it cannot do, and what it says then."""

import json
import shutil

import pytest

from tests.finished import ilora, objects


def test_what_a_language_model_cannot_go_on_from(made):
    run = made["gpt2"].folder
    said = failure(run, "one", "", "three")
    assert "row 2 of 3, {'text': ''}: expected a text" in said
    config = made["gpt2"].server.prepared.backbone.model.config
    most = config.max_position_embeddings
    said = failure(run, "one", "--max-new-tokens", most + 1)
    assert f"--max-new-tokens {most + 1}: expected at most {most}" in said
    for number in (most, most - 3):
        words = ["--max-new-tokens", number, "--json"]
        (found,) = objects(ilora("predict", run, "word " * 99, *words))
        assert isinstance(found["completion"], str)


def failure(*words: object) -> str:
    result = ilora("predict", *words)
    assert result.exit_code == 2
    assert not result.stdout
    return result.output


def test_what_it_cannot_do(made, tmp_path):
    run = made["bert"].folder
    assert "that of a run, with a config.toml in it" in failure(tmp_path, "text")
    assert "expected texts or files, or --file" in failure(run)
    assert "and not both" in failure(run, "text", "--file", tmp_path / "x.csv")
    assert "expected a .csv, .tsv or .jsonl file" in failure(run, "--file", "x.txt")
    assert "cannot be read" in failure(run, "--file", tmp_path / "absent.csv")
    for name, text, message in (
        ("none.csv", "text\n", "it has no rows"),
        ("column.csv", "body\nhello\n", "line 2: column text holds None"),
        ("short.csv", "id,text\n1,a\n2\n", "line 3: column text holds None"),
        ("array.jsonl", '{"text": "a"}\n[1]\n', "line 2: expected an object"),
        ("torn.jsonl", '{"text": "a"}\n{"text\n', "line 2: "),
        ("type.jsonl", '{"text": ["a"]}\n', "line 1: column text holds ['a']"),
        ("wide.csv", "text\na,b\n", "cannot be read: "),
        ("latin.jsonl", '{"text": "\xe9"}\n', "cannot be read"),
    ):
        (tmp_path / name).write_bytes(text.encode("latin-1"))
        assert message in failure(run, "--file", tmp_path / name)


def test_pairs_come_two_by_two(made, tmp_path):
    out = tmp_path / "pairs"
    ilora("export", made["bert"].folder, "--out", out)
    facts = json.loads((out / "ilora.json").read_text())
    (out / "ilora.json").write_text(json.dumps(facts | {"columns": "first,second"}))
    assert "3 given: expected 2 texts at a time (first, second)" in failure(
        out, "a", "b", "c"
    )
    found = objects(ilora("predict", out, "a", "b", "c", "d", "--json"))
    assert found[1]["input"] == {"first": "c", "second": "d"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2; this version reads 1"),
        ({"task": "audio"}, "task = 'audio': expected one of"),
        ({"labels": [1, 2]}, "labels = (1, 2)"),
        ({"max_length": "64"}, "max_length = '64'"),
        ({"more": 1}, "unexpected keyword"),
    ],
)
def test_facts_that_are_not_what_was_written(made, tmp_path, changes, message):
    out = tmp_path / "adapter"
    ilora("export", made["bert"].folder, "--out", out)
    facts = json.loads((out / "ilora.json").read_text())
    (out / "ilora.json").write_text(json.dumps(facts | changes))
    assert message in failure(out, "text")


def test_folders_that_are_not_whole(made, tmp_path):
    out = tmp_path / "adapter"
    ilora("export", made["bert"].folder, "--out", out)
    assert "is no run, and has one" in failure(out, "text", "--round", "best")
    facts = json.loads((out / "ilora.json").read_text())
    (out / "ilora.json").write_text(json.dumps(facts | {"base": "/no/such/folder"}))
    assert "there is no such folder" in failure(out, "text")


def test_a_part_of_a_run_names_the_run(made):
    run = made["bert"].folder
    for part in (run / "adapter", run / "best" / "adapter", run / "best"):
        assert f"{part} is a part of a run: expected {run} " in failure(part, "text")


def test_a_rank_that_the_tensors_do_not_have(made, tmp_path):
    """Before a model of that rank takes its memory."""
    out = tmp_path / "adapter"
    ilora("export", made["bert"].folder, "--out", out)
    config = json.loads((out / "adapter_config.json").read_text())
    (out / "adapter_config.json").write_text(json.dumps(config | {"r": 60_000}))
    said = failure(out, "text")
    assert "has r = 60000" in said
    assert "expected one rank" in said


def test_an_adapter_that_is_a_link_is_not_exported(made, tmp_path):
    run = shutil.copytree(made["bert"].folder, tmp_path / "run")
    (run / "adapter").rename(tmp_path / "elsewhere")
    (run / "adapter").symlink_to(tmp_path / "elsewhere")
    result = ilora("export", run, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"{run / 'adapter'}: a link" in result.output
    assert not (tmp_path / "out").exists()
