"""The wheel: what is in it, and that it works installed without the repository."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow

# Files of tests that need nothing else of the repository: a minute or two in all.
TESTED = (
    "factors", "decomposition", "truncate", "ledger",
    "wire", "keys", "app",
)  # fmt: skip

# Runs in a process of its own, far from the repository.
TINY_RUN = """
import json, sys
import ilora_app
from ilora_app import config
from ilora_app.compare.worker import execute
from ilora_app.settings import Settings

if __name__ == "__main__":
    changes = json.loads(sys.argv[1])
    execute(config.dump(Settings()) | changes, clients=2)
    print(ilora_app.__file__)
"""


def call(*words: object, cwd: Path, path: str = "", fails: bool = False) -> str:
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it with what the tests have installed: no network."""
    folder = tmp_path_factory.mktemp("wheel")
    here = os.environ.get("PYTHONPATH", "")
    call("-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT, path=here)
    (built,) = folder.glob("ilora-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install it, without its dependencies, into a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    words = ["--no-deps", "--no-index", "--quiet", "--target", folder, wheel]
    call("-m", "pip", "install", *words, cwd=folder)
    return folder


def test_it_holds_the_app_its_data_and_its_presets(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    own = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "ilora_app").rglob("*")
        if path.suffix in (".py", ".jsonl", ".md") and "__pycache__" not in path.parts
    }
    presets = {f"ilora_app/configs/{p.name}" for p in (ROOT / "configs").glob("*.toml")}
    assert own | presets <= set(names)
    strangers = [
        n for n in names if not n.startswith("ilora_app/") and ".dist-info/" not in n
    ]
    assert not strangers


def test_its_tests_pass(installed, tmp_path):
    """Tests of the mathematics, of messages, keys and whole runs, on what is in it."""
    shutil.copytree(ROOT / "tests", tmp_path / "tests")
    (tmp_path / "tests" / "test_place.py").write_text(
        "import ilora_app\n\n\ndef test_place():\n"
        f"    assert ilora_app.__file__.startswith({str(installed)!r})\n"
    )
    names = ("place", *TESTED)
    call(
        *("-m", "pytest", "-q", "-n", 0, "-p", "no:cacheprovider", "-m", "not slow"),
        *(f"tests/test_{name}.py" for name in names),
        cwd=tmp_path,
        path=os.pathsep.join([str(installed), *here()]),
    )


def test_its_command_trains_exports_and_predicts(installed, tiny_model, tmp_path):
    """A run, an export and a prediction, from the installed files alone."""
    path = os.pathsep.join([str(installed), *here()])
    script = tmp_path / "tiny_run.py"
    script.write_text(TINY_RUN)
    changes = {
        "model": tiny_model,
        "num-server-rounds": 1,
        "local-steps": 2,
        "client-ranks": "2,4",
        "test-examples": 40,
        "output-dir": str(tmp_path / "run"),
    }
    said = call(script, json.dumps(changes), cwd=tmp_path, path=path)
    assert Path(said.splitlines()[-1]) == installed / "ilora_app" / "__init__.py"
    ilora = "from ilora_app.cli import app; app()"
    out = tmp_path / "adapter"
    call(
        *("-c", ilora, "export", tmp_path / "run", "--rank", 2, "--out", out),
        cwd=tmp_path,
        path=path,
    )
    found = call(
        "-c", ilora, "predict", out, "my balance", "--json", cwd=tmp_path, path=path
    )
    assert len(json.loads(found)["labels"]) == 3


def test_its_command_says_what_a_wheel_cannot(installed, tmp_path):
    path = os.pathsep.join([str(installed), *here()])
    ilora = "from ilora_app.cli import app; app()"
    compare = ["compare", "--out", tmp_path / "out", "--seeds", 1]
    said = call(
        *("-c", ilora, *compare, "--presets", "none"),
        cwd=tmp_path,
        path=path,
        fails=True,
    )
    assert "dirichlet-0.1" in said
    said = call("-c", ilora, *compare, cwd=tmp_path, path=path, fails=True)
    assert "expected --engine local" in said
    assert not (tmp_path / "out").exists()


def test_its_presets_go_by_name(installed, tmp_path):
    """The mistake that is left shows that the preset was found; nothing runs."""
    path = os.pathsep.join([str(installed), *here()])
    ilora = "from ilora_app.cli import app; app()"
    words = ["run", "--config", "dirichlet-0.1", "--set", "lora-scaling=-1"]
    said = call("-c", ilora, *words, cwd=tmp_path, path=path, fails=True)
    assert "the command has 1 mistake" in said
    assert "lora-scaling" in said
    listed = "from ilora_app.cli.complete import presets; print(presets('dirichlet'))"
    assert "dirichlet-0.1" in call("-c", listed, cwd=tmp_path, path=path)


def test_the_command_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"ilora": "ilora_app.cli:app"}


def here() -> list[str]:
    """Folders of PYTHONPATH that hold other packages than this one."""
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [f for f in folders if f and not (Path(f) / "ilora_app").exists()]
