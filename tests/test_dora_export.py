"""What a run with DoRA leaves: in plain PEFT and transformers, measured and resumed."""

import json
import shutil
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from ilora_app import client_app
from ilora_app.export.source import open_run
from ilora_app.export.targets import TARGETS, refusals
from ilora_app.lora.factors import MAGNITUDE
from ilora_app.runs.adapter import CONFIG, WEIGHTS, read_weights
from tests import finished
from tests.finished import Finished, ilora
from tests.interruptions import assert_same, interrupted, resumed, start
from tests.local_run import FaultyGrid
from tests.test_export import check
from tests.test_real_tasks import trained

_FEDIT = {"use_dora": True, "strategy": "fedit"}
DORA = {**_FEDIT, "num_server_rounds": 2}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", {"target_modules": "query,intermediate.dense", **DORA}),
    # Layers that hold W transposed, and a head that is one with the embeddings.
    "gpt2": ("gpt2", {"target_modules": "c_attn,c_fc", **DORA}),
    "llama": ("llama", {"target_modules": "q_proj,down_proj", **DORA}),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finished]:
    with pytest.MonkeyPatch.context() as patch:
        for name, given in RUNS.items():
            patch.setitem(finished.RUNS, name, given)
        return {n: finished.finish(n, tmp_path_factory.mktemp(n)) for n in RUNS}


@pytest.mark.parametrize("name", RUNS)
def test_adapter_and_merged_model_are_the_run_s(runs, name, tmp_path):
    run = runs[name]
    result = ilora("export", run.folder, "--out", tmp_path / "adapter")
    assert result.exit_code == 0, result.output
    check(tmp_path / "adapter", run)
    config = json.loads((tmp_path / "adapter" / CONFIG).read_text())
    assert config["use_dora"] is True
    tensors = load_file(tmp_path / "adapter" / WEIGHTS)
    lengths = [n for n in tensors if n.endswith(MAGNITUDE)]
    assert len(lengths) == len([n for n in tensors if ".lora_B." in n]) > 0
    longer = {n: 1.05 * v if n in lengths else v for n, v in tensors.items()}
    save_file(longer, tmp_path / "adapter" / WEIGHTS)
    with pytest.raises(AssertionError):
        check(tmp_path / "adapter", run)
    result = ilora("export", run.folder, "--merge", "--out", tmp_path / "merged")
    assert result.exit_code == 0, result.output
    check(tmp_path / "merged", run)
    result = ilora("export", run.folder, "--rank", 4, "--out", tmp_path / "same")
    assert result.exit_code == 0, result.output
    check(tmp_path / "same", run, atol=1e-4)
    result = ilora("export", run.folder, "--rank", 1, "--out", tmp_path / "one")
    assert "its magnitudes are those of the whole update" in result.output
    one = load_file(tmp_path / "one" / WEIGHTS)
    assert all(one[n].equal(tensors[n]) for n in lengths)
    assert "magnitudes of DoRA" in (tmp_path / "one" / "README.md").read_text()


def test_it_predicts_and_is_measured_as_the_run_did(runs, tmp_path):
    run, out = runs["bert"], tmp_path / "adapter"
    result = ilora("export", run.folder, "--measure", "--out", out)
    assert result.exit_code == 0, result.output
    assert f"loss {run.server.folder.rows[-1]['loss']:.4f}" in result.output
    for place in (run.folder, out):
        result = ilora("predict", place, "a text", "--json")
        assert result.exit_code == 0, result.output


def test_servers_without_it_are_refused_with_the_way_out(runs, tmp_path):
    source = open_run(runs["llama"].folder)
    adapter = read_weights(source.model)
    for name in ("vllm", "llama.cpp", "tgi"):
        said = "; ".join(refusals(TARGETS[name], source, adapter, False))
        assert "takes no magnitudes of DoRA (use_dora)" in said
        assert "trained whole" not in said
    result = ilora("export", source.run, "--for", "vllm", "--out", tmp_path / "x")
    assert result.exit_code == 2
    assert "expected --merge, for the whole model" in result.output
    words = ["--for", "vllm", "--merge", "--out", tmp_path / "merged"]
    assert ilora("export", source.run, *words).exit_code == 0
    words = ["--for", "transformers", "--out", tmp_path / "adapter"]
    assert ilora("export", source.run, *words).exit_code == 0


@pytest.mark.parametrize("how", ["said", "unsaid", "strange", "one less"])
def test_a_folder_whose_config_and_tensors_differ_is_refused(runs, tmp_path, how):
    run = tmp_path / "run"
    shutil.copytree(runs["bert"].folder, run)
    folder = run / "adapter"
    config, tensors = (
        json.loads((folder / CONFIG).read_text()),
        load_file(folder / WEIGHTS),
    )
    lengths = sorted(n for n in tensors if n.endswith(MAGNITUDE))
    lost = {"said": lengths, "one less": lengths[:1]}.get(how, [])
    kept = {n: v for n, v in tensors.items() if n not in lost}
    config["use_dora"] = {"unsaid": False, "strange": "yes"}.get(how, True)
    save_file(kept, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config))
    for words in (["export", run, "--out", tmp_path / "out"], ["predict", run, "a"]):
        result = ilora(*words)
        assert result.exit_code == 2
        assert "use_dora" in result.output


def test_a_run_that_was_cut_off_ends_as_if_it_were_not(tiny_config, tmp_path):
    job = tiny_config | {
        "use-dora": True, "strategy": "fedit", "num-server-rounds": 3,
        "output-dir": str(tmp_path / "whole"),
    }  # fmt: skip
    start(job, FaultyGrid(client_app.app, job, 3))
    interrupted(job | {"output-dir": str(tmp_path / "cut")})
    resumed(job | {"output-dir": str(tmp_path / "cut")})
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.long
def test_a_small_llama_learns_e2e_with_it(tmp_path):
    """Real weights and texts, two rounds; then exported, measured and asked."""
    before, after, server = trained(
        "e2e-tiny",
        tmp_path,
        num_server_rounds=2,
        save_adapters=True,
        test_examples=100,
        **_FEDIT,
    )
    assert after.perplexity < 0.8 * before.perplexity
    start, state = server.prepared.backbone.initial_head(), server.strategy.state
    lengths = {n: v for n, v in state.adapter.head.items() if n.endswith(MAGNITUDE)}
    assert lengths
    assert all(float((v - start[n]).abs().max()) > 0 for n, v in lengths.items())
    run, out = tmp_path / "run", tmp_path / "adapter"
    result = ilora("export", run, "--measure", "--out", out)
    assert result.exit_code == 0, result.output
    assert f"loss {after.loss:.4f}" in result.output
    base = server.prepared.settings.model.model
    result = ilora("predict", out, "name[Zizzi], food[Italian]", "--base", base)
    assert result.exit_code == 0, result.output
