"""The report of a run: what it says, and that it stands alone and harms nothing."""

import html
import json
import re
from importlib import metadata
from pathlib import Path

import pytest
import torch
from flwr.app import MessageType
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.report import page as report
from ilora_app.report.reading import read
from tests.conftest import read_events
from tests.local_run import metrics, run
from tests.page import Page
from tests.report_folder import BITES, REASON, hard_folder, write


@pytest.fixture(scope="module")
def hard(tmp_path_factory) -> Path:
    return hard_folder(tmp_path_factory.mktemp("hard"))


@pytest.fixture(scope="module")
def page(hard) -> Page:
    return Page(report.write(hard).read_text())


@pytest.mark.slow
def test_a_run_ends_with_its_report(run_config):
    run_config |= {
        "report": True, "evaluate-on": "evaluate", "drift-correction": "none",
    }  # fmt: skip
    folder, _, server = run(run_config)
    page = Page((folder / "report.html").read_text())
    table = metrics(folder)
    assert f"{table['accuracy'].iloc[-1]:.4f}" in page.text
    assert page.row("num-server-rounds")[1] == "2"
    assert page.row("rank 4")[1] == f"{table['accuracy_r4'].iloc[-1]:.4f}"
    assert "had no drift correction" in page.text
    assert f"torch {metadata.version('torch')}" in page.text  # whatever build
    assert "every reply was used" in page.text
    titles = {a["aria-label"] for tag, a in page.tags if tag == "svg"}
    assert titles == {
        "Accuracy", "Loss", "Accuracy of each client, held out",
        "Accuracy at each rank", "Examples by class and client",
        "Confusion matrix",
        "Energy kept by rank", "Singular values by layer", "Client drift",
        "Megabytes by round, all clients", "Seconds by round",
    }  # fmt: skip

    # What the run recorded for it is what it says it is.
    (counted,) = read_events(folder, "class-counts")
    members = read_events(folder, "member")
    held = [m["examples"] + m["held_out"] for m in members]
    assert [sum(part) for part in counted["counts"]] == held
    assert counted["classes"] == sorted(counted["classes"])
    measured = read_events(folder, "clients-evaluated")
    assert [event["round"] for event in measured] == [1, 2]
    for event, mean in zip(measured, table["client_accuracy_mean"][1:], strict=True):
        found = [client["accuracy"] for client in event["clients"]]
        assert sum(found) / 3 == pytest.approx(mean)
        assert [client["rank"] for client in event["clients"]] == [2, 4, 8]
    (spectra,) = read_events(folder, "singular-values")
    model = server.strategy.global_model()
    assert set(spectra["layers"]) == set(model.factors.pairs)
    for name, (B, A) in model.factors.items():
        dense = torch.linalg.svdvals(2.0 * B.double() @ A.double())
        layer = spectra["layers"][name]
        assert layer["norm"] == pytest.approx(float(dense.norm()), rel=1e-3)
        kept = dense[: len(layer["values"])].tolist()
        assert layer["values"] == pytest.approx(kept, rel=1e-3, abs=1e-5)


def test_clients_that_measure_on_the_way_are_of_the_round_before(run_config):
    folder, _, _ = run(run_config | {"evaluate-on": "train", "num-server-rounds": 3})
    events = read_events(folder, "clients-evaluated")
    assert [event["round"] for event in events] == [1, 2, 3]
    table = metrics(folder).set_index("round")
    for event in events:
        worst = min(client["accuracy"] for client in event["clients"])
        assert worst == table["client_accuracy_worst"][event["round"]]


def test_clients_with_models_of_their_own(run_config):
    folder, _, _ = run(
        run_config | {"strategy": "local", "test-examples": 40, "report": True}
    )
    assert not read_events(folder, "singular-values")
    page = Page((folder / "report.html").read_text())
    assert page.row("client")[-1] == "own model on the test split"
    own = [float(page.row(f"client {i}")[-1]) for i in range(3)]
    mean = metrics(folder)["accuracy"].iloc[-1]
    assert sum(own) / 3 == pytest.approx(mean, abs=1e-4)
    assert "It was not measured" in page.text


@pytest.mark.slow
def test_a_report_that_fails_does_not_fail_the_run(run_config, caplog):
    folder = Path(run_config["output-dir"])

    def in_the_way(reply):
        if reply.metadata.message_type == MessageType.TRAIN:
            (folder / "report.html").mkdir(exist_ok=True)
        return reply

    run(run_config | {"report": True}, tamper=in_the_way)
    assert "the report lacks: report (IsADirectoryError" in caplog.text
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


def test_nothing_from_data_becomes_part_of_the_page(hard, page):
    text = (hard / "report.html").read_text()
    assert BITES not in text
    assert text.count("<script") == 1
    assert html.escape(REASON) in text.replace("<wbr>", "")
    assert f"3.11, {BITES} 1" in page.text
    assert page.open == [], "every element is closed"


def test_the_page_stands_alone(page):
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object")
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:")), (tag, value)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = re.compile(r"url\(#([^)]*)\)")
    links = [a["xlink:href"] for tag, a in page.tags if tag == "use"]
    wanted = {link.removeprefix("#") for link in links}
    assert wanted
    wanted |= {i for _, a in page.tags for v in a.values() for i in used.findall(v)}
    assert wanted <= set(ids)


def test_plots_take_the_colours_of_the_page(hard):
    text = (hard / "report.html").read_text()
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert "currentColor" in drawn
    assert "var(--c0)" in drawn
    colours = set(re.findall(r"#[0-9a-f]{6}\b", drawn)) - {"#ffffff"}
    assert not colours, "a colour that is the same in light and in dark"
    assert "mathdefault" not in drawn


def test_what_it_says(page):
    assert page.row("client 3")[1:] == [
        "16", "900", "100", "0.9377", "0.9377", "0.0333",
    ]  # fmt: skip
    assert page.row("all")[1:] == ["1010"] * 12
    assert page.row("MB, training, from the clients")[1:] == ["60.000", "2.000"]
    assert page.row("s, aggregation")[1:] == ["15.0", "0.50"]
    layer = page.row("model.layers.0.self_attn.q_proj")
    assert layer[1:3] == ["1.414", "1"]
    assert layer[3:] == ["100.0", "100.0", "100.0", "100.0"]
    failed = [row for row in page.rows if row[:1] == ["4"] and len(row) == 4]
    assert failed == [["4", "reply to training", "client 2", REASON]]
    assert "went on after round 3" in page.text
    assert "drift correction by control-variates (scope: all)" in page.text
    assert "nodes send no counts of their classes" in page.text
    assert "30 of 30" in page.text


def test_a_run_that_recorded_nothing_but_its_rounds(tmp_path):
    rows = [{"round": 0, "accuracy": 0.5}, {"round": 1, "accuracy": ""}]
    folder = write(tmp_path, rows, [])
    page = Page(report.write(folder).read_text())
    assert "were not counted" in page.text
    assert "versions were not recorded" in page.text
    assert page.row("round")[:2] == ["round", "accuracy"]


def test_a_client_is_its_last_rank_and_its_last_word(hard):
    clients = {client.name: client for client in read(hard).clients()}
    assert len(clients) == 13
    assert clients["client 3"].rank == 16
    assert clients["client 3"].accuracy[-1] == (30, pytest.approx(1 - 1 / 31 - 0.03))
    assert clients[f"node own {BITES[:20]}"].accuracy == []


@pytest.mark.slow
def test_the_command(hard, page, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    runs = tmp_path / ".ilora" / "runs"
    runs.mkdir(parents=True)
    (runs / "mine").symlink_to(hard)
    out = tmp_path / "out.html"
    result = CliRunner().invoke(app, ["report", "mine", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == str(out)
    said = CliRunner().invoke(app, ["report", "mine", "--out", str(out), "--json"])
    assert json.loads(said.stdout) == {"run": str(hard), "file": str(out)}
    # The same run gives the same page.
    assert out.read_bytes() == (hard / "report.html").read_bytes()


@pytest.mark.slow
def test_drift_beside_that_of_another_run(run_config, tmp_path):
    """As of the same run without correction."""
    folder, _, _ = run(run_config | {"evaluate-on": "train"})
    without = {"drift-correction": "none", "evaluate-on": "train"}
    other, _, _ = run(run_config | without | {"output-dir": str(tmp_path / "other")})
    out = tmp_path / "out.html"
    words = ["report", str(folder), "--out", str(out), "--beside", str(other)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    text = html.unescape(out.read_text())
    assert "drift-correction</code> 'control-variates' here, 'none' there." in text
    assert "weights, beside" in text
    assert "weights, beside" not in report.write(folder).read_text()
    result = CliRunner().invoke(app, [*words[:-1], "no such run"])
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "expected a run folder, with config.toml in it"),
        ({"config.toml": ""}, "no round is finished"),
        ({"config.toml": "= 1", "metrics.csv": "round\n0\n"}, "cannot be read"),
    ],
)
def test_a_folder_that_is_no_run(tmp_path, files, reason):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 2
    assert reason in result.output
    assert not (tmp_path / "report.html").exists()


def test_a_place_that_cannot_be_written(hard, tmp_path):
    out = tmp_path / "none" / "out.html"
    result = CliRunner().invoke(app, ["report", str(hard), "--out", str(out)])
    assert result.exit_code == 2
    assert "No such file" in result.output
