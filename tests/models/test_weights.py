"""Tests of local weight files: good files are read, and a refused file loads nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from wsss.platform.errors import InputError
from wsss.platform.models import weights
from wsss.platform.models.backbones import build

SHARED = Path(__file__).parents[3] / "shared/data/weights/mobilenet_v2_onnxzoo_features.pth"


class Evil:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return build("resnet18")


@pytest.fixture
def state():
    torch.manual_seed(1)
    return torchvision.models.resnet18(weights=None).state_dict()


@pytest.fixture
def saved(tmp_path):
    def save(value, name="weights.pth", **options):
        torch.save(value, tmp_path / name, **options)
        return tmp_path / name

    return save


@pytest.fixture
def refused(backbone):
    """Return a check that a file is refused, named in the message, and not loaded at all."""

    def check(path, *messages):
        before = {k: v.clone() for k, v in backbone.state_dict().items()}
        with pytest.raises(InputError) as caught:
            weights.load(backbone, path, "resnet18")
        for text in (str(path), *messages):
            assert text in str(caught.value)
        assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())

    return check


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


def test_weights_of_a_deeper_network_of_the_family_are_refused(refused, saved):
    with torch.device("meta"):
        shapes = torchvision.models.resnet34(weights=None).state_dict()
    state = {k: torch.zeros(v.shape, dtype=v.dtype) for k, v in shapes.items()}
    refused(saved(state), "unknown", "layer1.2.conv1.weight")


def test_missing_unknown_and_misshapen_tensors_are_named(refused, saved, state):
    refused(saved({k: v for k, v in state.items() if k != "bn1.bias"}), "lacks", "bn1.bias")
    refused(saved({**state, "bn9.bias": state["bn1.bias"]}), "unknown", "bn9.bias")
    refused(saved({**state, "bn1.bias": torch.zeros(3)}), "another shape", "bn1.bias")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_file(), reason="the weights beside the project are not there")
def test_the_published_weights_are_loaded():
    backbone = build("mobilenet_v2")
    weights.load(backbone, SHARED, "mobilenet_v2")
    state = weights.read(SHARED)
    assert all(torch.equal(v, state[k]) for k, v in backbone.state_dict().items() if k in state)
    assert all(torch.isfinite(v).all() for v in backbone.state_dict().values())
