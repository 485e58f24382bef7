r"""A classifier of an image and a text, over the two encoders of CLIP.

With u and v the embeddings of image and text, of unit length and d numbers each, its
last layer sees

    h = (sqrt(d) u, sqrt(d) v, d u \odot v),

3 d numbers of a size near 1. u and v beside each other would give logits that are a sum
of what the image says and of what the text says; the product tells whether they agree
(Kumar and Nandakumar, Hate-CLIPper, 2022, arXiv 2210.05916).
"""

from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPPreTrainedModel, initialization
from transformers.modeling_outputs import SequenceClassifierOutput


class CLIPForImageTextClassification(CLIPPreTrainedModel):  # type: ignore[misc]
    """CLIP with one linear layer over the embeddings of both encoders.

    transformers has no class of the kind; this one loads what it has for CLIPModel.

    Args:
        config: of CLIPModel, and ``num_labels``.

    """

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        self.clip = CLIPModel(config)
        self.classifier = nn.Linear(3 * config.projection_dim, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Logits (batch, classes), and the mean cross-entropy where there are labels.

        Args:
            input_ids, attention_mask: shape (batch, length).
            pixel_values: shape (batch, channels, height, width).
            labels: ids of classes, shape (batch,).
            interpolate_pos_encoding: for images of another size than the model's.
            kwargs: of no use here.

        """
        found = self.clip(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            interpolate_pos_encoding=interpolate_pos_encoding,
        )
        scale = sqrt(found.image_embeds.shape[-1])
        u, v = scale * found.image_embeds, scale * found.text_embeds
        logits = self.classifier(torch.cat([u, v, u * v], dim=-1))
        loss = functional.cross_entropy(logits, labels) if labels is not None else None
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.classifier:  # CLIP has no size for a head of its own
            initialization.normal_(module.weight, std=0.02)
            initialization.zeros_(module.bias)
