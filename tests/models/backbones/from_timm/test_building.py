"""Tests of timm's names and weight files."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from wsss.platform.config.fields import values_in_key
from wsss.platform.config.groups.network import Network
from wsss.platform.data.transforms import DEVIATION, MEAN
from wsss.platform.errors import InputError
from wsss.platform.models import weights
from wsss.platform.models.backbones import build, check_stride, outline
from wsss.platform.models.backbones.from_timm.building import is_transformer


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", r"timm has no network 'resnet5'; the nearest names are .*resnet50"),
        ("deit_smal_patch16_224", "nearest names are .*deit_small_patch16_224"),
        ("hf-hub:timm/resnet18", "timm has no network 'hf-hub"),
        ("", "timm has no network ''"),
        (
            "resnet18.none_such",
            r"no weights 'resnet18.none_such'; the tags of resnet18 are .*a1_in1k",
        ),
        ("swin_tiny_patch4_window7_224", "no four stages .* timm:convnext_tiny"),
        ("beit_base_patch16_224", "no four stages"),
        ("inception_v3", "no four stages"),
    ],
)
def test_networks_that_cannot_serve_are_refused(name, message):
    with torch.device("meta"), pytest.raises(InputError, match=message):
        build(f"timm:{name}")


def test_rules_of_transformers_are_refused_for_other_networks():
    with pytest.raises(InputError, match=r"network\.positions.*timm:test_resnet"):
        build("timm:test_resnet", "mct")
    with pytest.raises(InputError, match=r"network\.final_norm.*for small"):
        build("small", final_norm=False)


def test_transformers_are_known_by_name():
    assert is_transformer("deit_small_patch16_224")
    assert is_transformer("vit_base_patch16_224.augreg2_in21k_ft_in1k")
    assert not is_transformer("convnext_tiny")


@pytest.mark.parametrize("name", ["vit_base_patch16_224.augreg2_in21k_ft_in1k", "test_vit"])
def test_a_tag_says_how_images_are_normalised(name):
    with torch.device("meta"):
        assert build(f"timm:{name}").normalized_anew


def test_images_come_with_the_mean_and_deviation_that_timm_calls_imagenets():
    assert timm.data.IMAGENET_DEFAULT_MEAN == MEAN
    assert timm.data.IMAGENET_DEFAULT_STD == DEVIATION


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
@pytest.mark.parametrize("wrapped", ["plain", "model", "module", "safetensors"])
def test_weight_files_of_timm_are_read_without_their_head(tmp_path, name, wrapped):
    torch.manual_seed(1)
    theirs = timm.create_model(name, num_classes=10)
    state, path = theirs.state_dict(), tmp_path / "file.pth"
    if wrapped == "safetensors":
        path = tmp_path / "model.safetensors"
        save_file(state, path)
    else:
        prefixed = {f"module.{key}": value for key, value in state.items()}
        torch.save({"plain": state, "model": {"model": state}, "module": prefixed}[wrapped], path)
    backbone = build(f"timm:{name}")
    note = weights.load(backbone, path, f"timm:{name}")
    assert "not used" in note
    assert all(
        torch.equal(value, state[key]) for key, value in backbone.network.state_dict().items()
    )


def test_weight_files_that_do_not_fit_say_what_is_missing(tmp_path):
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    del state["layer2.0.conv1.weight"]
    torch.save(state, path := tmp_path / "file.pth")
    message = (
        r"file\.pth does not fit timm:test_resnet: it lacks parameter .*layer2\.0\.conv1\.weight"
    )
    with pytest.raises(InputError, match=message):
        weights.load(build("timm:test_resnet"), path, "timm:test_resnet")
    with pytest.raises(InputError, match="does not fit timm:test_vit"):
        weights.load(build("timm:test_vit"), path, "timm:test_vit")


@pytest.mark.parametrize(
    ("name", "stride", "message"),
    [
        (
            "timm:test_vit",
            8,
            r"stride of 16 .* set segment\.stride=16 or use the segmenter upernet",
        ),
        ("timm:efficientvit_b0", 16, "timm:efficientvit_b0 cannot be dilated .*upernet"),
        ("swin_t", 16, "Swin backbone cannot be dilated"),
    ],
)
def test_strides_that_deeplab_cannot_have_are_refused_before_anything_is_computed(
    name, stride, message
):
    with pytest.raises(InputError, match=message):
        check_stride(name, stride)


@pytest.mark.parametrize(
    ("name", "stride"),
    [("timm:test_vit", 16), ("timm:test_resnet", 8), ("resnet18", 8), ("wide_resnet38", 8)],
)
def test_strides_that_deeplab_can_have(name, stride):
    check_stride(name, stride)


def test_an_outline_has_channels_and_no_values():
    backbone = outline("timm:test_vit")
    assert backbone.channels == (64,) * 4
    assert all(p.is_meta for p in backbone.parameters())


def test_rules_of_transformers_enter_keys_only_with_other_values_than_their_defaults():
    added = {"positions", "sizes", "final_norm"}
    assert not added & values_in_key(Network()).keys()
    changed = Network(positions="mct", sizes="floor", final_norm=False)
    assert added <= values_in_key(changed).keys()
