"""Tests of local weight files: good files are read, and a refused file loads nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from wsss.platform.errors import InputError
from wsss.platform.models import weights
from wsss.platform.models.backbones import build

SHARED = Path(__file__).parents[4] / "shared/data/weights/mobilenet_v2_onnxzoo_features.pth"


class Evil:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": dict(s), "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_a_good_file_is_loaded_without_its_head(backbone, state, saved, wrap, prefix):
    weights.load(backbone, saved(wrap({prefix + k: v for k, v in state.items()})), "resnet18")
    loaded = backbone.state_dict()
    assert "fc.weight" in state
    assert "fc.weight" not in loaded
    assert all(torch.equal(loaded[k], state[k]) for k in loaded)


def test_the_head_of_mobilenet_is_dropped(saved):
    torch.manual_seed(1)
    state = torchvision.models.mobilenet_v2(weights=None).state_dict()
    backbone = build("mobilenet_v2")
    weights.load(backbone, saved(state), "mobilenet_v2")
    assert any(k.startswith("classifier.") for k in state)
    assert all(torch.equal(v, state[k]) for k, v in backbone.state_dict().items())


@pytest.mark.parametrize("extra", ["aux_classifier.4.weight", "classifier.0.convs.0.0.weight"])
def test_a_segmenters_weights_are_refused(refused, state, saved, extra):
    """Weights such as torchvision's COCO_WITH_VOC_LABELS have seen masks."""
    seen = {f"backbone.{k}": v for k, v in state.items() if not k.startswith("fc.")}
    refused(saved({**seen, extra: torch.zeros(21, 256, 3, 3)}), "was trained on masks")


def test_counters_of_batches_may_be_missing(backbone, state, saved):
    without_counters = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    weights.load(backbone, saved(without_counters), "resnet18")


def test_a_missing_file_is_named(refused, tmp_path):
    refused(tmp_path / "absent.pth", "there is no weight file")


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_not_run(refused, saved, tmp_path, zipped):
    mark = tmp_path / "ran"
    path = saved({"conv1.weight": Evil(mark)}, _use_new_zipfile_serialization=zipped)
    refused(path, "pickled code")
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_is_not_run(refused, tmp_path):
    mark, path = tmp_path / "ran", tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Evil(mark)))
    refused(path)
    assert not mark.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.999])
def test_a_truncated_file_is_refused(refused, saved, state, zipped, share):
    path = saved({"conv1.weight": state["conv1.weight"]}, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path)


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"hello\n",
        b"<html>404</html>",
        b"version https://git-lfs",
        b"PK\x03\x04",
        b"\x80\x02.",
    ],
    ids=repr,
)
def test_a_file_of_another_kind_is_refused(refused, tmp_path, data):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    refused(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_any_bytes_are_refused_by_the_name_of_their_file(tmp_path):
    path = tmp_path / "weights.pth"
    for byte in range(256):
        path.write_bytes(bytes([byte]) * 9)
        with pytest.raises(InputError, match=r"weights\.pth"):
            weights.read(path)


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, torch.zeros(2), {"state_dict": {"a": "b"}}])
def test_a_file_that_is_no_state_dict_is_refused(refused, saved, value):
    refused(saved(value), "dict of tensors")


def test_weights_of_another_architecture_are_refused(refused, saved):
    state = torchvision.models.mobilenet_v2(weights=None).state_dict()
    refused(saved(state), "does not fit resnet18")


@pytest.mark.usefixtures("narrow_resnet")
def test_weights_of_a_deeper_network_of_the_family_are_refused(refused, saved):
    with torch.device("meta"):
        shapes = torchvision.models.resnet34(weights=None).state_dict()
    state = {k: torch.zeros(v.shape, dtype=v.dtype) for k, v in shapes.items()}
    refused(saved(state), "unknown", "layer1.2.conv1.weight")


def test_missing_unknown_and_misshapen_tensors_are_named(refused, saved, state):
    refused(saved({k: v for k, v in state.items() if k != "bn1.bias"}), "lacks", "bn1.bias")
    refused(saved({**state, "bn9.bias": state["bn1.bias"]}), "unknown", "bn9.bias")
    refused(saved({**state, "bn1.bias": torch.zeros(3)}), "another shape", "bn1.bias")


def moco(state):
    """Return a checkpoint of MoCo: query encoder, its moving average, a head and the queue."""
    query = {f"module.encoder_q.{k}": v for k, v in state.items()}
    average = {f"module.encoder_k.{k}": v + 1 for k, v in state.items()}
    return {"epoch": 200, "state_dict": {**average, **query, "module.queue": torch.zeros(4, 8)}}


def doubled(state):
    """Return tensors of other values with the same names."""
    return {k: v + 1 for k, v in state.items()}


WRAPPED = {
    "model": (lambda s: {"model": s}, "read from 'model'"),
    "nested": (lambda s: {"a": {"b": s, "c": 1}}, "read from 'a.b'"),
    "params_ema": (lambda s: {"params_ema": s}, "read from 'params_ema'"),
    "ema": (lambda s: {"ema": {"module": s}}, "read from 'ema.module'"),
    "net": (lambda s: {f"net.{k}": v for k, v in s.items()}, "prefix 'net.' removed"),
    "backbone.0": (
        lambda s: {f"backbone.0.{k}": v for k, v in s.items()},
        "prefix 'backbone.0.' removed",
    ),
    "teacher": (
        lambda s: {"teacher": {f"backbone.{k}": v for k, v in s.items()}},
        "read from 'teacher', prefix 'backbone.' removed",
    ),
    "dino": (
        lambda s: {"student": {f"module.backbone.{k}": v for k, v in s.items()}},
        "read from 'student', prefix 'module.backbone.' removed",
    ),
    "moco": (moco, "read from 'state_dict', prefix 'module.encoder_q.' removed"),
    "features": (
        lambda s: {f"features.{k}": v for k, v in s.items()},
        "prefix 'features.' removed",
    ),
    "swav": (
        lambda s: {
            **{f"module.{k}": v for k, v in s.items()},
            "module.projection_head.0.weight": torch.zeros(2, 2),
            "module.prototypes.weight": torch.zeros(2, 2),
        },
        "prefix 'module.' removed, 4 tensors not used",
    ),
    "irn": (
        lambda s: {**{f"resnet50.{k}": v for k, v in s.items()}, "stage1.0.weight": s["fc.bias"]},
        "prefix 'resnet50.' removed",
    ),
    "scalar": (lambda s: {"state_dict": s, "best": np.float64(0.5)}, "read from 'state_dict'"),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_wrapped_weights_are_found_and_the_sentence_says_where(backbone, state, saved, kind):
    wrap, sentence = WRAPPED[kind]
    note = weights.load(backbone, saved(wrap(state)), "resnet18")
    loaded = backbone.state_dict()
    assert all(torch.equal(loaded[k], state[k]) for k in loaded)
    assert note.startswith(f"weights weights.pth: {sentence}")


def test_the_sentence_names_tensors_that_are_not_used(backbone, state, saved):
    note = weights.load(backbone, saved(state), "resnet18")
    assert note == "weights weights.pth: 2 tensors not used: fc.weight, fc.bias"
    bare = {k: v for k, v in state.items() if not k.startswith("fc.")}
    note = weights.load(backbone, saved(bare), "resnet18")
    assert note == "weights weights.pth: all tensors are used as they are"
    note = weights.load(backbone, saved(moco(state)), "resnet18")
    assert note.endswith(
        "125 tensors not used: module.encoder_k.conv1.weight, module.encoder_k.bn1.weight, "
        "module.encoder_k.bn1.bias, module.encoder_k.bn1.running_mean and 121 more"
    )


def test_the_average_of_moco_is_read_if_its_key_is_given(backbone, state, saved):
    weights.load(backbone, saved(moco(state)), "resnet18", "encoder_k")
    assert torch.equal(backbone.conv1.weight, state["conv1.weight"] + 1)


BOTH = {
    "dicts": (lambda s: {"student": s, "teacher": doubled(s)}, "student, teacher"),
    "prefixes": (
        lambda s: {
            **{f"module.student.{k}": v for k, v in s.items()},
            **{f"module.teacher.{k}": v for k, v in doubled(s).items()},
        },
        "module.student, module.teacher",
    ),
    "dino": (
        lambda s: {
            "student": {f"module.backbone.{k}": v for k, v in s.items()},
            "teacher": {f"backbone.{k}": v for k, v in doubled(s).items()},
        },
        "student.module.backbone, teacher.backbone",
    ),
}


@pytest.mark.parametrize("kind", BOTH)
def test_of_two_networks_in_a_file_the_key_chooses_one(refused, backbone, state, saved, kind):
    wrap, addresses = BOTH[kind]
    path = saved(wrap(state))
    refused(path, f"2 times, under {addresses}; choose one, such as --weights-key teacher", key="")
    refused(path, f"under {addresses}; save one of them as a file of its own", key=None)
    refused(
        path,
        f"has no 'tutor' with the weights of resnet18; they are under {addresses}",
        key="tutor",
    )
    weights.load(backbone, path, "resnet18", "teacher")
    assert torch.equal(backbone.conv1.weight, state["conv1.weight"] + 1)
    weights.load(backbone, path, "resnet18", "student")
    assert torch.equal(backbone.conv1.weight, state["conv1.weight"])


def test_params_and_their_average_are_told_apart(refused, backbone, state, saved):
    path = saved({"params": state, "params_ema": doubled(state)})
    refused(path, "under params, params_ema; choose one, such as --weights-key params_ema", key="")
    weights.load(backbone, path, "resnet18", "params")
    assert torch.equal(backbone.conv1.weight, state["conv1.weight"])


@pytest.mark.parametrize(
    ("content", "first", "second"),
    [
        (lambda s, t: {"a": {"model": s}, "model": t}, "a", "model"),
        (lambda s, t: {**s, "ema": t}, ".", "ema"),
        (lambda s, t: {"model": {**s, "ema": t}}, "model", "ema"),
        (lambda s, t: {"x": {"y": s}, "y": {"x": t}}, "x.y", "y.x"),
    ],
)
def test_addresses_that_share_words_are_told_apart(
    refused, backbone, state, saved, content, first, second
):
    path = saved(content(state, doubled(state)))
    refused(path, f"choose one, such as --weights-key {second} (", key="")
    for key, added in ((first, 0), (second, 1)):
        weights.load(backbone, path, "resnet18", key)
        assert torch.equal(backbone.conv1.weight, state["conv1.weight"] + added)


def test_two_copies_of_the_same_weights_need_no_key(backbone, state, saved):
    note = weights.load(backbone, saved({"model": state, "best": dict(state)}), "resnet18", "")
    assert "read from 'model'" in note


def test_an_optimizer_beside_the_weights_does_not_disturb(backbone, state, saved):
    averages = {k: {"exp_avg": v, "step": torch.tensor(3)} for k, v in enumerate(state.values())}
    content = {"optimizer": {"state": averages, "param_groups": [{"lr": 0.1}]}, "model": state}
    assert "read from 'model'" in weights.load(backbone, saved(content), "resnet18")


@pytest.mark.parametrize(
    ("value", "count"), [(float("nan"), 1), (float("inf"), 2), (-float("inf"), 9408)]
)
@pytest.mark.parametrize("half", [False, True])
def test_values_that_are_no_numbers_are_counted_and_named(
    refused, state, saved, value, count, half
):
    state["conv1.weight"].view(-1)[:count] = value
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    refused(saved({"model": state}), f"{count} of 9408 values of conv1.weight are NaN or infinite")


def test_doubles_that_no_float_holds_are_refused(refused, state, saved):
    state["bn1.bias"] = torch.full((64,), 1e300, dtype=torch.float64)
    refused(saved(state), "64 of 64 values of bn1.bias are NaN or infinite")


def test_a_head_of_nan_does_no_harm(backbone, state, saved):
    state["fc.bias"][0] = float("nan")
    weights.load(backbone, saved(state), "resnet18")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_whole_numbers_and_quantized_or_sparse_tensors_are_refused(refused, state, saved):
    weight = state["conv1.weight"]
    refused(saved({**state, "conv1.weight": weight.char()}), "holds int8 in conv1.weight")
    refused(saved({**state, "conv1.weight": weight.cfloat()}), "holds complex64 in conv1.weight")
    refused(saved({**state, "conv1.weight": weight.to_sparse()}), "lacks parameter conv1.weight")
    quantized = torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)
    refused(saved({**state, "conv1.weight": quantized}), "lacks parameter conv1.weight")


def test_shapes_that_differ_are_given(refused, state, saved):
    refused(
        saved({"model": {**state, "conv1.weight": torch.zeros(64, 3, 3, 3)}}),
        "it has another shape of parameter conv1.weight under model: 64x3x3x3 instead of 64x3x7x7",
    )


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("decode_head.conv_seg.weight", "holds a segmenter (decode_head.conv_seg.weight)"),
        ("aspp.0.weight", "holds a segmenter"),
        ("rpn.head.conv.weight", "holds a detector (rpn.head.conv.weight), which was trained on"),
        ("roi_heads.box_head.fc6.weight", "holds a detector"),
    ],
)
@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": s}])
def test_networks_that_saw_masks_or_boxes_are_refused(refused, state, saved, extra, message, wrap):
    seen = {f"backbone.{k}": v for k, v in state.items() if not k.startswith("fc.")}
    refused(saved(wrap({**seen, extra: torch.zeros(2, 2)})), message)


@pytest.mark.parametrize(
    "names",
    [
        ["conv1.weight", "bn_conv1.weight", "res2a_branch2a.weight", "bn2a_branch1.bias"],
        ["layer1.conv1.conv.weight", "layer2.block1.reduce.conv.weight"],
        ["conv1_1.weight", "conv1_1.bias", "conv5_3.weight"],
    ],
)
def test_names_of_caffe_are_refused_with_the_reason(refused, saved, names):
    refused(
        saved({name: torch.zeros(2) for name in names}),
        "has names of Caffe",
        "other images (blue first, 0 to 255)",
        "give torchvision's weights",
    )


def test_weights_of_another_backbone_name_it(refused, saved):
    state = torchvision.models.mobilenet_v2(weights=None).state_dict()
    refused(
        saved({"model": state}),
        "it has other names (features.0.0.weight, ",
        "its weights are those of mobilenet_v2, so choose that backbone or give weights of resnet",
    )


def test_a_dict_that_holds_itself_is_searched_once(backbone, state, saved):
    content = {"model": state}
    content["again"] = content
    content["list"] = [content]
    weights.load(backbone, saved(content), "resnet18")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_file(), reason="the weights beside the project are not there")
def test_the_published_weights_are_loaded():
    backbone = build("mobilenet_v2")
    note = weights.load(backbone, SHARED, "mobilenet_v2")
    assert note == f"weights {SHARED.name}: all tensors are used as they are"
    state = torch.load(SHARED, weights_only=True)
    assert all(torch.equal(v, state[k]) for k, v in backbone.state_dict().items() if k in state)
    assert all(torch.isfinite(v).all() for v in backbone.state_dict().values())
