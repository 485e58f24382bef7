"""Conversations and plain texts: what is learned of them, from data to prediction."""

import json

import datasets
import pytest
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.settings import DataSettings, Settings, parsing
from ilora_app.tasks import causal_lm, chat, columns
from ilora_app.tasks.metrics import IGNORED
from ilora_app.tasks.places import DataError
from tests import tiny_models
from tests.local_run import metrics, run

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
TALK = [
    {"role": "system", "content": "be short"},
    {"role": "user", "content": "how much is it"},
    {"role": "assistant", "content": "five dollars"},
    {"role": "user", "content": "and when"},
    {"role": "assistant", "content": "at noon"},
    {"role": "user", "content": "thanks"},
]


def tokenizer(template: str | None = TEMPLATE):
    made = tiny_models.tokenizer()
    made.pad_token, made.chat_template = made.eos_token, template
    return made


def learned(row, made) -> str:
    """What is learned, without the spaces that the tokenizer of the tests adds."""
    return made.decode([t for t in row["labels"] if t != IGNORED]).replace(" ", "")


def found(rows, **changes) -> DataSettings:
    data = datasets.Dataset.from_list(rows)
    settings = DataSettings(dataset="own", **changes)
    chosen, wrong = columns.find(settings, "causal-lm", data.features)
    assert wrong == []
    return chosen


def encode(rows, made, **changes):
    settings = found(rows, max_length=64, **changes)
    return causal_lm.tokenise(datasets.Dataset.from_list(rows), settings, made)


def test_every_turn_of_the_assistant_is_learned_and_nothing_else():
    made = tokenizer()
    examples = encode([{"messages": TALK, "source": "phone"}], made)
    row = examples.rows[0]
    assert learned(row, made) == "fivedollars</s>atnoon</s>"
    seen = made.decode(row["input_ids"]).replace(" ", "")
    assert "beshort" in seen
    assert "thanks" not in seen, "nothing is learned of what comes behind"
    assert examples.answers == ["at noon"]
    assert made.decode(examples.prompts[0]).replace(" ", "").endswith("assistant:")
    older = [
        {"from": {"user": "human", "assistant": "gpt"}.get(m["role"], m["role"]),
         "value": m["content"]}
        for m in TALK
    ]  # fmt: skip
    assert encode([{"conversations": older}], made).rows == examples.rows


def test_content_in_parts_is_their_text(tmp_path):
    """As a file has it, whose parts all have the keys of any."""
    parts = [
        {**message, "content": [{"type": "text", "text": word} for word in pair]}
        for message in TALK
        for pair in [(message["content"][:3], message["content"][3:])]
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"messages": parts}))
    read = datasets.load_dataset("json", data_files=str(file), split="train")[0]
    made = tokenizer()
    assert chat.encoded([read["messages"]], made, 64) == chat.encoded([TALK], made, 64)
    assert chat.last_answer(read["messages"], 0) == "at noon"


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (
            {"content": None, "tool_calls": [{"id": "7"}]},
            "row 3: a turn has tool_calls",
        ),
        ({"content": "so", "function_call": {"name": "f"}}, "has function_call"),
        ({"content": [{"type": "image", "text": None}]}, "has the content .*image"),
        ({"content": [{"type": "text", "text": None}]}, "has the content"),
        (
            {"content": {"text": "secret"}},
            "has the content .*; expected text, or parts",
        ),
    ],
)
def test_a_turn_that_is_more_than_text_is_refused(turn, said):
    with pytest.raises(DataError, match=said) as told:
        chat.messages([*TALK[:2], {"role": "assistant", **turn}], 3)
    assert "secret" not in told.value.told


def test_what_is_too_long_loses_its_beginning():
    made = tokenizer()
    settings = found([{"messages": TALK}], max_length=12)
    data = datasets.Dataset.from_list([{"messages": TALK}])
    row = causal_lm.tokenise(data, settings, made).rows[0]
    assert len(row["input_ids"]) == 12
    assert learned(row, made).endswith("atnoon</s>")


@pytest.mark.parametrize(
    ("template", "talk", "said"),
    [
        (None, TALK, "no chat template"),
        (TEMPLATE, TALK[:2], "row 0: expected a list of messages"),
        (TEMPLATE, "hello", "row 0: expected a list of messages"),
        ("{{ raise_exception('no system') }}", TALK, "refuses .*: no system"),
        ("{{ messages[-1]['content'] }}", TALK, "one behind the other"),
    ],
)
def test_what_cannot_be_written_is_refused(template, talk, said):
    with pytest.raises(DataError, match=said):
        chat.encoded([talk], tokenizer(template), 64)


def test_all_of_a_plain_text_is_learned_in_rows_of_max_length():
    made = tokenizer()
    text = "one two three " * 20
    examples = encode([{"text": text}, {"text": "short"}, {"text": ""}], made)
    whole = [*made(text)["input_ids"], made.eos_token_id]
    blocks = [row["input_ids"] for row in examples.rows]
    assert [t for block in blocks[:-1] for t in block] == whole
    assert all(row["labels"] == row["input_ids"] for row in examples.rows)
    assert max(map(len, blocks)) == 64
    assert examples.count == 3, "n_k goes by the rows of the data"


def test_a_prompt_with_an_answer_goes_before_a_text_and_conversations_before_both():
    row = {"text": "x", "instruction": "do", "output": "done"}
    assert found([row]).answer_column == "output"
    assert found([row], answer_column="", text_columns="text").answer_column == ""
    assert found([row | {"messages": TALK}]).text_columns == "messages"
    told = found([{"lyrics": "la"}], text_columns="lyrics", answer_column="")
    assert told.prompt_template == "{lyrics}"
    data = datasets.Dataset.from_list([{"prompt": "only", "reply": "x"}])
    settings = DataSettings(dataset="own")
    assert columns.find(settings, "causal-lm", data.features)[1]


@pytest.mark.parametrize("kind", ["messages", "text", "instruction"])
def test_a_language_model_runs_with_default_settings(tmp_path, kind):
    model = tiny_models.make("llama", tmp_path / "llama")["model"]
    tokenizer().save_pretrained(model)
    folder = tmp_path / "data"
    folder.mkdir()
    rows = {
        "messages": lambda i: {"messages": TALK[: 3 + 2 * (i % 2)]},
        "text": lambda i: {"text": f"the number is {i}"},
        "instruction": lambda i: {"instruction": f"say {i}", "output": f"it is {i}"},
    }
    lines = [json.dumps(rows[kind](i)) for i in range(60)]
    (folder / "train.jsonl").write_text("\n".join(lines))
    config = parsing.dump(Settings()) | {
        "task": "causal-lm",
        "model": model,
        "dataset": str(folder),
        "client-ranks": "2,4",
        "num-server-rounds": 1,
        "report": False,
        "output-dir": str(tmp_path / "run"),
    }
    path, _, server = run(config)
    table = metrics(path)
    assert table["loss"].iloc[-1] < table["loss"].iloc[0]
    assert server.prepared.settings.data.partitioner == "iid"
    words = ["predict", str(path), "how much is it", "--max-new-tokens", "3"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    checked = CliRunner().invoke(app, ["check", str(folder), "--json", "--no-probe"])
    seen = json.loads(checked.output)
    assert {"key": "task", "value": "causal-lm"}.items() <= seen["suggestions"][
        0
    ].items()
