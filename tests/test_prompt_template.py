"""Prompt templates: formats that no text can be written in."""

import pytest

from ilora_app.settings import DataSettings
from ilora_app.tasks import causal_lm, prompt_template
from tests import tiny_models


@pytest.mark.parametrize("field", ["q:.1f", "q:,", "q:d", "q!x", "q:{more}", "q:=9"])
def test_what_no_text_can_be_written_as_is_told_before_a_run(field):
    template = DataSettings(prompt_template="so {" + field + "}")
    (found,) = prompt_template.problems(template, ["q", "more"])
    assert found.startswith(f"prompt-template = 'so {{{field}}}': values are written")
    assert found.endswith("expected columns alone, such as {q}")


def test_texts_may_be_filled_up_and_quoted():
    template = DataSettings(prompt_template="{q:>6}|{q!r}|{{}}")
    assert prompt_template.problems(template, ["q"]) == []
    written = causal_lm.prompt({"q": "when"}, ("q",), template, tiny_models.tokenizer())
    assert written == "  when|'when'|{}"
