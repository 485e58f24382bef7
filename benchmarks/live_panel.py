"""Draws the live panel of ``ilora run`` as it stood behind a round of a real run.

    python -m benchmarks.live_panel RUN --round 5 --out FILE.svg

RUN is a run folder; what the panel shows comes from its events.jsonl.
"""

import argparse
import io
import json
import re
import time
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console

from ilora_app.watch.state import RunState
from ilora_app.watch.view import View

_WIDTH = 92
# Without fonts from elsewhere.
_ALONE = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def draw(run: Path, until: int, out: Path) -> None:
    """Write the panel as an SVG.

    Args:
        run: folder of the run.
        until: round that has just ended.
        out: file to write.

    """
    text = (run / "events.jsonl").read_text(encoding="utf-8")
    events = [json.loads(line) for line in text.splitlines()]
    last = next(
        i for i, e in enumerate(events) if e["event"] == "round" and e["round"] == until
    )
    state, ago = RunState(), time.time() - events[last]["time"]
    for event in events[: last + 1]:  # as if it had just ended
        state.take(event | {"time": event["time"] + ago})
    console = Console(
        record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True
    )
    console.print(View(console, state, "ilora run").panel())
    names = {"title": f"after round {until}", "unique_id": "panel"}
    console.save_svg(str(out), code_format=_ALONE, **names)


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--round", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    draw(given.run, given.round, given.out)


if __name__ == "__main__":
    main()
