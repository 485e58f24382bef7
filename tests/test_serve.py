"""What ``ilora serve`` answers over HTTP: a real model, and what goes wrong."""

import base64
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from ilora_app.predict.predictor import Predictor
from ilora_app.serve.app import make
from ilora_app.serve.asked import Limits
from ilora_app.tasks import sources
from tests.finished import ilora, objects

TYPE = {"Content-Type": "application/json"}


def client(folder: object, **limits: Any) -> TestClient:
    """The application of a folder, as the command makes it on the loopback."""
    made = make(Predictor(str(folder)), "a model", Limits(**limits), ("127.0.0.1",))
    return TestClient(made, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def bert(made) -> TestClient:
    return client(made["bert"].folder, inputs=3, megabytes=0.1)


def ask(to: TestClient, body: Any, **more: Any) -> tuple[int, Any]:
    reply = to.post("/predict", json=body, **more)
    return reply.status_code, reply.json()


def test_it_answers_as_predict_does(made, bert):
    texts = ["what is my balance", "ünïcode 🦙"]
    words = ["predict", made["bert"].folder, *texts, "--json", "--top", 4]
    code, said = ask(bert, {"inputs": [texts[0], {"text": texts[1]}], "top": 4})
    assert code == 200
    expected = objects(ilora(*words))
    assert [one["input"] for one in said["answers"]] == [
        one["input"] for one in expected
    ]
    for one, other in zip(said["answers"], expected, strict=True):
        for a, b in zip(one["labels"], other["labels"], strict=True):
            assert a["label"] == b["label"]
            assert a["probability"] == pytest.approx(b["probability"], abs=1e-6)


def test_what_it_serves(made, bert):
    said = bert.get("/health").json()
    labels = made["bert"].server.prepared.labels
    assert (said["status"], said["task"]) == ("ok", "text-classification")
    assert (said["columns"], said["classes"]) == (["text"], len(labels))
    page = bert.get("/")
    assert "text/html" in page.headers["content-type"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    here = str(made["bert"].folder.parent)
    assert here not in page.text + json.dumps(said)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ([], "expected an object such as"),
        ({"inputs": "a"}, "expected an object such as"),
        ({"inputs": []}, "0 inputs: expected 1 to 3"),
        ({"inputs": ["a"] * 4}, "4 inputs: expected 1 to 3"),
        ({"inputs": ["a", 1]}, "input 2: expected a text, or an object with text"),
        ({"inputs": [{"text": 1}]}, "input 1: text is int, expected text"),
        ({"inputs": [{"body": "a"}]}, "an object with text"),
        ({"inputs": [["a", "b"]]}, "input 1: 2 given, expected 1 (text)"),
        ({"inputs": ["a" * 20_001]}, "has 20001 characters, expected 20000 at most"),
        ({"inputs": ["\ud800"]}, "half a character"),
        ({"inputs": ["a"], "top": 0}, "top = 0: expected a number from 1"),
        ({"inputs": ["a"], "top": True}, "top = True: expected a number"),
        ({"inputs": ["a"], "tops": 1}, "unknown: tops; expected inputs, top"),
    ],
)
def test_a_mistake_is_a_sentence(bert, body, sentence):
    code, said = ask(bert, None, content=json.dumps(body), headers=TYPE)
    assert code == 422
    assert sentence in said["error"]


def test_what_is_no_request(bert):
    for content, headers, code in (
        (b"{", TYPE, 422),
        (b"\xff", TYPE, 422),
        (b"[" * 50_000, TYPE, 422),
        (b" " * 100_001, TYPE, 413),
        (b'{"inputs": ["a"]}', {"Content-Type": "text/plain"}, 415),
        (b'{"inputs": ["a"]}', TYPE | {"Host": "evil.example.org"}, 400),
    ):
        reply = bert.post("/predict", content=content, headers=headers)
        assert reply.status_code == code, content[:20]
    assert bert.get("/predict").status_code == 405
    missing = bert.get("/docs")
    assert (missing.status_code, missing.json()) == (404, {"error": "Not Found"})
    assert ask(bert, {"inputs": ["still there"]})[0] == 200


def test_images_come_as_data_and_never_as_paths(made, tmp_path):
    finished = made["vit"]
    file = tmp_path / "one.png"
    data = sources._opened(finished.config["dataset"], "")["test"]
    data[0]["img"].save(file)
    (expected,) = objects(ilora("predict", finished.folder, file, "--json"))
    sent = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
    at = client(finished.folder)
    code, said = ask(at, {"inputs": [sent]})
    assert code == 200
    (one,) = said["answers"]
    assert one["input"] == {"img": "image 1 of 1"}
    assert [a["label"] for a in one["labels"]] == [
        a["label"] for a in expected["labels"]
    ]
    torn = "data:image/png;base64,aGVsbG8="
    for given, sentence in (
        (str(file), "expected an image as data:image/png;base64,"),
        ("data:image/png;base64,?", "expected an image as"),
        (torn, "cannot be read"),
        ("data:image/png;base64,", "cannot be read"),
    ):
        code, said = ask(at, {"inputs": [given]})
        assert code == 422
        assert sentence in said["error"]


def test_a_language_model_and_its_limit(made):
    finished = made["llama"]
    at = client(finished.folder, new_tokens=6)
    words = ["predict", finished.folder, "pay", "--json", "--max-new-tokens", 6]
    code, said = ask(at, {"inputs": ["pay"], "max_new_tokens": 6})
    assert (code, said["answers"]) == (200, objects(ilora(*words)))
    code, said = ask(at, {"inputs": ["pay"], "max_new_tokens": 7})
    assert code == 422
    assert "max_new_tokens = 7: expected a number from 1 to 6" in said["error"]
