"""How pages look: style, sortable tables, and the frame around them."""

import re
from collections.abc import Iterable, Sequence
from html import escape

# Okabe and Ito's colours, told apart with every kind of colour vision; lighter in dark.
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1c2128; --dim: #59636e;
  --line: #8885; --soft: #8881; --bad: #b42318;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #b8558f; --c4: #56b4e9;
  --c5: #c98a00; --c6: #6e7781; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --ink: #e2e6eb;
  --dim: #9aa4af; --bad: #ff8a7a; --c0: #4fa8e0; --c1: #ff8a3d; --c2: #2fc79a;
  --c3: #e39ac6; --c4: #a5dcff; --c5: #f5c04a; --c6: #9aa4af; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem;
  max-width: 80rem; color: var(--ink); background: var(--page);
  overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
p { margin: .5rem 0; max-width: 65rem; }
.dim, figcaption { color: var(--dim); }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); overflow-wrap: normal; }
th:first-child, td:first-child, .left { text-align: left; }
.left { white-space: normal; min-width: 14rem; overflow-wrap: anywhere; }
th:first-child, td:first-child { position: sticky; left: 0;
  background: var(--page); }
th button { all: unset; cursor: pointer; font-weight: 600; padding: .3rem 0; }
th button:focus-visible, .wide:focus-visible, summary:focus-visible {
  outline: 2px solid var(--c0); outline-offset: 1px; }
th[aria-sort=ascending] button::after { content: " ↑"; }
th[aria-sort=descending] button::after { content: " ↓"; }
tbody + tbody tr:first-child td { border-top: 2px solid var(--line); }
tbody.bounds td, tbody.no-federation td { color: var(--dim); }
.bad { color: var(--bad); }
.failures { padding-left: 1.2rem; }
.plot { min-width: 46rem; max-width: 100%; height: auto; display: block;
  background: #fff; border-radius: 4px; }
.tiles { display: grid; gap: .6rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
.tile { background: var(--soft); border-radius: 6px; padding: .5rem .7rem; }
.tile b { display: block; font-size: 1.35rem; line-height: 1.3; }
.tile span { color: var(--dim); font-size: .85rem; }
.charts { display: grid; gap: 1rem 1.5rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
figure { margin: 0; max-width: 32rem; }
figure.full { max-width: 52rem; overflow-x: auto; }
figure.full svg { min-width: 40rem; }
figcaption { font-size: .85rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: system-ui, sans-serif !important; }
summary { cursor: pointer; padding: .3rem 0; }
@media (max-width: 40rem) {
  .names th:first-child, .names td:first-child { white-space: normal;
    min-width: 9.5rem; overflow-wrap: anywhere; }
  .left { min-width: 9rem; } }
@media print { .wide { overflow: visible; } }
"""

_SCRIPT = """
const shown = (row, i) => row.cells[i].textContent.trim();
document.querySelectorAll("th button").forEach(button => {
  button.addEventListener("click", () => {
    const head = button.parentElement, i = head.cellIndex;
    const up = head.ariaSort === "descending";
    head.parentElement.querySelectorAll("th").forEach(th => th.ariaSort = null);
    head.ariaSort = up ? "ascending" : "descending";
    head.closest("table").querySelectorAll("tbody").forEach(body => {
      const rows = [...body.rows];
      const words = rows.every(row => Number.isNaN(parseFloat(shown(row, i))));
      const value = row => {
        const number = parseFloat(shown(row, i));
        return Number.isNaN(number) ? -Infinity : number;
      };
      const order = (a, b) => words
        ? shown(a, i).localeCompare(shown(b, i))
        : value(a) - value(b) || 0;
      rows.sort((a, b) => order(a, b) * (up ? 1 : -1));
      body.append(...rows);
    });
  });
});
"""


_LONG = 20
"""Names with more letters than this are broken where there is little room."""


def page(title: str, body: str) -> str:
    """Make a page that loads nothing from anywhere."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n<script>{_SCRIPT}</script>\n"
        "</body>\n</html>\n"
    )


def table(
    heads: Sequence[str],
    bodies: Sequence[tuple[str, Iterable[Sequence[str]]]],
    left: Sequence[str] = (),
) -> str:
    """Make a table that can be sorted by each of its columns.

    Args:
        heads: of the columns.
        bodies: (class, rows of cells) of each group of rows; rows stay in their group.
        left: heads of the columns with running text.

    """
    places = {i for i, head in enumerate(heads) if head in left}

    def cell(tag: str, i: int, inner: str) -> str:
        kind = ' class="left"' if i in places else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{scope}{kind}>{inner}</{tag}>"

    head = "".join(
        cell("th", i, f'<button type="button">{escape(name)}</button>')
        for i, name in enumerate(heads)
    )
    made, start = "", "<table>"
    for kind, rows in bodies:
        rows = list(rows)
        if any(len(row[0]) > _LONG for row in rows):
            start = '<table class="names">'
        lines = "".join(
            "<tr>"
            + "".join(cell("td", i, _words(text)) for i, text in enumerate(row))
            + "</tr>"
            for row in rows
        )
        if lines:
            made += f'<tbody class="{kind}">{lines}</tbody>'
    return (
        '<div class="wide" tabindex="0">'
        f"{start}<thead><tr>{head}</tr></thead>{made}</table></div>"
    )


def _words(text: str) -> str:
    """Escape a cell, and say where a long name may be broken."""
    safe = escape(text)
    return re.sub(r"(?<=[+=/._,])(?=\w)", "<wbr>", safe) if len(text) > _LONG else safe


def prose(line: str) -> str:
    """A paragraph with a command between backticks."""
    parts = escape(line).split("`")
    text = "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))
    return f"<p>{text}</p>"
