"""Files around the code: that they can be read, and say what the project says."""

import io
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from flwr.cli.build import build_fab_from_disk

from ilora_app.launch.app_files import copy_app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_citation_is_of_this_version():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert found["version"] == PROJECT["version"]
    assert found["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= set(found)
    paper = "2511.16069"
    assert paper in str(found["references"])
    assert paper in (ROOT / "README.md").read_text()


def test_the_hooks_are_commands_that_the_tests_install():
    found = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in found["repos"] for hook in repo["hooks"]]
    assert {hook["id"] for hook in hooks} == {
        "ruff-format", "ruff-check", "mypy", "config-reference",
    }  # fmt: skip
    for hook in hooks:
        assert hook["language"] == "system"
        command = shlex.split(hook["entry"])[0]
        assert command == "python" or shutil.which(command), command
        re.compile(hook.get("files", ""))


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=str
)
def test_forms_for_issues_have_what_they_need(form):
    found = yaml.safe_load(form.read_text())
    assert {"name", "description", "body"} <= set(found)
    ids = [field["id"] for field in found["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in found["body"])


@pytest.mark.parametrize(
    "page",
    [
        *sorted(DOCS.rglob("*.md")),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
    ],
    ids=lambda page: page.name,
)
def test_links_between_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


def test_every_page_is_in_the_menu_of_the_site():
    """CI builds the site; here what needs no mkdocs."""
    text = re.sub(r"!!python/\S+", "", (ROOT / "mkdocs.yml").read_text())
    nav = yaml.safe_load(text)["nav"]
    named = set(re.findall(r"[\w/.-]+\.md", str(nav)))
    pages = {f.relative_to(DOCS).as_posix() for f in DOCS.rglob("*.md")}
    assert named == pages | {"index.md"}


def test_what_travels_to_nodes_is_the_program_and_nothing_beside_it(tmp_path):
    """A federation run from a clone leaves keys, state and data in it."""
    app = tmp_path / "clone"
    copy_app(app, {})
    shutil.copy(ROOT / ".gitignore", app)
    deep = app / "flwr/apps/a/b/c/d/e/f/g/h/i/j"
    for place in (app / "docker/data/node-1", app / "records", app / "keys", deep):
        place.mkdir(parents=True)
        (place / "train.jsonl").write_text('{"text": "a patient"}\n')
        (place / "more.py").write_text("")
    with ZipFile(io.BytesIO(build_fab_from_disk(app))) as fab:
        names = fab.namelist()
    assert "ilora_app/methods/ilora.py" in names
    assert "ilora_app/data/clinc150/train.jsonl" in names
    rest = [name for name in names if not name.startswith("ilora_app/")]
    assert {name.partition("/")[0] for name in rest} <= {
        "pyproject.toml", "README.md", "LICENSE", ".info",
    }  # fmt: skip
    written = {path.suffix for path in (ROOT / "ilora_app").rglob("*.*")}
    assert written <= {".py", ".pyc", ".jsonl", ".md"}, "fab-include has to name more"
