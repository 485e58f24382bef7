"""The rooms of the package, the one way of imports between them, and their limits."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ilora_app"

# Room -> rooms that its files may import; the order is that of docs/architecture.md,
# from the ground up, and a room may only name rooms above it in this table.
ROOMS: dict[str, str] = {
    "lora": "",
    "settings": "",
    "track": "",
    "deploy": "",
    "secure": "",
    "wire": "lora",
    "methods": "lora settings",
    "corrections": "lora settings",
    "privacy": "settings",
    "tasks": "lora settings corrections privacy",
    "runs": "lora settings track",
    "report": "settings runs",
    "federation": "lora settings secure wire methods corrections privacy",
    "strategies": "settings methods corrections privacy federation",
    "node": "lora settings secure wire methods corrections privacy tasks runs",
    "trainer": "lora settings wire methods corrections tasks runs node",
    "server": "lora settings track wire methods tasks runs report federation "
    "strategies",
    "client_app": "node",
    "server_app": "server",
    "launch": "settings wire runs",
    "watch": "settings runs launch",
    "export": "lora settings tasks runs",
    "predict": "settings tasks export",
    "audit": "settings tasks export predict",
    "serve": "settings tasks export predict",
    "doctor": "settings wire tasks runs node launch",
    "check": "settings tasks",
    "compare": "settings methods node runs report federation server client_app launch",
    "cli": "settings deploy tasks runs report federation launch watch export "
    "predict audit serve doctor check compare",
}
LOOSE = {"__init__.py", "client_app.py", "server_app.py"}
LINES = 250


def modules() -> dict[str, Path]:
    """Dotted name -> file, of everything in the package."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = file
    return found


MODULES = modules()


def outside(file: Path) -> set[str]:
    """Top-level names of what a file imports, the package itself left out."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found - {"ilora_app"}


def inside(file: Path) -> set[str]:
    """Modules of the package that a file imports, for types or in functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in MODULES else node.module)
    return (found & set(MODULES)) - {"ilora_app"}


def room(module: str) -> str:
    return module.split(".")[1]


def test_the_package_root_holds_the_two_apps():
    assert {file.name for file in PACKAGE.glob("*.py")} == LOOSE
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    files = {name.removesuffix(".py") for name in LOOSE} - {"__init__"}
    assert folders | files == set(ROOMS)


def test_the_table_of_rooms_goes_one_way():
    below: set[str] = set()
    for name, allowed in ROOMS.items():
        assert set(allowed.split()) <= below, name
        below.add(name)


@pytest.mark.parametrize("name", ROOMS)
def test_imports_go_down_only(name):
    allowed = {name, *ROOMS[name].split()}
    used = set()
    for module, file in MODULES.items():
        if module != "ilora_app" and room(module) == name:
            rooms = {room(other) for other in inside(file)}
            assert rooms <= allowed, f"{module} imports {rooms - allowed}"
            used |= rooms
    assert allowed - used <= {name}, "the table allows what nobody needs"


def test_no_files_import_each_other_in_a_ring():
    graph = {name: inside(file) - {name} for name, file in MODULES.items()}
    while True:
        free = {name for name, imports in graph.items() if not imports & set(graph)}
        if not free:
            break
        graph = {name: graph[name] for name in set(graph) - free}
    assert not graph, f"each of these imports another of them: {sorted(graph)}"


def test_files_can_be_read_in_a_sitting():
    for name, file in MODULES.items():
        lines = len(file.read_text().splitlines())
        limit = 100 if name.endswith(("client_app", "server_app")) else LINES
        assert lines <= limit, f"{name} has {lines} lines, {limit} at most"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("lora", {"torch", "scipy"}),
        ("methods", {"torch"}),
        ("corrections", {"torch"}),
        ("settings", set()),
    ],
)
def test_mathematics_knows_no_flower_no_log_and_no_network(name, allowed):
    plain = {
        "abc", "collections", "contextlib", "dataclasses", "difflib", "functools",
        "importlib", "math", "os", "pathlib", "re", "sys", "tomllib", "typing", "zlib",
    }  # fmt: skip
    for file in (PACKAGE / name).rglob("*.py"):
        assert outside(file) <= allowed | plain, file.name


def test_nothing_is_unpickled():
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        for word in ("pickle", "torch.load(", "allow_pickle"):
            assert word not in text, f"{file.name}: {word}"


def test_plots_and_terminals_are_not_for_nodes():
    """What a node installs and imports stays small."""
    for module, file in MODULES.items():
        if module == "ilora_app" or room(module) in ("compare", "cli", "watch"):
            continue
        drawing = room(module) in ("runs", "report")
        assert drawing or "matplotlib" not in outside(file), module
        assert not outside(file) & {"rich", "typer"}, module


def test_no_module_has_a_name_that_flower_leaves_out_of_an_app():
    names = [file.name for file in PACKAGE.rglob("*.py")]
    assert not [n for n in names if n.startswith("test_") or n.endswith("_test.py")]
