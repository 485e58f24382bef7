"""How pages look: style, sortable tables, and the frame around them."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from ilora_app.runs.places import from_home

# Okabe and Ito's colours, told apart with every kind of colour vision; lighter in dark.
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1c2128; --dim: #59636e;
  --line: #8885; --soft: #8881; --bad: #b42318;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #b8558f; --c4: #56b4e9;
  --c5: #c98a00; --c6: #6e7781; }
@media (prefers-color-scheme: dark) { .plot { filter: invert(.92) hue-rotate(180deg); }
  :root { --page: #14171c; --ink: #e2e6eb;
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
.fits td:first-child { white-space: normal; overflow-wrap: anywhere;
  min-width: 5.5rem; }
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
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
.charts > * { min-width: 0; }
figure { margin: 0; max-width: 42rem; }
figure.full { grid-column: 1 / -1; max-width: none; overflow-x: auto; }
figure.full svg { min-width: 46rem; }
/* A shade at a side says that there is more; the page covers it at the end. */
.wide, figure.full { background:
    linear-gradient(90deg, var(--page) 50%, transparent) 0 0 / 2.5rem 100% local,
    linear-gradient(270deg, var(--page) 50%, transparent) 100% 0 / 2.5rem 100% local,
    linear-gradient(90deg, var(--line), transparent) 0 0 / .8rem 100% scroll,
    linear-gradient(270deg, var(--line), transparent) 100% 0 / .8rem 100% scroll;
  background-repeat: no-repeat; }
.charts > .wide, .charts > .tiles { margin: 0; }
.verdict { background: var(--soft); border-left: 4px solid var(--c6);
  border-radius: 6px; padding: .4rem .9rem; }
.verdict.finished { border-color: var(--c2); }
.verdict.live { border-color: var(--c0); }
.verdict.failed { border-color: var(--bad); }
.verdict p:first-child { font-weight: 600; }
.verdict ul { margin: .2rem 0 .6rem; padding-left: 1.2rem; }
code { background: var(--soft); border-radius: 4px; padding: .1rem .3rem; }
h3 { font-size: 1rem; margin: .2rem 0; }
dl { display: grid; gap: .3rem 1rem; margin: 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
dt { font-weight: 600; display: inline; }
dd { display: inline; margin: 0; color: var(--dim); }
.tip { fill: transparent; stroke: none; }
.tip:hover { stroke: currentColor; }
.says { position: fixed; z-index: 2; max-width: 20rem; padding: .2rem .5rem;
  color: var(--page); background: var(--ink); border-radius: 4px; font-size: .85rem;
  pointer-events: none; }
figcaption { font-size: .85rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: system-ui, sans-serif !important; }
summary { cursor: pointer; padding: .3rem 0; }
@media (max-width: 40rem) {
  .names th:first-child, .names td:first-child { white-space: normal;
    min-width: 9.5rem; overflow-wrap: anywhere; }
  .left { min-width: 9rem; }
  .fits th, .fits td { padding: .3rem .15rem; font-size: .75rem;
    white-space: normal; }
  .fits th { font-size: .7rem; }
  .fits table th:first-child, .fits table td:first-child, .fits .left {
    min-width: 4rem; overflow-wrap: anywhere; } }
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
const says = document.createElement("div");
says.className = "says";
says.hidden = true;
document.body.append(says);
document.addEventListener("pointerover", event => {
  const at = event.target.closest("[data-tip]");
  says.hidden = !at;
  if (!at) return;
  says.textContent = at.dataset.tip;
  const box = at.getBoundingClientRect(), width = says.offsetWidth;
  const left = Math.min(box.left + (box.width - width) / 2, innerWidth - width - 4);
  const above = box.top - says.offsetHeight - 4;
  says.style.left = `${Math.max(4, left)}px`;
  says.style.top = `${above > 0 ? above : box.bottom + 4}px`;
});
addEventListener("scroll", () => { says.hidden = true; }, true);
"""


_BROKEN, _LONG = 12, 20
"""Longer names may be broken at their marks, and are where there is little room."""


def page(title: str, body: str) -> str:
    """Make a page that loads nothing from anywhere, and tells no home folder."""
    return from_home(
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
    kind: str = "",
) -> str:
    """Make a table that can be sorted by each of its columns.

    Args:
        heads: of the columns.
        bodies: (class, rows of cells) of each group of rows; rows stay in their group.
        left: heads of the columns with running text.
        kind: class of the table: ``fits`` has room on a phone.

    """
    places = {i for i, head in enumerate(heads) if head in left}

    def cell(tag: str, i: int, inner: str) -> str:
        side = ' class="left"' if i in places else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{scope}{side}>{inner}</{tag}>"

    head = "".join(
        cell("th", i, f'<button type="button">{escape(name)}</button>')
        for i, name in enumerate(heads)
    )
    made, start = "", "<table>"
    for group, rows in bodies:
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
            made += f'<tbody class="{group}">{lines}</tbody>'
    return (
        f'<div class="{f"wide {kind}".strip()}" tabindex="0">'
        f"{start}<thead><tr>{head}</tr></thead>{made}</table></div>"
    )


def _words(text: str) -> str:
    """Escape a cell, and say where a long name may be broken."""
    safe = escape(from_home(text))
    return (
        re.sub(r"(?<=[+=/_,])(?=\w)|(?<=\.)(?=[^\W\d])", "<wbr>", safe)
        if len(text) > _BROKEN
        else safe
    )


def code(text: str) -> str:
    """A command."""
    return f"<code>{escape(text)}</code>"


def words(entries: Iterable[tuple[str, str]]) -> str:
    """A list of words with what they mean."""
    lines = (
        f"<div><dt>{escape(word)}</dt>: <dd>{escape(text)}</dd></div>"
        for word, text in entries
    )
    return f"<dl>{''.join(lines)}</dl>"


def prose(line: str) -> str:
    """A paragraph with a command between backticks."""
    parts = escape(line).split("`")
    text = "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))
    return f"<p>{text}</p>"
