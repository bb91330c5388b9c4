"""Tests of the names under which published weight files hold parameters of known networks."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from weight_files import mxnet_names, small_wide
from wsss.platform.errors import InputError
from wsss.platform.models import weights
from wsss.platform.models.backbones import BACKBONES, build
from wsss.platform.models.weights.spellings import spellings


def on_meta(name):
    with torch.device("meta"):
        return build(name)


@pytest.mark.parametrize("name", BACKBONES)
def test_each_spelling_names_each_parameter_once(name):
    """A spelling that gave two parameters one name would load one of them twice."""
    own = set(on_meta(name).state_dict())
    for spelling in spellings(on_meta(name)):
        assert set(spelling.names.values()) == own, spelling.title


def test_mxnets_names_are_those_that_were_written_by_hand():
    network = small_wide(1)
    by_title = {spelling.title: spelling.names for spelling in spellings(network)}
    written = {name.partition(":")[2] for name in mxnet_names(network.state_dict())}
    names = {n for n in by_title["names of MXNet"] if not n.endswith("num_batches_tracked")}
    assert names == written


def test_the_published_names_of_a_wide_resnet_are_known():
    """Names of the file `ilsvrc-cls_rna-a1_cls1000_ep-0001.params`, without arg: and aux:."""
    by_title = {spelling.title: spelling.names for spelling in spellings(on_meta("wide_resnet38"))}
    names = by_title["names of MXNet"]
    assert names["conv1a_weight"] == "conv1a.weight"
    assert names["res2a_branch1_weight"] == "b2.conv_branch1.weight"
    assert names["bn4b5_branch2b1_moving_var"] == "b4_5.bn_branch2b1.running_var"
    assert names["res7a_branch2b2_weight"] == "b7.conv_branch2b2.weight"
    assert names["bn7_gamma"] == "bn7.weight"


def test_a_wide_resnets_head_in_mxnet_is_not_used(tmp_path):
    state = mxnet_names(small_wide(1).state_dict())
    bare = {name.partition(":")[2]: value for name, value in state.items()}
    torch.save({**bare, "linear1000_weight": torch.zeros(1000, 8)}, tmp_path / "w.pth")
    network = small_wide(2)
    note = weights.load(network, tmp_path / "w.pth", "wide_resnet38")
    assert note == (
        "weights w.pth: names of MXNet translated, 1 tensor not used: linear1000_weight"
    )
    assert torch.equal(network.b6.conv_branch1.weight, state["arg:res6a_branch1_weight"])


def microsoft(state):
    """Return a Swin-T's tensors under the names of its authors' code, written out by hand."""
    words = {"mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2"}
    starts = {"features.0.0": "patch_embed.proj", "features.0.2": "patch_embed.norm"}
    for stage in range(4):
        starts[f"features.{2 * stage + 1}"] = f"layers.{stage}.blocks"
    for stage in range(3):
        starts[f"features.{2 * stage + 2}"] = f"layers.{stage}.downsample"
    out = {}
    for name, value in state.items():
        for old, new in (*starts.items(), *words.items()):
            name = name.replace(f"{old}.", f"{new}.", 1)
        out[name] = value.view(49, 49) if name.endswith("relative_position_index") else value
    out["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    return out


@pytest.mark.usefixtures("narrow_swin")
def test_a_swin_of_its_authors_code_is_translated(tmp_path):
    torch.manual_seed(1)
    state = torchvision.models.swin_t(weights=None).state_dict()
    torch.save({"model": microsoft(state)}, tmp_path / "swin.pth")
    backbone = build("swin_t")
    note = weights.load(backbone, tmp_path / "swin.pth", "swin_t")
    assert "read from 'model', names of Microsoft's code translated" in note
    assert all(torch.equal(v, state[k]) for k, v in backbone.state_dict().items())


@pytest.mark.usefixtures("narrow_resnet")
@pytest.mark.parametrize("prefix", ["", "module.", "0."])
def test_a_resnet_in_a_sequential_is_read_by_position(tmp_path, prefix):
    torch.manual_seed(1)
    whole = torchvision.models.resnet18(weights=None)
    cut = nn.Sequential(*list(whole.children())[:-2]).state_dict()
    torch.save({prefix + k: v for k, v in cut.items()}, tmp_path / "w.pth")
    backbone = build("resnet18")
    note = weights.load(backbone, tmp_path / "w.pth", "resnet18")
    assert "names by position in a Sequential translated" in note
    state = whole.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in backbone.state_dict().items())


def test_features_without_their_prefix_are_read(tmp_path):
    torch.manual_seed(1)
    source = build("mobilenet_v2")
    torch.save({"net": source.features.state_dict()}, tmp_path / "w.pth")
    backbone = build("mobilenet_v2")
    note = weights.load(backbone, tmp_path / "w.pth", "mobilenet_v2")
    assert "read from 'net', names without 'features.' translated" in note
    expected = source.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in backbone.state_dict().items())


@pytest.mark.usefixtures("narrow_resnet")
def test_a_resnet_of_another_depth_in_a_sequential_is_refused(tmp_path):
    whole = torchvision.models.resnet34(weights=None)
    torch.save(nn.Sequential(*list(whole.children())[:-2]).state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match="does not fit resnet18"):
        weights.load(build("resnet18"), tmp_path / "w.pth", "resnet18")
