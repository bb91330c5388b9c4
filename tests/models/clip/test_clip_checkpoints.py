"""Tests of CLIP checkpoints: formats, refusals, the activation, and the optional library."""

from __future__ import annotations

import sys

import pytest
import torch
from open_clip.model import QuickGELU
from safetensors.torch import save_file
from torch import nn
from wsss.platform.errors import InputError
from wsss.platform.models.clip import checkpoint


@pytest.fixture
def tensors(clip_file):
    return torch.load(clip_file, weights_only=True)


def archive(tensors):
    """Return a TorchScript module with tensors under their dotted names."""
    root = nn.Module()
    for name, value in tensors.items():
        *path, last = name.split(".")
        module = root
        for word in path:
            if word not in dict(module.named_children()):
                module.add_module(word, nn.Module())
            module = getattr(module, word)
        module.register_buffer(last, value)
    return torch.jit.script(root)


def test_a_network_is_built_from_the_sizes_of_its_tensors(clip_file, tensors):
    network = checkpoint.build(checkpoint.read_checkpoint(clip_file), clip_file)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, tensors[name].float())
    assert network.visual.transformer.resblocks[0].attn.num_heads == 2


def test_all_activations_are_quick_gelu(clip_file):
    """A state dict loaded into open_clip's ViT-B-16 would get exact GELU without a warning."""
    network = checkpoint.build(checkpoint.read_checkpoint(clip_file), clip_file)
    blocks = checkpoint.resblocks(network)
    assert len(blocks) == 6
    assert {type(block.mlp.gelu) for block in blocks} == {QuickGELU}
    x = torch.linspace(-3, 3, 50)
    torch.testing.assert_close(blocks[0].mlp.gelu(x), x * torch.sigmoid(1.702 * x))


def test_all_formats_hold_the_same_network(tensors, tmp_path):
    numbers = {"input_resolution": 48, "context_length": 77, "vocab_size": 49408}
    archive({**tensors, **{k: torch.tensor(v) for k, v in numbers.items()}}).save(
        tmp_path / "archive.pt"
    )
    save_file(tensors, tmp_path / "a.safetensors")
    nested = {"state_dict": {f"module.{k}": v for k, v in tensors.items()}, "epoch": 3}
    torch.save(nested, tmp_path / "nested.pt")
    for name in ("archive.pt", "a.safetensors", "nested.pt"):
        read = checkpoint.read_checkpoint(tmp_path / name)
        assert read.keys() == tensors.keys(), name
        assert all(torch.equal(value, tensors[key]) for key, value in read.items())
        checkpoint.build(read, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual.proj": None}, r"tiny\.pt lacks visual\.proj; give OpenAI's ViT-B-16\.pt"),
        ({"visual.conv1.weight": None}, r"no CLIP network .* lacks 'visual\.conv1\.weight'"),
        ({"visual.head.bias": torch.zeros(2)}, r"that CLIP does not have: visual\.head\.bias"),
        ({"visual.ln_post.weight": torch.zeros(3)}, r"ln_post\.weight as \[3\], not \[128\]"),
        ({"visual.ln_post.bias": torch.full((128,), torch.nan)}, "ln_post.bias is not finite"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tensors, change, message):
    changed = {k: v for k, v in {**tensors, **change}.items() if v is not None}
    with pytest.raises(InputError, match=message):
        checkpoint.build(changed, "tiny.pt")


def test_a_broken_file_is_refused(tensors, tmp_path):
    archive(tensors).save(tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="damaged or cut off"):
        checkpoint.read_checkpoint(tmp_path / "cut.pt")
    with pytest.raises(InputError, match="there is no weight file"):
        checkpoint.read_checkpoint(tmp_path / "none.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds no tensors by name"):
        checkpoint.read_checkpoint(tmp_path / "list.pt")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(InputError, match=r"run pip install open_clip_torch"):
        checkpoint.open_clip()
