"""The network and the text embeddings of a CLIP checkpoint, as artifacts.

The network's artifact holds the tensors of the checkpoint, so that no other stage needs the file,
which may lie on one machine only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...data import npz
from ...models import weights
from ...models.clip import checkpoint, text_tower
from ...storage.artifact_files import ArtifactFile, ArtifactFolder

NETWORK, EMBEDDINGS = "network.pt", "embeddings.npz"


def keep(folder: ArtifactFolder, path: str) -> dict[str, Any]:
    """Read a checkpoint file, check it, and write its tensors.

    Args:
        folder: the empty folder of the artifact.
        path: the file.

    Returns:
        Facts about the artifact for its manifest.

    Raises:
        InputError: the file cannot be read, or does not hold a CLIP network, see `checkpoint`.
    """
    tensors = checkpoint.read_checkpoint(path)
    checkpoint.build(tensors, path)
    (folder / NETWORK).write_bytes(weights.torch_bytes(tensors))
    parameters = sum(value.numel() for value in tensors.values())
    note = f"weights {Path(path).name}: a CLIP network of {parameters / 1e6:.1f} million parameters"
    return {"weights": [note]}


def load(file: ArtifactFile) -> Any:
    """Return the CLIP network of an artifact, in evaluation mode, in float32."""
    tensors: checkpoint.Tensors = weights.read_torch_file(file.local())
    network: nn.Module = checkpoint.build(tensors, str(file))
    return network


def embed(
    folder: ArtifactFolder, network: ArtifactFile, texts: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Compute and write the embeddings of texts.

    Args:
        folder: the empty folder of the artifact.
        network: the file of the network's artifact.
        texts: the sentences of each text.

    Returns:
        Facts about the artifact for its manifest.
    """
    loaded = load(network)
    embeddings = text_tower.text_embeddings(loaded, texts).numpy()
    scale = np.float32(text_tower.scale(loaded))
    (folder / EMBEDDINGS).write(lambda stream: np.savez(stream, embeddings=embeddings, scale=scale))
    return {"texts": len(texts)}


def read_embeddings(file: ArtifactFile) -> tuple[Tensor, float]:
    """Return the unit embeddings of texts, `[M,E]`, and the factor on cosines that gives logits.

    Args:
        file: the file of an embeddings artifact.

    Raises:
        InputError: the file is missing or damaged.
    """
    arrays = npz.read(file.local(), "embeddings", "scale")
    return torch.from_numpy(arrays["embeddings"]), float(arrays["scale"])
