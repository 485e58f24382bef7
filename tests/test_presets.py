"""Presets: valid, run by the command in their first line, and held together."""

import os
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from ilora_app import methods
from ilora_app.compare.presets import load_presets, read_preset
from ilora_app.federation import validity
from ilora_app.settings import options, parsing

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "configs").glob("*.toml"))
SETTINGS = {file.stem: tomllib.loads(file.read_text()) for file in FILES}
VISION = [
    f"{model}-{data}"
    for model in ("vit", "swin")
    for data in ("cifar10", "cifar100", "tiny-imagenet")
]
LANGUAGE = [
    f"roberta-{data}"
    for data in ("qnli", "qqp", "sst2", "imdb", "ag-news", "dbpedia", "yahoo")
]
SHARED = [n for n, s in SETTINGS.items() if "$ILORA_SHARED" in str(s)]
# As published, for every model and data set; lora-scaling is our reading of alpha 16.
PAPER = {
    "num-server-rounds": 5,
    "client-ranks": "2,4,6",
    "lora-scaling": 4.0,
    "lora-dropout": 0.1,
    "local-steps": 0,
    "local-epochs": 1,
    "batch-size": 64,
    "learning-rate": 1e-4,
}


def test_there_are_presets():
    assert len(FILES) >= 40


@pytest.mark.parametrize("name", VISION + LANGUAGE)
def test_the_papers_settings_are_those_of_the_paper(name):
    preset, _ = read_preset(ROOT / "configs" / f"{name}.toml")
    assert preset.clients == 3
    settings = parsing.dump(parsing.load(SETTINGS[name]))
    skew = 0.3 if name in VISION else 0.5
    expected = PAPER | {"dirichlet-alpha": skew, "partitioner": "auto"}
    assert {key: settings[key] for key in expected} == expected
    assert settings["strategy"] == "ilora"
    assert settings["max-length"] == 64
    task = "image-classification" if name in VISION else "text-classification"
    assert settings["task"] == task
    # Ids of the hub, so that anybody can run it.
    for key in ("model", "dataset"):
        assert re.fullmatch(r"[\w-]+/[\w.-]+", settings[key])


def test_presets_of_language_models_compute_in_bfloat16():
    for name in ("llama-dolly", "qwen-gsm8k"):
        assert SETTINGS[name]["task"] == "causal-lm"
        assert SETTINGS[name]["dtype"] == "bfloat16"
    assert SETTINGS["qwen-gsm8k"]["generate-tokens"] > 0


def test_every_kind_of_task_has_a_small_form():
    tiny = {n: s for n, s in SETTINGS.items() if n.endswith("-tiny")}
    tasks = {s.get("task", "text-classification") for s in tiny.values()}
    assert tasks == {"text-classification", "image-classification", "causal-lm"}
    assert set(tiny) <= set(SHARED)


@pytest.mark.parametrize("name", SHARED)
def test_folders_under_the_shared_one_are_there(name):
    if not os.environ.get("ILORA_SHARED"):
        pytest.skip("ILORA_SHARED names no folder with data sets")
    for key in ("dataset", "model"):
        value = str(SETTINGS[name].get(key, ""))
        assert "$" not in value or options.folder(value).is_dir(), value


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_preset_is_a_run_config_with_its_command_in_line_one(file: Path):
    first, rest = file.read_text().split("\n", 1)
    settings = tomllib.loads(rest)
    parsing.load(settings)
    assert settings
    words = shlex.split(first.removeprefix("# "))
    assert words[:4] == ["flwr", "run", ".", "--stream"]
    assert words[words.index("--run-config") + 1] == f"configs/{file.name}"
    federation = words[words.index("--federation-config") + 1]
    preset, problems = read_preset(file)
    assert not problems
    assert federation.split()[0] == f"num-supernodes={preset.clients}"


@pytest.mark.parametrize("name", SETTINGS)
def test_a_preset_holds_nothing_that_its_method_does_not_use(name):
    assert validity.problems(methods.load(SETTINGS[name])) == {}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_flower_accepts_the_types_of_a_preset(file: Path):
    """Flower refuses a whole number for a key whose default is a fraction."""
    defaults = tomllib.loads((ROOT / "pyproject.toml").read_text())
    defaults = defaults["tool"]["flwr"]["app"]["config"]
    for key, value in tomllib.loads(file.read_text()).items():
        assert type(value) is type(defaults[key]), key


def test_the_number_of_clients_is_that_of_the_command():
    for name, clients in (("clients-3", 3), ("clients-20", 20), ("scale", 20)):
        (preset,), problems = load_presets(name, ROOT / "configs")
        assert (preset.clients, problems) == (clients, [])


def test_presets_that_fix_a_strategy_and_differ_in_the_method_share_a_section():
    names = ",".join(f.stem for f in FILES if f.stem.startswith("ablation"))
    presets, problems = load_presets(f"{names},default", ROOT / "configs")
    assert not problems
    assert [p.section for p in presets] == ["ablation"] * 4 + ["default"]
    assert [p.strategy for p in presets] == ["fedit", "fedit", "ilora", "ilora", None]


def test_presets_on_other_data_do_not_share_a_section(tmp_path):
    for name, alpha in (("a-1", 0.1), ("a-2", 0.5)):
        text = f'strategy = "ilora"\ndirichlet-alpha = {alpha}\n'
        (tmp_path / f"{name}.toml").write_text(text)
    presets, _ = load_presets("a-1,a-2", tmp_path)
    assert [p.section for p in presets] == ["a-1", "a-2"]


def test_a_path_is_a_preset_too_and_every_mistake_is_found(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text("# num-supernodes=5\nlocal-steps = -1\nno-such = 2\n")
    broken = tmp_path / "broken.toml"
    broken.write_text("local-steps = \n")
    presets, problems = load_presets(f"{mine},{broken},nope", ROOT / "configs")
    assert (presets[0].name, presets[0].clients) == ("mine", 5)
    assert len(problems) == 4
    text = "\n".join(problems)
    for part in ("local-steps = -1", "no-such", "not TOML", "'nope'", "scale"):
        assert re.search(re.escape(part), text), part
