"""What a language model writes behind prompts, greedily, to the end of its answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ilora_app.export.facts import Facts
from ilora_app.export.places import ReleaseError
from ilora_app.predict.inputs import Row
from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import SEQ2SEQ
from ilora_app.settings.options import names
from ilora_app.tasks import causal_lm, generation, seq2seq
from ilora_app.tasks.text import filled


@dataclass(frozen=True)
class Writer:
    """A language model with its tokenizer.

    Attributes:
        model: in evaluation mode.
        tokenizer: with a pad token.
        facts: how prompts were made in training.
        device: of the model.

    """

    model: Any
    tokenizer: Any
    facts: Facts
    device: torch.device

    def prompts(self, rows: Sequence[Row], new_tokens: int) -> list[list[int]]:
        """Tokens to go on from; too many lose their beginning.

        An encoder reads them as in training, cut at their end.

        Raises:
            ReleaseError: the model has no room for so many new tokens, or a row
                nothing to go on from.

        """
        facts, columns = self.facts, names(self.facts.columns)
        settings = DataSettings(
            prompt_template=facts.prompt_template, max_length=facts.max_length
        )
        if facts.task == SEQ2SEQ:
            return seq2seq.prompts(rows, columns, settings, self.tokenizer)
        positions = getattr(self.model.config, "max_position_embeddings", 2**31)
        # The token that is written last needs no position.
        room = positions - new_tokens + 1
        if room < 1:
            raise ReleaseError(
                f"--max-new-tokens {new_tokens}: expected at most {positions}, the "
                "positions of the model"
            )
        found = []
        for number, row in enumerate(rows, 1):
            tokens = causal_lm.prompt_tokens(row, columns, settings, self.tokenizer)
            if not tokens:
                raise ReleaseError(
                    f"row {number} of {len(rows)}, {dict(row)}: expected a text that "
                    "has a token at least"
                )
            found.append(tokens[-room:])
        return found

    @torch.inference_mode()
    def written(self, prompts: list[list[int]], new_tokens: int) -> list[str]:
        """Go on from the prompts."""
        stops = generation.stop_tokens(self.tokenizer, self.model)
        longest = max(len(tokens) for tokens in prompts)
        pad = int(self.tokenizer.pad_token_id)
        before = self.facts.task != SEQ2SEQ
        rows = [{"input_ids": t, "attention_mask": [1] * len(t)} for t in prompts]
        # What a decoder goes on from stands before it; an encoder reads it apart.
        blanks = {"input_ids": (pad, before), "attention_mask": (0, before)}
        made = self.model.generate(
            **{k: v.to(self.device) for k, v in filled(rows, blanks).items()},
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=stops or None,
        )
        # A decoder's own first token, which T5 has for padding, ends nothing.
        new = made[:, longest if before else 1 :]
        return generation.answers(self.tokenizer, new.tolist(), stops)
