"""Recordings from a folder to a prediction, and the architectures that hear them."""

import base64
import json
import shutil
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.federation.waiting import UntrainedError
from ilora_app.predict.predictor import Predictor
from ilora_app.runs.adapter import read_weights
from ilora_app.serve.app import make
from ilora_app.serve.asked import Limits
from ilora_app.settings import ModelSettings
from ilora_app.settings.parsing import ConfigError
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.models import ModelError
from tests import media
from tests.local_run import metrics, run

TASK = "audio-classification"


def ilora(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two rounds on a folder for each class of recordings."""
    root = tmp_path_factory.mktemp("audio")
    data = media.recordings(root / "data")
    config = media.job(TASK, media.audio_model(root / "model"), data, report=True)
    folder, _, server = run(config, 2)
    return root, folder, server


def test_check_finds_the_task_and_what_the_frozen_model_is_worth(finished):
    root, _, _ = finished
    words = ["check", root / "data", "--model", root / "model", "--json"]
    result = ilora(*words, "--clients", 2, "--set", "max-seconds=0.35")
    assert result.exit_code == 0, result.output
    seen = json.loads(result.output)
    suggested = {one["key"]: one["value"] for one in seen["suggestions"]}
    assert suggested["task"] == TASK
    assert suggested["max-seconds"] == 1.0
    assert seen["read"] == {"audio-column": "audio", "label-column": "label"}
    assert seen["lengths"] == {
        "unit": "seconds", "median": 0.35, "most": 0.4, "longest": 0.4,
        "cut": pytest.approx(1 / 3, abs=0.1),
    }  # fmt: skip
    assert sum(share["rows"] for share in seen["deal"]) == 39
    scores = {one["name"]: one["accuracy"] for one in seen["scores"]}
    assert scores["the commonest class"] < scores["linear probe of the frozen model"]


def test_a_run_begins_with_a_solved_head_and_says_how_good_it_is(finished):
    _, folder, server = finished
    table = metrics(folder)
    assert len(table) == 3
    assert table["accuracy"].iloc[-1] > 0.8
    assert table["f1"].iloc[-1] > 0.8
    settings = server.prepared.settings
    assert settings.head.head == "ridge"
    assert settings.model.modules_to_save == "projector,classifier"
    assert "majority" in (folder / "events.jsonl").read_text()
    assert "AutoFeatureExtractor" in (folder / "adapter" / "README.md").read_text()
    assert "recording.wav" in (folder / "report.html").read_text()
    assert (folder / "confusion.csv").is_file()


def test_predictions_are_the_same_of_a_run_an_adapter_and_a_whole_model(finished):
    root, folder, _ = finished
    inputs = [root / "data" / "low" / "01.wav", root / "data" / "high" / "02.wav"]
    said = []
    for name, words in (("run", ()), ("adapter", ()), ("whole", ("--merge",))):
        place, base = folder, ()
        if name != "run":
            place = root / name
            result = ilora("export", folder, "--out", place, *words)
            assert result.exit_code == 0, result.output
            base = ("--base", root / "model") if name == "adapter" else ()
        result = ilora("predict", place, *inputs, "--json", *base)
        assert result.exit_code == 0, result.output
        rows = [json.loads(line) for line in result.output.splitlines()]
        assert [row["labels"][0]["label"] for row in rows] == ["low", "high"]
        said.append([one["probability"] for row in rows for one in row["labels"]])
    assert said[0] == pytest.approx(said[1], abs=1e-5)
    assert said[0] == pytest.approx(said[2], abs=1e-3)
    torn = root / "torn.wav"
    torn.write_bytes(b"RIFF, torn")
    result = ilora("predict", folder, torn)
    assert result.exit_code == 2
    assert "torn.wav) cannot be read" in result.output


def test_a_node_with_recordings_of_its_own_is_looked_at(finished):
    root, _, _ = finished
    own = root / "own"
    shutil.copytree(root / "data", own)
    (own / "low" / "03.wav").write_bytes(b"torn")
    result = ilora("doctor", "--data", own, "--task", TASK, "--json")
    assert "1 of 48 recordings" in result.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "head"), [("linear-probe", "ridge"), ("fedit", "trained")]
)
def test_other_heads(finished, tmp_path, strategy, head):
    root, _, _ = finished
    config = media.job(
        TASK, root / "model", root / "data", strategy=strategy, head=head,
        num_server_rounds=1, output_dir=str(tmp_path / "run"), batch_size=4,
    )  # fmt: skip
    folder, _, _ = run(config, 2)
    assert metrics(folder)["loss"].notna().all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "targets", "saved"),
    [
        ("hubert", "q_proj,v_proj", "projector,classifier"),
        ("wavlm", "intermediate_dense,output_dense", "projector,classifier"),
        ("ast", "q_proj,v_proj", "classifier"),
        ("whisper", "q_proj,v_proj", "projector,classifier"),
    ],
)
def test_an_architecture_trains_without_being_told(
    finished, tmp_path, kind, targets, saved
):
    root, _, _ = finished
    model = media.audio_model(tmp_path / "model", kind)
    changes = {"strategy": "fedit", "num_server_rounds": 1, "test_examples": 4}
    folder, _, server = run(media.job(TASK, model, root / "data", **changes), 2)
    table = metrics(folder)
    assert table["loss"].iloc[-1] != table["loss"].iloc[0]
    settings = server.prepared.settings.model
    assert (settings.target_modules, settings.modules_to_save) == (targets, saved)
    factors = read_weights(folder / "adapter").factors
    assert all(B.abs().sum() > 0 for _, (B, _) in factors.items()), "none is idle"


def test_attention_that_takes_no_factors_is_refused(tmp_path):
    model = str(media.audio_model(tmp_path / "model", "wavlm"))
    settings = ModelSettings(TASK, model, target_modules="q_proj,v_proj")
    with pytest.raises(ModelError, match="past factors beside them") as raised:
        load_backbone(settings, ("a", "b"), 0)
    assert "intermediate_dense,output_dense" in str(raised.value)
    settings = replace(settings, target_modules="all-linear")
    layers = load_backbone(settings, ("a", "b"), 0).shapes()
    ends = {name.rpartition(".")[2] for name in layers}
    assert {"intermediate_dense", "output_dense"} <= ends
    assert not ends & {"q_proj", "k_proj", "v_proj", "out_proj"}


def test_a_model_of_another_kind_says_what_to_do(finished):
    root, _, _ = finished
    with pytest.raises(ConfigError, match="kind wav2vec2, which text-class") as raised:
        run({**media.job("text-classification", root / "model", root / "data")}, 2)
    assert "expected task = 'audio-classification' with this one" in str(raised.value)


def test_gradients_of_single_rows_are_refused_where_they_cannot_be_had(
    finished, tmp_path
):
    root, _, _ = finished
    config = media.job(
        TASK, root / "model", root / "data", strategy="fedit", num_server_rounds=1,
        dp="record", dp_noise_multiplier=1.0, output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    with pytest.raises(UntrainedError):
        run(config, 2)
    log = (tmp_path / "run" / "events.jsonl").read_text()
    assert "is changed in place (Wav2Vec2's kin; not AST, Whisper)" in log


@pytest.mark.slow
def test_a_server_takes_a_recording_as_a_data_url(finished):
    root, folder, _ = finished
    client = TestClient(make(Predictor(str(folder)), "tones", Limits()))
    assert 'accept="audio/*"' in client.get("/").text
    held = base64.b64encode((root / "data" / "low" / "01.wav").read_bytes()).decode()
    sent = {"inputs": [f"data:audio/wav;base64,{held}"]}
    said = client.post("/predict", json=sent).json()["answers"][0]
    assert said["input"] == {"audio": "audio 1 of 1"}
    assert said["labels"][0]["label"] == "low"
    bare = client.post("/predict", json={"inputs": ["/etc/passwd"]})
    assert "expected a recording as data:audio/wav;base64" in bare.json()["error"]
