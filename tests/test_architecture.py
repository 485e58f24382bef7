"""Imports go one way, and nothing is unpickled."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ilora_app"

# part of the app -> parts it may import
ALLOWED = {
    "lora": {"lora"},
    "options": {"options"},
    "settings": {"lora", "options", "settings"},
    "config": {"settings", "config"},
    "wire": {"lora", "wire"},
    "corrections": {"lora", "wire", "corrections"},
    "strategies": {"lora", "wire", "settings", "corrections", "strategies"},
    "tasks": {"lora", "options", "settings", "tasks"},
    "runs": {"lora", "options", "settings", "config", "track", "runs"},
    "track": {"track"},
    "own_folder": {"own_folder"},
    "launch": {"own_folder", "config", "settings", "launch"},
    "watch": {"options", "launch", "runs", "watch"},
    "history": {"options", "launch", "runs"},
    "doctor": {"own_folder", "options", "launch", "runs", "affordable", "doctor"},
    "node_state": {"options", "wire", "runs", "node_state"},
    "affordable": {"settings", "affordable"},
    "node_config": {"wire", "affordable", "node_state", "node_config"},
    "keeper": {"config", "settings", "strategies", "runs", "keeper"},
    "compare": {
        "compare",
        "own_folder",
        "launch",
        "strategies",
        "settings",
        "config",
        "options",
        "local",
        "checks",
        "client_app",
        "meeting",
        "server_app",
        "runs",
        "report",
    },
    "report": {"report", "config"},
    "telling": {
        "lora",
        "settings",
        "strategies",
        "tasks",
        "runs",
        "report",
        "telling",
    },
    "deploy": {"deploy"},
    "release": {
        "release",
        "lora",
        "options",
        "settings",
        "config",
        "runs",
        "tasks",
    },
    "predict": {"predict", "release", "options", "settings", "tasks"},
    "cli": {
        "cli",
        "options",
        "own_folder",
        "compare",
        "config",
        "deploy",
        "predict",
        "quiet",
        "release",
        "report",
        "runs",
        "settings",
        "strategies",
        "tasks",
        "doctor",
        "history",
        "launch",
        "watch",
    },
}


def imported_parts(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "ilora_app":
                names = [f"ilora_app.{alias.name}" for alias in node.names]
        found |= {n.split(".")[1] for n in names if n.startswith("ilora_app.")}
    return found


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_go_one_way(part):
    folder = PACKAGE / part
    files = list(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]
    assert files
    for file in files:
        extra = imported_parts(file) - ALLOWED[part]
        assert not extra, f"{file.name} imports {extra}"


def test_the_mathematics_imports_torch_alone():
    for file in (PACKAGE / "lora").glob("*.py"):
        tree = ast.parse(file.read_text())
        roots = {
            (getattr(node, "module", None) or node.names[0].name).split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert roots <= {
            "torch",
            "ilora_app",
            "collections",
            "dataclasses",
            "math",
            "typing",
        }


def test_nothing_is_unpickled():
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        for word in ("pickle", "torch.load(", "allow_pickle"):
            assert word not in text, f"{file.name}: {word}"


def test_plots_and_terminals_are_not_for_nodes():
    """What a node installs and imports stays small."""
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text())
        roots = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                roots.add(node.module.split(".")[0])
        part = file.relative_to(PACKAGE).parts[0]
        if part not in ("compare", "cli", "watch"):
            drawing = part in ("runs", "report")
            assert drawing or "matplotlib" not in roots, file.name
            assert not roots & {"rich", "typer"}, file.name
            assert not imported_parts(file) & {"compare", "cli", "watch"}, file.name
