"""Nothing in the app unpickles: a pickle from a client would be a program."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ilora_app"
MODULES = {
    *("pickle", "_pickle", "cPickle", "pickle5", "dill", "cloudpickle", "joblib"),
    *("marshal", "shelve", "jsonpickle"),
}
# Whatever they are called on: torch.load under another name is one too.
CALLS = {"read_pickle", "to_pickle", "load_state_dict_from_url", "Unpickler"}
LOADERS = {"torch": "load", "jit": "load", "hub": "load"}
ARGUMENTS = {"allow_pickle", "trust_remote_code"}


def findings(source: str) -> list[str]:
    """What unpickles in a module, or may run code that came with data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            roots = {alias.name.split(".")[0] for alias in node.names}
            found += sorted(roots & MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            root = node.module.split(".")[0]
            names = {alias.name for alias in node.names}
            found += [root] if root in MODULES else []
            found += ["torch.load"] if root == "torch" and "load" in names else []
            found += sorted(names & (CALLS | MODULES))
        elif isinstance(node, ast.Attribute):
            owner = node.value
            name = getattr(owner, "id", getattr(owner, "attr", ""))
            if LOADERS.get(name) == node.attr or node.attr in CALLS | MODULES:
                found.append(f"{name}.{node.attr}")
        elif isinstance(node, ast.keyword) and node.arg in ARGUMENTS:
            value = node.value
            if not (isinstance(value, ast.Constant) and value.value is False):
                found.append(node.arg)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
            "eval",
            "exec",
            "__import__",
        ):
            found.append(ast.unparse(node.func))
    return found


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.relative_to(PACKAGE))
)
def test_nothing_unpickles(file):
    assert findings(file.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import cloudpickle.pickle as p",
        "from joblib import load",
        "from torch import load",
        "import torch\ntorch.load(f)",
        "import torch\ntorch.load(f, weights_only=True)",
        "torch.jit.load(f)",
        "np.load(f, allow_pickle=True)",
        "np.load(f, allow_pickle=wanted)",
        "pandas.read_pickle(f)",
        "multiprocessing.reduction.pickle.loads(b)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
        "eval(text)",
    ],
)
def test_each_way_is_found(source):
    assert findings(source)


@pytest.mark.parametrize(
    "source",
    [
        "json.load(f)",
        "safetensors.torch.load_file(f)",
        "np.load(f, allow_pickle=False)",
    ],
)
def test_what_is_safe_is_not_found(source):
    assert not findings(source)
