"""The page that tries a model: by itself, without a script or a font from elsewhere."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1c2128; --dim: #59636e;
  --line: #8885; --soft: #8881; --bad: #b42318; --bar: #0072b2; --press: #005a8f; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --ink: #e2e6eb;
  --dim: #9aa4af; --bad: #ff8a7a; --bar: #4fa8e0; --press: #2b6f9f; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem;
  max-width: 44rem; color: var(--ink); background: var(--page);
  overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; line-height: 1.2; margin: .5rem 0; }
.dim { color: var(--dim); margin: .2rem 0 1rem; }
label { display: block; margin: .8rem 0 .2rem; font-weight: 600; }
textarea, input { font: inherit; width: 100%; padding: .5rem; color: inherit;
  background: var(--soft); border: 1px solid var(--line); border-radius: 6px; }
textarea { min-height: 6rem; resize: vertical; }
.row { display: flex; gap: 1rem; align-items: end; margin: .8rem 0; }
.row label { margin: 0 0 .2rem; } .row input { width: 6rem; }
button { font: inherit; font-weight: 600; padding: .5rem 1.2rem; color: #fff;
  background: var(--press); border: 0; border-radius: 6px; cursor: pointer; }
button:disabled { opacity: .6; cursor: progress; }
:focus-visible { outline: 2px solid var(--bar); outline-offset: 2px; }
.error { color: var(--bad); }
dl { margin: 1rem 0; } dt { margin-top: .6rem; }
dt span { float: right; font-variant-numeric: tabular-nums; }
dd { margin: .2rem 0 0; height: .5rem; background: var(--soft); border-radius: 4px; }
dd i { display: block; height: 100%; background: var(--bar); border-radius: 4px; }
img { max-width: 100%; max-height: 16rem; display: block; margin: .6rem 0; }
pre { white-space: pre-wrap; background: var(--soft); border-radius: 6px;
  padding: .7rem; } summary { cursor: pointer; color: var(--dim); }
"""

_SCRIPT = """
const about = JSON.parse(document.getElementById("about").textContent);
const form = document.querySelector("form"), out = document.getElementById("out");
const button = form.querySelector("button"), sent = about.file && about.columns[0];
const made = (name, text, to) => { const e = document.createElement(name);
  e.textContent = text; to.append(e); return e; };
const read = file => new Promise((done, failed) => { const r = new FileReader();
  r.onload = () => done(r.result); r.onerror = () => failed(r.error);
  r.readAsDataURL(file); });
function show(answer) {
  if (answer.tags) {
    const lines = answer.tags.map(one => one.word + "  " + one.tag);
    made("pre", lines.join("\\n"), out);
    return;
  }
  if (!answer.labels) {
    made("pre", answer.completion ?? String(answer.number), out);
    return;
  }
  const list = made("dl", "", out);
  for (const one of answer.labels) {
    const name = made("dt", one.label, list), part = one.probability ?? 0;
    made("span", one.probability === null ? "none" : part.toFixed(4), name);
    made("i", "", made("dd", "", list)).style.width = `${100 * part}%`;
  }
}
form.addEventListener("submit", async event => {
  event.preventDefault(); out.replaceChildren(); button.disabled = true;
  out.setAttribute("aria-busy", "true");
  try {
    const input = {}, asked = { inputs: [input] };
    for (const name of about.columns) {
      const field = form.elements.namedItem(`column-${name}`);
      input[name] = name === sent ? await read(field.files[0]) : field.value;
    }
    if (about.file === "image") { made("img", "", out).src = input[sent];
      out.firstChild.alt = "what was sent"; }
    const number = form.elements.namedItem("number");
    asked[number.dataset.key] = Number(number.value);
    const reply = await fetch("predict", { method: "POST",
      headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) });
    const said = await reply.json();
    if (!reply.ok) throw new Error(said.error);
    said.answers.forEach(show);
  } catch (error) {
    made("p", error.message, out).className = "error";
  } finally { button.disabled = false; out.removeAttribute("aria-busy"); }
});
form.addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
"""


def html(about: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        about: what ``GET /health`` says.

    """
    language = about["task"] == "causal-lm"
    files = [about["file"], *[""] * len(about["columns"])]
    fields = "\n".join(map(_field, about["columns"], files))
    what = f"{about['task']}, {about['classes']} classes"
    if language:
        what = about["task"]
        most = about["limits"]["max_new_tokens"]
        number = _number("New tokens", "max_new_tokens", min(64, most), most)
    else:
        number = _number("Classes", "top", min(3, about["classes"]), about["classes"])
    name = escape(str(about["model"]))
    # A name in it may hold </script>.
    facts = json.dumps(about).replace("<", "\\u003c")
    inputs = [dict.fromkeys(about["columns"], "...")]
    body = json.dumps({"inputs": inputs}, ensure_ascii=False)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{name}</title><style>{_STYLE}</style></head><body>
<h1>{name}</h1>
<p class="dim">{escape(what)}</p>
<form>
{fields}
<div class="row"><div>{number}</div><button type="submit">Predict</button></div>
</form>
<section id="out" aria-live="polite"></section>
<details><summary>From a program</summary>
<pre>POST /predict, Content-Type: application/json

{escape(body)}</pre></details>
<script type="application/json" id="about">{facts}</script>
<script>{_SCRIPT}</script>
</body></html>
"""


def _field(name: str, file: str) -> str:
    shown, key = escape(name), f"column-{escape(name)}"
    label = f'<label for="{key}">{shown}</label>'
    if file:
        more = f'type="file" accept="{file}/*" required'
        return f'{label}<input id="{key}" name="{key}" {more}>'
    return f'{label}<textarea id="{key}" name="{key}" required></textarea>'


def _number(title: str, key: str, value: int, most: int) -> str:
    return (
        f'<label for="number">{title}</label><input id="number" name="number" '
        f'data-key="{key}" type="number" min="1" max="{most}" value="{value}" required>'
    )
