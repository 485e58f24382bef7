"""What commands import before they answer: no times, as those hang on the machine."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from ilora_app.export.facts import Facts

HEAVY = {"torch", "transformers", "flwr", "ray", "datasets", "matplotlib", "pandas"}
HEAVY |= {"numpy", "peft", "pyarrow"}


@pytest.mark.parametrize("words", [["--help"], ["runs"], ["runs", "list"]])
def test_a_command_that_only_reads_imports_nothing_heavy(tmp_path, words):
    code = "import sys; from ilora_app.cli import app\ntry:\n    app()\nfinally:\n"
    code += "    print('modules:', *sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "ILORA_RUNS": str(tmp_path)},
        check=False,
    )
    assert "Usage" in done.stdout + done.stderr or "no runs" in done.stdout
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "typer" in loaded
    assert not loaded & HEAVY
    ours = [name for name in done.stderr.split() if name.startswith("ilora_app.")]
    if words[-1] != "list":
        assert all(name.startswith("ilora_app.cli") for name in ours)
        assert "rich" not in loaded


MISTAKES = [
    (["run", "--strategy", "fedot"], "did you mean fedit?"),
    (["run", "nope-preset"], "--config 'nope-preset': expected the path of a"),
    (["run", "--set", "learnin-rate=1"], "did you mean learning-rate?"),
    (["run", "--set", "optimizer=adam", "--set", "seed=-1"], "did you mean adamw?"),
    (["run", "--dataset", "nope.csv"], "dataset = 'nope.csv': there is no such"),
    (["run", "--model", "/nope"], "model = '/nope': there is no such folder"),
    (["run", "--resume", "nope"], "expected latest, or the folder of a run"),
    (["run", "--clients", "0", "--track", "nope"], "2 mistakes"),
    (["run", "--superlink", "nope"], "--superlink nope: expected one of mine"),
    (["compare", "--out", "X"], "--out {here}/X: expected a folder under"),
    (["compare", "--out", "runs/X", "--strategies", "fedot"], "did you mean fedit?"),
    (["compare", "--out", "runs/X", "--presets", "nope"], "--presets 'nope': expected"),
    (["compare", "--out", "runs/X", "--set", "sed=1", "--lr", "x"], "2 mistakes"),
    (["compare", "--out", "X", "--report-only"], "no comparison is in it"),
    (["check", "clinc150", "--task", "nope"], "task = 'nope': expected one of text"),
    (["check", "nope.csv"], "dataset = 'nope.csv': there is no such"),
    (["check", "nope.toml"], "--config 'nope.toml': expected the path of a"),
    (["init", "X", "--model", "m", "--task", "nope"], "expected one of text"),
    (["serve", "EXPORTED", "--host", "192.0.2.1"], "an address of this machine and"),
    (["serve", "EXPORTED", "--port", "{taken}"], "this machine and a free port"),
    (["serve", "EXPORTED", "--max-megabytes", "nan"], "expected a number"),
    (["predict", "EXPORTED", "--file", "nope.csv"], "cannot be read"),
    (["predict", "EXPORTED"], "expected texts or files, or --file"),
    (["predict", "BASELESS", "a"], "base model 'gone': it was a folder on the machine"),
    (["predict", "OFF-HUB", "a"], "model = 'no-one/nothing': no local folder"),
    (["predict", "BASELESS", "a", "--base", "/nope"], "model = '/nope': there is no"),
    (["predict", "RUN", "a"], "--base may name: model = '/nope': there is no such"),
    *(
        ([words[0], "EXPORTED", *words[1:]], "expected an exported folder, with an il")
        for words in (["predict", "a"], ["serve", "--port", "0"], ["audit"])
    ),
    (["serve", "BASELESS", "--port", "0"], "expected --base FOLDER, or ILORA_MODELS"),
    (["audit", "BASELESS"], "expected --base FOLDER, or ILORA_MODELS"),
    *(
        ([*words, "nope"], "there is no run 'nope'")
        for words in (
            *(["runs", "show"], ["runs", "rm"], ["runs", "erase"], ["report"]),
            *(["serve"], ["audit"], ["watch"], ["predict"], ["export", "--out", "X"]),
        )
    ),
]
SCRIPT = """
import json, sys
from typer.testing import CliRunner
from ilora_app.cli import app
for words in json.load(sys.stdin):
    done = CliRunner().invoke(app, words)
    heavy = sorted(set(json.loads(sys.argv[1])) & set(sys.modules))
    print(json.dumps([done.exit_code, done.output, heavy]))
"""


def test_mistakes_are_told_before_anything_heavy_is_imported(tmp_path):
    for name in ("EXPORTED", "BASELESS", "OFF-HUB", "RUN/adapter"):
        (tmp_path / name).mkdir(parents=True)
    facts = Facts(
        "text-classification", "gone", False, ("a",), "text", "", 64, 0, "", 0
    )
    facts = replace(facts, dtype="float32", base_sha256="0" * 64)
    facts.write(tmp_path / "BASELESS")
    hub = replace(facts, base="no-one/nothing", base_sha256="")
    hub.write(tmp_path / "OFF-HUB")
    (tmp_path / "RUN" / "config.toml").write_text('model = "/nope"\n')
    (tmp_path / "flower").mkdir()
    config = '[superlink.mine]\naddress = "127.0.0.1:1"\ninsecure = true\n'
    (tmp_path / "flower" / "config.toml").write_text(config)
    own = {"ILORA_RUNS": tmp_path / "runs", "FLWR_HOME": tmp_path / "flower"}
    own |= {"HF_HUB_OFFLINE": "1"}
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        asked = [[w.replace("{taken}", port) for w in words] for words, _ in MISTAKES]
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(sorted(HEAVY))],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **{k: str(v) for k, v in own.items()}},
            check=True,
        )
    found = map(json.loads, done.stdout.splitlines())
    for (words, expected), (code, said, heavy) in zip(MISTAKES, found, strict=True):
        assert code == 2, (words, said)
        assert expected.format(here=tmp_path) in said, words
        assert heavy == [], words
