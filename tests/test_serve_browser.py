"""The page of ``ilora serve`` in a real browser: it fits, is quiet, and predicts."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from ilora_app.predict.predictor import Predictor
from ilora_app.serve import address, app
from ilora_app.serve.asked import Limits
from ilora_app.tasks import sources
from tests.finished import ilora, objects

pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (extra: test)"
)

from tests.test_report_browser import DESKTOP, PHONE, browser

__all__ = ["browser"]

pytestmark = pytest.mark.slow  # a browser starts, with processes of its own

# Of each text the contrast with what lies behind it.
CONTRAST = """() => {
  const numbers = colour => colour.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const page = numbers(getComputedStyle(document.body).backgroundColor);
  return Math.min(...[...document.querySelectorAll(
    "h1, p, label, button, dt, summary, textarea, input")].map(element => {
      const style = getComputedStyle(element), back = numbers(style.backgroundColor);
      const part = back[3] ?? 1;
      const behind = page.map((v, i) => part * back[i] + (1 - part) * v);
      const pair = [light(numbers(style.color)), light(behind)];
      return (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
  }));
}"""


@contextmanager
def listening(folder: Path, name: str) -> Iterator[str]:
    """The application on a port, in a thread of this process."""
    taken = address.listen("127.0.0.1", 0)
    made = app.make(Predictor(str(folder)), name, Limits(), ("127.0.0.1",))
    config = uvicorn.Config(made, log_config=None, lifespan="off", ws="none")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([taken],))
    thread.start()
    try:
        while not running.started:
            time.sleep(0.01)
        yield address.url("127.0.0.1", taken)
    finally:
        running.should_exit = True
        thread.join()
        taken.close()


@contextmanager
def opened(browser: Any, url: str, **how: Any) -> Iterator[Any]:
    """The page, which says nothing in the console and asks nobody else."""
    context = browser.new_context(**how)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda r: said.append(r.url) if elsewhere(r.url, url) else None)
    page.goto(url)
    yield page
    assert said == []
    context.close()


def elsewhere(asked: str, url: str) -> bool:
    return not asked.startswith((url, "data:", "blob:"))


@pytest.fixture(scope="module")
def texts(made) -> Iterator[str]:
    with listening(made["bert"].folder, "20260131-</script>" + "long" * 30) as url:
        yield url


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")])
def test_a_text_is_classified(made, browser, texts, size, scheme, tmp_path):
    from playwright.sync_api import expect

    text = "what is <b>my</b> balance " + "w" * 300
    (expected,) = objects(ilora("predict", made["bert"].folder, text, "--json"))
    with opened(browser, texts, viewport=size, color_scheme=scheme) as page:
        page.get_by_label("text").fill(text)
        page.get_by_role("button", name="Predict").click()
        page.locator("dd").nth(2).wait_for()
        labels = [one["label"] for one in expected["labels"]]
        values = [f"{one['probability']:.4f}" for one in expected["labels"]]
        shown = [line.split("\n") for line in page.locator("dt").all_inner_texts()]
        words = [word for line in shown for word in " ".join(line).split()]
        assert words == [w for pair in zip(labels, values, strict=True) for w in pair]
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width == size["width"], "it cannot be scrolled sideways"
        assert page.evaluate(CONTRAST) >= 4.5, "WCAG AA for text"
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        page.get_by_label("Classes").fill("1")
        page.get_by_label("text").press("Control+Enter")
        # The answer before goes as soon as it is asked; the new one comes later.
        expect(page.locator("dd")).to_have_count(1)


def test_a_mistake_is_shown(browser, texts):
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    page.goto(texts)
    page.get_by_label("text").fill("a" * 20_001)
    page.get_by_role("button", name="Predict").click()
    error = page.locator("#out .error")
    error.wait_for()
    assert "has 20001 characters, expected 20000 at most" in error.inner_text()
    assert page.get_by_role("button", name="Predict").is_enabled()
    context.close()


def test_an_image_is_classified(made, browser, tmp_path):
    finished, file = made["vit"], tmp_path / "one.png"
    sources._opened(finished.config["dataset"], "")["test"][0]["img"].save(file)
    (expected,) = objects(ilora("predict", finished.folder, file, "--json"))
    with (
        listening(finished.folder, "images") as url,
        opened(browser, url, viewport=PHONE) as page,
    ):
        page.get_by_label("img").set_input_files(file)
        page.get_by_role("button", name="Predict").click()
        page.locator("dt").first.wait_for()
        assert (
            page.locator("dt")
            .first.inner_text()
            .startswith(expected["labels"][0]["label"])
        )
        assert page.locator("#out img").evaluate("e => e.naturalWidth") == 20


def test_a_language_model_writes(made, browser):
    finished = made["llama"]
    words = ["predict", finished.folder, "pay", "--json", "--max-new-tokens", 6]
    (expected,) = objects(ilora(*words))
    with (
        listening(finished.folder, "words") as url,
        opened(browser, url, viewport=PHONE) as page,
    ):
        page.get_by_label("text").fill("pay")
        page.get_by_label("New tokens").fill("6")
        page.get_by_role("button", name="Predict").click()
        page.locator("#out pre").wait_for()
        written = page.locator("#out pre").evaluate("e => e.textContent")
        assert written == expected["completion"]
