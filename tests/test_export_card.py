"""The card of an export: what it says, and the command that it gives."""

import shlex
import shutil
import tomllib
from dataclasses import replace

import pytest
import tomli_w
from flwr.common.config import parse_config_args

from ilora_app.export import card, licences
from ilora_app.export.source import open_run
from ilora_app.settings import parsing
from tests.finished import ilora


def test_the_card_says_what_it_is_and_nothing_of_this_machine(made, tmp_path):
    finished = made["bert"]
    out = tmp_path / "adapter"
    ilora("export", finished.folder, "--rank", 3, "--out", out)
    card = (out / "README.md").read_text()
    row = finished.server.folder.rows[-1]
    for part in (
        "strategy `flora`, 3 clients of rank 2, 4, 2, the model of round 2 of 2",
        "a PEFT adapter of rank 3",
        "% |\n| licence of the base model | not stated |",
        f"| accuracy | {row['accuracy']:.4f} |",
        "(this adapter is a cut of it)",
        "| id | |\n|---|---|\n| 0 | ",
        "flwr run . --stream --federation-config \"num-supernodes=3\"",
        'strategy="flora"', 'dataset="PATH/data"', 'model="PATH/model"',
        "library_name: peft", "pipeline_tag: text-classification",
    ):  # fmt: skip
        assert part in card, part
    assert "_r2 |" not in card
    for path in out.iterdir():
        assert str(finished.folder.parent).encode() not in path.read_bytes(), path.name


@pytest.mark.parametrize(
    "prompt",
    [
        "{text}\nIt's", 'say "{text}"', "cost: $HOME {text} `ls`", "a\\n{text}\\",
        "\\\"' \t\r\x7f\x01 ünï 🦙 {text}", "{text} # no comment = 1",
    ],
)  # fmt: skip
def test_the_command_of_the_card_gives_the_settings_again(made, tmp_path, prompt):
    """As a shell, Flower and TOML read it."""
    source = open_run(made["gpt2"].folder)
    data = replace(source.settings.data, prompt_template=prompt)
    settings = replace(source.settings, data=data)
    words = shlex.split(card.command(replace(source, settings=settings)))
    given = words[words.index("--run-config") + 1]
    assert len(words) == words.index("--run-config") + 2
    assert "\n" not in given
    read = parse_config_args([given])
    assert read["prompt-template"] == prompt
    whole = parsing.dump(settings)
    assert {key: whole[key] for key in read} | {
        "model": read["model"], "dataset": read["dataset"]
    } == read  # fmt: skip


def test_the_command_has_the_keys_that_a_method_of_ones_own_declares(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made["bert"].folder, folder)
    config = tomllib.loads((folder / "config.toml").read_text())
    own = {"median-momentum": 0.3, "median-name": 'a "b"', "median-on": True}
    config |= own | {"strategy": "median:Median", "median-file": str(tmp_path / "x")}
    (folder / "config.toml").write_text(tomli_w.dumps(config))
    words = shlex.split(card.command(open_run(folder)))
    read = parse_config_args([words[words.index("--run-config") + 1]])
    assert read["strategy"] == "median:Median"
    assert {key: read[key] for key in own} == own
    assert read["median-file"] == "PATH/x", "no path of this machine"


def test_licences_where_a_card_has_them(tmp_path):
    assert licences.of_data("clinc150") == "cc-by-3.0"
    assert licences.of_base("sentence-transformers/all-MiniLM-L6-v2") == "apache-2.0"
    assert licences.of_base("nobody/nothing") == licences.NOT_STATED
    assert licences.of_base(str(tmp_path / "absent")) == licences.NOT_STATED
    assert licences.of_data("not a name") == licences.NOT_STATED
    (tmp_path / "config.json").write_text("{}")
    for text, expected in (
        ("no metadata", "not stated"),
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: other\nlicense_name: ours\n---\n", "ours"),
        ("---\nlicense: [mit, cc0-1.0]\n---\n", "mit, cc0-1.0"),
        ("---\nlicense: [\n---\n", "not stated"),
    ):
        (tmp_path / "README.md").write_text(text)
        assert licences.of_base(str(tmp_path)) == expected
        assert licences.of_data(str(tmp_path)) == expected
