"""index.html: tables that can be sorted and the plots, in one file by itself."""

import base64
from collections.abc import Sequence
from html import escape

from ilora_app.compare.results import Summary
from ilora_app.compare.sections import Section
from ilora_app.compare.tables import cells, failures, heads, notes

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --bad: #c0392b; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem;
  max-width: 80rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " ↑"; }
th[aria-sort=descending] button::after { content: " ↓"; }
tbody + tbody tr:first-child td { border-top: 2px solid var(--line); }
tbody.bounds { background: var(--soft); }
.bad { color: var(--bad); }
.failures { padding-left: 1.2rem; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
code { overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a7a; } }
"""

_SCRIPT = """
const value = (row, i) => {
  const text = row.cells[i].textContent, number = parseFloat(text);
  return Number.isNaN(number) ? (i ? -Infinity : text) : number;
};
document.querySelectorAll("th button").forEach(button => {
  button.addEventListener("click", () => {
    const head = button.parentElement, i = head.cellIndex;
    const up = head.ariaSort === "descending";
    head.parentElement.querySelectorAll("th").forEach(th => th.ariaSort = null);
    head.ariaSort = up ? "ascending" : "descending";
    head.closest("table").querySelectorAll("tbody").forEach(body => {
      const order = (a, b) => {
        const x = value(a, i), y = value(b, i);
        return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
      };
      body.append(...[...body.rows].sort(order));
    });
  });
});
"""


def html(
    sections: Sequence[Section], about: Sequence[str], curves: bytes, cost: bytes
) -> str:
    """Make the page; it loads nothing from anywhere."""
    parts = [_section(section) for section in sections]
    parts.append("<h2>Accuracy by round</h2>" + _image(curves, "accuracy by round"))
    parts.append("<h2>Accuracy by megabytes</h2>" + _image(cost, "accuracy by cost"))
    parts.append("<h2>About</h2>" + "".join(f"<p>{_text(line)}</p>" for line in about))
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Comparison</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Comparison</h1>\n{body}\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.name)}</h2>"]
    if section.methods or section.bounds:
        head = "".join(
            f'<th scope="col"><button type="button">{escape(name)}</button></th>'
            for name in heads(section)
        )
        bodies = _body(section, section.methods, "methods")
        bodies += _body(section, section.bounds, "bounds")
        parts.append(
            '<div class="wide" tabindex="0"><table>'
            f"<thead><tr>{head}</tr></thead>{bodies}</table></div>"
        )
    parts += [f"<p>{escape(note)}</p>" for note in notes(section)]
    if failures(section):
        items = "".join(
            f'<li><span class="bad">failed</span> {escape(run)}: {escape(reason)}</li>'
            for run, reason in failures(section)
        )
        parts.append(f'<ul class="failures">{items}</ul>')
    return "\n".join(parts)


def _body(section: Section, summaries: Sequence[Summary], kind: str) -> str:
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells(section, summary))
        + "</tr>"
        for summary in summaries
    )
    return f'<tbody class="{kind}">{rows}</tbody>' if rows else ""


def _image(png: bytes, name: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(name)}">'


def _text(line: str) -> str:
    """Text with a command between backticks."""
    parts = escape(line).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))
