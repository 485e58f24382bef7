"""Pages in a real browser: no message in its console, no overflow, and what is seen."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ilora_app.compare import page, plots, results
from ilora_app.compare.sections import Section
from ilora_app.report import page as report
from ilora_app.report.live import LiveReport
from tests.made_up import entry, fail, finish, plan, rounds
from tests.report_folder import BITES, hard_folder

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (extra: test)"
)

pytestmark = pytest.mark.slow  # a browser starts, with processes of its own

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Text that sticks out of its plot, or is too small to be read.
STICKS_OUT = """() => [...document.querySelectorAll("svg")].flatMap(svg => {
  const all = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < all.left - 1 || box.right > all.right + 1
      || box.top < all.top - 1 || box.bottom > all.bottom + 1;
  }).map(text => text.textContent);
})"""

# The lowest contrast between the page and the text of its plots.
CONTRAST = """() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).map(v => v / 255)
      .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const page = light(getComputedStyle(document.body).backgroundColor);
  const ratio = v => (Math.max(v, page) + .05) / (Math.min(v, page) + .05);
  const texts = [...document.querySelectorAll("svg text, p, td, .tile span")];
  const lines = [...document.querySelectorAll("svg path")]
    .map(path => getComputedStyle(path).stroke).filter(stroke => stroke !== "none");
  return [
    Math.min(...texts.map(text => getComputedStyle(text))
      .map(style => style.fill === "rgb(0, 0, 0)" ? style.color : style.fill)
      .map(colour => ratio(light(colour)))),
    Math.min(...lines.map(stroke => ratio(light(stroke)))),
  ];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium: ILORA_BROWSER, one of the system, or playwright's own."""
    named = os.environ.get("ILORA_BROWSER") or next(
        filter(None, map(shutil.which, NAMES)), None
    )
    with playwright.sync_playwright() as started:
        try:
            # As root Chromium has no sandbox; the pages are our own.
            found = started.chromium.launch(
                executable_path=named, args=["--no-sandbox"]
            )
        except playwright.Error as error:
            pytest.skip(f"no browser (Debian: chromium): {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture(scope="module")
def run_report(tmp_path_factory) -> Path:
    return report.write(hard_folder(tmp_path_factory.mktemp("hard")))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> Path:
    """28 rows under names as long as they get, one of which failed."""
    folder = tmp_path_factory.mktemp("compared")
    ranks = [f"client-ranks={i}" for i in range(26)]
    names = [f"fedit+drift-correction=control-variates+{rank}" for rank in ranks]
    made = plan(folder, *map(entry, [*names, "centralized", "ilora"]), seeds=1)
    for i, one in enumerate(made.entries[:-1]):
        more = {f"accuracy_r{r}": 0.5 for r in (2, 4, 8, 16)}
        finish(made.job(one, 0.003, 0), rounds(0.1, 0.4, 0.5 + i / 100, **more))
    fail(made.job(made.entries[-1], 0.003, 0), BITES + "long" * 60)
    found = [results.summarise(made, one) for one in made.entries]
    section = Section.of("default", found, "auto")
    drawn = [(picture.title, picture.svg()) for picture in plots.pictures([section])]
    file = folder / "index.html"
    file.write_text(page.html([section], [f"Command: `{names * 3}`"], drawn))
    return file


@pytest.fixture(params=["run_report", "comparison"])
def file(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_and_is_quiet(browser, file, size, scheme):
    context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)
    shown = context.new_page()
    said: list[str] = []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("dialog", lambda dialog: (said.append("a dialog"), dialog.dismiss()))
    shown.on("request", lambda r: said.append(r.url) if r.url[:4] == "http" else None)
    shown.goto(file.as_uri())
    for is_open in (False, True):
        shown.evaluate(
            "v => document.querySelectorAll('details').forEach(d => d.open = v)",
            is_open,
        )
        width = shown.evaluate("document.documentElement.scrollWidth")
        assert width == size["width"], "it cannot be scrolled sideways"
    assert shown.evaluate(STICKS_OUT) == []
    text, lines = shown.evaluate(CONTRAST)
    assert text >= 4.5, "WCAG AA for text"
    assert lines >= 1.5
    assert said == []
    context.close()


def test_a_table_is_sorted_by_a_click(browser, run_report):
    context = browser.new_context(viewport=PHONE, offline=True)
    shown = context.new_page()
    shown.goto(run_report.as_uri())
    table = shown.locator("table", has_text="held out").first
    cells = table.locator("tbody td:nth-child(5)")

    def column() -> list[float]:
        return [float(t) for t in cells.all_inner_texts() if t != "–"]

    before = column()
    table.get_by_role("button", name="accuracy").click()
    assert column() == sorted(before, reverse=True)
    assert table.locator("th[aria-sort=descending]").inner_text().strip() == "accuracy"
    table.get_by_role("button", name="accuracy").press("Enter")
    assert column() == sorted(before)
    assert before != column() or before == sorted(before)
    table.get_by_role("button", name="client").click()
    names = table.locator("tbody td:first-child").all_inner_texts()
    assert names[0].startswith("node"), "words are sorted as words"
    context.close()


def test_what_is_seen_of_a_run(browser, run_report):
    context = browser.new_context(viewport=DESKTOP, offline=True)
    shown = context.new_page()
    shown.goto(run_report.as_uri())
    heads = shown.locator("h2").all_inner_texts()
    assert heads == [
        "Accuracy and loss", "Classes", "Clients and ranks", "Data of the clients",
        "What the ranks keep", "Client drift", "Bytes and seconds", "Failures",
        "Rounds", "Config and versions", "Words",
    ]  # fmt: skip
    assert shown.locator("svg").count() == 11
    assert all(
        box["height"] > 150
        for box in (svg.bounding_box() for svg in shown.locator("svg").all())
    )
    assert shown.get_by_text(BITES).count() > 0, "shown as text"
    assert not shown.get_by_text("num-server-rounds").is_visible()
    shown.get_by_text("The run config as resolved").click()
    assert shown.get_by_text("num-server-rounds").is_visible()
    context.close()


def test_a_client_table_fits_a_phone(browser, run_report):
    context = browser.new_context(viewport=PHONE, offline=True)
    shown = context.new_page()
    shown.goto(run_report.as_uri())
    tables = shown.locator(".wide.fits")
    assert tables.count() >= 3, "clients, classes, pairs"
    for table in tables.all():
        if table.is_visible():
            wide, room = table.evaluate("e => [e.scrollWidth, e.clientWidth]")
            assert wide <= room, table.inner_text()[:80]
    context.close()


def test_a_desktop_has_two_filled_columns(browser, run_report):
    context = browser.new_context(viewport=DESKTOP, offline=True)
    shown = context.new_page()
    shown.goto(run_report.as_uri())
    for svg in shown.locator("figure:not(.full) svg").all():
        assert svg.bounding_box()["width"] > 550
    left = {round(f.bounding_box()["x"]) for f in shown.locator("figure").all()}
    assert len(left) == 2
    context.close()


def test_a_value_is_shown_where_one_points_at_it(browser, run_report):
    context = browser.new_context(viewport=DESKTOP, offline=True)
    shown = context.new_page()
    shown.goto(run_report.as_uri())
    said = shown.locator(".says")
    assert not said.is_visible()
    point = shown.locator("[data-tip='test split, round 30: 0.9677']")
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    assert said.inner_text().endswith(": 0.9677")
    cell = shown.locator("[data-tip^='ordinary, taken for ordinary']")
    cell.hover()
    assert said.inner_text() == "ordinary, taken for ordinary: 22"
    shown.mouse.move(2, 2)
    assert not said.is_visible()
    context.close()


def test_a_watched_page_loads_itself_again(browser, tmp_path):
    folder = hard_folder(tmp_path, clients=2, rounds=2)
    with LiveReport(folder) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        shown = browser.new_page(viewport=DESKTOP)
        said: list[str] = []
        shown.on("console", lambda message: said.append(message.text))
        shown.goto(server.url)
        assert shown.get_by_text("2 of 30", exact=True).count() == 1
        with (folder / "metrics.csv").open("a") as file:
            file.write("3,0.875\n")
        shown.get_by_text("3 of 30", exact=True).wait_for(timeout=20_000)
        assert [text for text in said if "favicon" not in text] == []
        shown.close()
        server.shutdown()
