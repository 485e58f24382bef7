"""An image and a text a row: from a table beside images to a prediction."""

import json

import pytest
import torch
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.predict.predictor import Predictor
from ilora_app.serve.app import make
from ilora_app.serve.asked import Limits
from ilora_app.settings.parsing import ConfigError
from ilora_app.tasks.image_text_model import CLIPForImageTextClassification
from tests import media
from tests.local_run import metrics, run

TASK = "image-text-classification"


def ilora(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two rounds on a table of images and texts."""
    root = tmp_path_factory.mktemp("posts")
    data = media.posts(root / "data")
    config = media.job(TASK, media.clip(root / "model"), data, report=True)
    folder, _, server = run(config, 2)
    return root, folder, server


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_check_finds_the_task_and_what_the_frozen_model_is_worth(
    finished, tmp_path, form
):
    root, _, _ = finished
    data = media.posts(tmp_path / "data", form=form)
    words = ["--model", root / "model", "--clients", 2, "--json"]
    result = ilora("check", data.parent if form == "csv" else data, *words)
    assert result.exit_code == 0, result.output
    seen = json.loads(result.output)
    suggested = {one["key"]: one["value"] for one in seen["suggestions"]}
    assert suggested["task"] == TASK
    assert seen["read"] == {
        "image-column": "picture",
        "text-columns": "caption",
        "label-column": "label",
    }
    assert seen["lengths"]["unit"] == "tokens"
    scores = {one["name"]: one["accuracy"] for one in seen["scores"]}
    assert scores["the commonest class"] == 0.5
    assert scores["linear probe of the frozen model"] > 0.8, (
        "it sees whether they agree"
    )


def test_a_run_begins_with_a_solved_head_and_trains_both_encoders(finished):
    _, folder, server = finished
    table = metrics(folder)
    assert len(table) == 3
    assert table["accuracy"].iloc[-1] > 0.8
    assert table["f1"].iloc[-1] > 0.8
    settings = server.prepared.settings
    assert (settings.head.head, settings.model.modules_to_save) == (
        "ridge",
        "classifier",
    )
    sides = {name.split(".")[1] for name in server.prepared.backbone.shapes()}
    assert sides == {"text_model", "vision_model"}
    card = (folder / "adapter" / "README.md").read_text()
    assert "ilora_app.tasks.image_text_model import CLIPForImageTextClass" in card


def test_predictions_are_the_same_of_a_run_an_adapter_and_a_whole_model(finished):
    root, folder, _ = finished
    table = root / "data" / "asked.csv"
    pictures = [f"images/{i:02}.png" for i in (0, 1)]
    table.write_text(
        "caption,picture\n" + "".join(f"blue card,{name}\n" for name in pictures)
    )
    said = []
    for name, words in (("run", ()), ("adapter", ()), ("whole", ("--merge",))):
        place, base = folder, ()
        if name != "run":
            place = root / name
            result = ilora("export", folder, "--out", place, *words)
            assert result.exit_code == 0, result.output
            base = ("--base", root / "model") if name == "adapter" else ()
        result = ilora("predict", place, "--file", table, *base)
        assert result.exit_code == 0, result.output
        rows = [json.loads(line) for line in result.output.splitlines()]
        assert [row["labels"][0]["label"] for row in rows] == ["other", "same"]
        said.append([one["probability"] for row in rows for one in row["labels"]])
    assert said[0] == pytest.approx(said[1], abs=1e-5)
    assert said[0] == pytest.approx(said[2], abs=1e-3)
    one = ilora("predict", folder, root / "data" / pictures[1], "blue card")
    assert one.output.split()[0] == "same"
    few = ilora("predict", folder, root / "data" / pictures[1])
    assert "2 texts at a time (picture, caption)" in few.output


def test_export_for_other_servers_is_refused_with_what_to_do(finished):
    root, folder, _ = finished
    result = ilora("export", folder, "--out", root / "no", "--for", "transformers")
    assert result.exit_code == 2
    assert "expected no --for, and ilora predict or ilora serve" in result.output
    assert "--merge" not in result.output


@pytest.mark.slow
def test_a_server_takes_the_image_as_a_data_url_and_the_text_as_it_is(finished):
    _, folder, _ = finished
    client = TestClient(make(Predictor(str(folder)), "posts", Limits()))
    page = client.get("/").text
    assert 'accept="image/*"' in page
    assert page.count("<textarea id=") == 1
    pixel = (
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42"
        "mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    rows = [{"picture": pixel, "caption": "red card"}]
    said = client.post("/predict", json={"inputs": rows}).json()["answers"][0]
    assert said["input"] == {"picture": "image 1 of 1", "caption": "red card"}
    assert {one["label"] for one in said["labels"]} == {"same", "other"}
    bare = client.post("/predict", json={"inputs": [["/etc/passwd", "red card"]]})
    assert "expected an image as data:image/png;base64" in bare.json()["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "changes"),
    [
        ("linear-probe", {}),
        ("fedit", {"head": "trained", "image_size": 24}),
        ("ilora", {"clients_per_batch": 2, "base_dropout": False}),
    ],
)
def test_other_heads_sizes_and_clients_at_once(finished, tmp_path, strategy, changes):
    root, _, _ = finished
    data = root / "data" / "posts.parquet"
    how = {"num_server_rounds": 1, "output_dir": str(tmp_path / "run"), **changes}
    folder, _, _ = run(
        media.job(TASK, root / "model", data, strategy=strategy, **how), 2
    )
    assert metrics(folder)["loss"].notna().all()


@pytest.mark.slow
def test_clip_as_image_classification_trains_its_images_alone(finished, tmp_path):
    root, _, _ = finished
    config = media.job(
        "image-classification", root / "model", root / "data" / "posts.parquet",
        num_server_rounds=1, output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    folder, _, server = run(config, 2)
    assert metrics(folder)["loss"].notna().all()
    settings = server.prepared.settings.model
    assert (settings.modules_to_save, settings.target_modules) == (
        "classifier", "q_proj,v_proj",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("text-classification", "kind clip, which text-classification has none of; "
         "expected task = 'image-classification' or 'image-text-classification'"),
        ("audio-classification", "such as facebook/wav2vec2-base-960h"),
    ],
)  # fmt: skip
def test_a_model_of_another_kind_says_what_to_do(finished, task, said):
    root, _, _ = finished
    data = root / "data" / "posts.parquet"
    with pytest.raises(ConfigError) as raised:
        run(media.job(task, root / "model", data, text_columns="caption"), 2)
    assert any(said in problem for problem in raised.value.problems)


def test_the_head_sees_both_embeddings_and_whether_they_agree(tmp_path):
    model = CLIPForImageTextClassification.from_pretrained(media.clip(tmp_path / "m"))
    seen = []
    model.classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tokens = torch.tensor([[1, 5, 2], [1, 7, 2]])
    pixels = torch.rand(2, 3, 16, 16)
    model.eval()(input_ids=tokens, pixel_values=pixels)
    u, v, both = seen[0].chunk(3, dim=1)
    torch.testing.assert_close(both, u * v)
    for part in (u, v):
        torch.testing.assert_close(part.square().mean(dim=1), torch.ones(2))
    found = model.clip(input_ids=tokens, pixel_values=pixels)
    torch.testing.assert_close(u, 4 * found.image_embeds)
    torch.testing.assert_close(v, 4 * found.text_embeds)
