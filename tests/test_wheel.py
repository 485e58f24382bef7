"""The wheel: what is in it, and that it is what the tests are of."""

import json
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import ilora_app

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


def call(*words: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_all_tests_are_of_what_is_installed(tmp_path):
    """Which is the wheel, unless pip was given -e: not the files beside the tests."""
    origin = metadata.distribution("ilora").read_text("direct_url.json") or "{}"
    editable = json.loads(origin).get("dir_info", {}).get("editable", False)
    here = Path(ilora_app.__file__).resolve()
    assert (here.parent.parent == ROOT) == editable
    there = call("-c", "import ilora_app; print(ilora_app.__file__)", cwd=tmp_path)
    assert Path(there.strip()).resolve() == here


def test_it_holds_the_app_its_data_and_its_presets(tmp_path):
    """Built with what the tests have installed: no network."""
    call("-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=ROOT)
    (wheel,) = tmp_path.glob("ilora-*.whl")
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


def test_the_command_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"ilora": "ilora_app.cli:app"}
