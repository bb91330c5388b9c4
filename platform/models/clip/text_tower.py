"""Text embeddings of a CLIP network.

Shapes: M texts, E channels of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .checkpoint import open_clip


@torch.no_grad()
def text_embeddings(network: Any, texts: Sequence[Sequence[str]]) -> Tensor:
    """Return the embedding of each text, `[M,E]`, of length one.

    Args:
        network: a CLIP network, whole.
        texts: the sentences of each text; the embedding of a text is the mean of the embeddings
            of its sentences at length one.
    """
    tokenize = open_clip().SimpleTokenizer(context_length=network.context_length)
    means = []
    for sentences in texts:
        embeddings = network.encode_text(tokenize(list(sentences)), normalize=True)
        means.append(embeddings.mean(0))
    return F.normalize(torch.stack(means), dim=1)


def scale(network: Any) -> float:
    """Return the factor on cosines of image and text that gives CLIP's logits."""
    return float(network.logit_scale.exp())
