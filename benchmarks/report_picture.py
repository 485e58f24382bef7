"""Takes a picture of the report of a real run, as a browser shows it.

    python -m benchmarks.report_picture RUN --out FILE.png [--height 900]

RUN is a run folder. Chromium is that of ILORA_BROWSER, of the system,
or playwright's own.
"""

import argparse
import os
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

_WIDTH = 1280


def take(report: Path, height: int, out: Path) -> None:
    """Write the top of a page as a PNG.

    Args:
        report: the page.
        height: of the picture, in pixels.
        out: file to write.

    """
    with sync_playwright() as started:
        named = os.environ.get("ILORA_BROWSER") or shutil.which("chromium")
        # As root Chromium has no sandbox; the page is our own.
        browser = started.chromium.launch(executable_path=named, args=["--no-sandbox"])
        size = {"width": _WIDTH, "height": height}
        page = browser.new_page(viewport=size, color_scheme="light")  # type: ignore[arg-type]
        page.goto(report.resolve().as_uri())
        page.wait_for_load_state("networkidle")
        page.screenshot(path=str(out))
        browser.close()


def main() -> None:
    """Take it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    take(given.run / "report.html", given.height, given.out)


if __name__ == "__main__":
    main()
