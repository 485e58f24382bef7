"""privacy.json and privacy.html: every claim follows the settings of the run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from ilora_app.privacy.budget import spent
from ilora_app.report import privacy_page
from ilora_app.report import privacy_words as words
from ilora_app.settings import Settings, parsing
from tests.conftest import read_events
from tests.local_run import run
from tests.page import Page
from tests.report_folder import BITES, hard_folder

PRIVATE = {
    "dp": "client", "dp-noise-multiplier": 2.0, "dp-delta": 0.01, "dp-clip": 0.5,
    "decomposition": "qr", "drift-correction": "none",
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "plain": {"drift-correction": "control-variates"},
    "ridge": {"head": "ridge", "drift-correction": "none"},
    "secure": {"secure-aggregation": True, "decomposition": "qr"},
    "dp": PRIVATE,
}


@pytest.fixture(scope="module")
def pages(tiny_config, tmp_path_factory) -> Callable[[str], tuple[dict, Page, Path]]:
    made: dict[str, tuple[dict, Page, Path]] = {}

    def page(way: str) -> tuple[dict, Page, Path]:
        if way not in made:
            place = str(tmp_path_factory.mktemp(way) / "run")
            folder, _, _ = run(tiny_config | {"output-dir": place} | WAYS[way], 4)
            found = json.loads((folder / "privacy.json").read_text())
            made[way] = found, Page((folder / "privacy.html").read_text()), folder
        return made[way]

    return page


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_who_sees_a_single_update(pages, way):
    found, page, _ = pages(way)
    secure = way == "secure"
    assert found["single_updates"]["secure_aggregation"] is secure
    assert ("can see the update of every single node" in page.text) is not secure
    assert ("hidden from the server" in page.text) is secure
    assert ("Nobody sees what a single node has trained" in page.text) is secure
    open_to_all = any(x.startswith("Single updates") for x in found["not_protected"])
    assert open_to_all is not secure
    assert ("control variate, a mean gradient" in page.text) is (way == "plain")
    assert ("exact number of its rows of each class" in page.text) is (way == "ridge")
    assert ("secure-key and secure-roster" in page.text) is secure
    assert ("an operator that makes up models" in page.text) is secure


@pytest.mark.slow
def test_epsilon_is_that_of_the_account(pages):
    found, page, _ = pages("dp")
    private = found["differential_privacy"]
    assert private["epsilon"] == pytest.approx(spent(2.0, 0.01, 2))
    assert (private["delta"], private["clip"], private["releases"]) == (0.01, 0.5, 2)
    assert private["unit"] == "a node with all its data"
    assert "RdpAccountant" in page.row("accountant")[1]
    assert "no amplification" in page.row("sampling")[1]
    assert "nothing is noised" not in page.text
    for way in ("plain", "secure"):
        found, page, _ = pages(way)
        assert found["differential_privacy"]["epsilon"] is None
        assert "not differentially private" in page.text
        assert "nothing is noised" in page.text


@pytest.mark.slow
def test_the_least_cohort(pages):
    found, page, _ = pages("secure")
    assert "fewer than 3 nodes" in found["minimum_cohort"]["said"]
    assert found["minimum_cohort"]["fewest_in_a_round"] == 4
    assert "The fewest of a round so far: 4." in page.text
    assert "With one answer the model" in pages("plain")[1].text


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_what_is_stored_is_what_lies_there(pages, way):
    found, page, folder = pages(way)
    named = {item["name"]: item for item in found["stored"]}
    assert ("parts" in named) is (way in ("plain",))
    for name, item in named.items():
        there = any(f.is_file() or any(f.iterdir()) for f in folder.glob(name))
        assert item["there"] is there, name
    # Nothing lies there that the page does not speak of.
    listed = {f for name in named for f in folder.glob(name)}
    rest = {f.name for f in set(folder.iterdir()) - listed}
    assert rest <= {"config.toml", "privacy.json", "privacy.html", ".lock"}
    (event,) = read_events(folder, "node-state")
    assert found["node_state"]["keys"] == [event["key"]]
    assert f"ilora runs erase --key {event['key']}" in page.text


@pytest.mark.slow
def test_hashes_of_rounds_and_what_a_run_cannot_know(pages):
    found, page, folder = pages("plain")
    rows = found["payload_hashes"]["rounds"]
    assert [row["round"] for row in rows] == [1, 2]
    assert rows[0]["sha256"] in page.text
    assert rows[0]["sent"] == sum(
        len(e["sent"]) for e in read_events(folder, "payloads") if e["round"] == 1
    )
    assert found["transport"]["tls"] is None
    assert (
        "Whether connections are encrypted (TLS) is not known to the run" in page.text
    )
    assert "A node is taken for who it says it is" in page.text
    assert found["data_dealt_by_server"] is True


@pytest.mark.slow
def test_a_run_that_goes_on_has_a_page_of_all_of_it(run_config):
    one = run_config | PRIVATE | {"num-server-rounds": 1}
    folder, _, _ = run(one, 4)
    run(one | {"resume": str(folder), "num-server-rounds": 2}, 4)
    found = json.loads((folder / "privacy.json").read_text())
    assert found["run"]["rounds"] == 2
    assert found["differential_privacy"]["epsilon"] == pytest.approx(spent(2, 0.01, 2))
    assert len(found["node_state"]["keys"]) == 1
    assert found["run"]["nodes"] == 4


@pytest.mark.slow
def test_a_run_that_fails_has_one_from_its_beginning(run_config):
    def away(reply):
        raise RuntimeError("the server falls over")

    with pytest.raises(RuntimeError):
        run(run_config, 3, tamper=lambda r: away(r) if r.has_content() and
            "arrays" in r.content else r)  # fmt: skip
    found = json.loads((Path(run_config["output-dir"]) / "privacy.json").read_text())
    assert found["run"]["rounds"] == 0


def test_text_of_others_stays_text(tmp_path):
    folder = hard_folder(tmp_path / "run")
    (folder / "membership.json").write_text('{"auc": 1, "model": "<svg>"}')
    page = Page(privacy_page.write(folder).read_text())
    assert BITES in page.text
    assert not [tag for tag, _ in page.tags if tag == "svg"]
    assert "Nobody has tested" in page.text


def test_an_unknown_kind_of_privacy_is_left_to_the_docs(tmp_path):
    config = parsing.dump(Settings()) | {"dp": "other"}
    (tmp_path / "config.toml").write_text(tomli_w.dumps(config))
    privacy_page.write(tmp_path)
    found = json.loads((tmp_path / "privacy.json").read_text())
    assert found["differential_privacy"]["unit"] == "other"
    assert found["differential_privacy"]["epsilon"] is None
    text = Page((tmp_path / "privacy.html").read_text()).text
    assert "not differentially private" not in text
    assert "other, no epsilon recorded" in text


def test_what_is_seen_follows_the_unit_of_privacy():
    def of(**keys) -> str:
        whole = parsing.dump(Settings()) | {"drift-correction": "none"} | keys
        return " ".join([*words.seen(whole), *words.unprotected(whole)])

    client, record = {"dp": "client"}, {"dp": "record"}
    assert "no update from the operator" in of(**client)
    shares = of(**client, **{"secure-aggregation": True})
    assert "adds a share of the noise before it masks" in shares
    assert "no update from the operator" not in shares
    assert "adds a share" not in of(**{"secure-aggregation": True})
    assert "no single row can be told" in of(**record)
    assert "Losses and accuracies of nodes, and" not in of(**record)
    assert words.UNITS["record"][0] == "a row of a node's data"
