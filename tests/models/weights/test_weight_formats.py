"""Tests of the formats of weight files: one contract for those read, a sentence for any other."""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import lzma
import pathlib
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save
from weight_files import WRITERS, mxnet_bytes, small_wide
from wsss.platform.errors import InputError
from wsss.platform.models import weights


def torch_bytes(value, **options):
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def saved_state(path, kind, dtype=torch.float32):
    """Write the state of a small network in a format, and return it."""
    state = small_wide(1).state_dict()
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    WRITERS[kind](state, path)
    return state


@pytest.mark.parametrize("kind", WRITERS)
def test_each_format_gives_the_same_weights_whatever_its_name(tmp_path, kind):
    state, network = saved_state(tmp_path / "weights.bin", kind), small_wide(2)
    note = weights.load(network, tmp_path / "weights.bin", "wide_resnet38")
    loaded = network.state_dict()
    assert all(torch.equal(v, loaded[k]) for k, v in state.items() if v.is_floating_point())
    assert note.startswith("weights weights.bin: ")
    assert ("names of MXNet translated" in note) == kind.startswith("mxnet")
    assert "not used" not in note


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, dtype) for kind in WRITERS for dtype in (torch.float16, torch.float64)]
    + [(kind, torch.bfloat16) for kind in ("zip", "legacy", "parameters", "safetensors")],
)
def test_other_precisions_become_float32_and_are_named(tmp_path, kind, dtype):
    state, network = saved_state(tmp_path / "w.pth", kind, dtype), small_wide(2)
    note = weights.load(network, tmp_path / "w.pth", "wide_resnet38")
    assert f"converted from {str(dtype).removeprefix('torch.')} to float32" in note
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            assert value.dtype == torch.float32
            assert torch.equal(value, state[name].float())


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused_and_loads_nothing(tmp_path, kind, share):
    path, network = tmp_path / "weights.pth", small_wide(2)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    saved_state(path, kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"weights\.pth"):
        weights.load(network, path, "wide_resnet38")
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return out.getvalue()


def tarred():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"), io.BytesIO())
    return out.getvalue()


def scripted():
    out = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), out)
    return out.getvalue()


def numpy_file():
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("w.pth", lambda: b"", "is empty, and holds no weights; download the file again"),
        ("w.pth", lambda: b"<!DOCTYPE html><p>404", "is a web page, not a weight file"),
        ("w.pth", lambda: b"\n <html><body>", "is a web page, not a weight file"),
        (
            "w.pth",
            lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "is a pointer of Git LFS, not the file itself; run git lfs pull",
        ),
        ("w.pth", lambda: zipped(word__document_dot_xml=b""), "is a zip archive of something else"),
        (
            "w.pth",
            lambda: zipped(r50__r50_dot_pth=b""),
            "is a zip archive that holds 'r50/r50.pth'",
        ),
        ("w.pth", lambda: zipped(), "is a zip archive of something else (nothing)"),
        ("w.pth", tarred, "is a tar archive; unpack it"),
        ("w.pth.gz", lambda: gzip.compress(b"w"), "is packed by gzip; unpack it"),
        ("w.pth.bz2", lambda: bz2.compress(b"w"), "is packed by bzip2; unpack it"),
        ("w.pth.xz", lambda: lzma.compress(b"w"), "is packed by xz; unpack it"),
        ("w.h5", lambda: b"\x89HDF\r\n\x1a\n" + bytes(9), "is an HDF5 file, as Keras writes them"),
        ("w.npy", numpy_file, "is one array of NumPy"),
        ("w.caffemodel", lambda: b"\x0a\x08VGG_VOC", "is a Caffe model"),
        ("w.pkl", lambda: pickle.dumps({"a": 1}), "is a pickle that torch.save did not write"),
        ("w.pt", scripted, "holds a network with its code (TorchScript), which is not run"),
        ("w.onnx", lambda: b"\x08\x07\x12\x07pytorch", "is no weight file: it begins with"),
        (
            "w.pth",
            lambda: torch_bytes({"a": torch.zeros(2)}, pickle_protocol=4),
            "is not read as a weight file: it is damaged, or torch.save wrote it with a "
            "pickle_protocol; save it again without one",
        ),
    ],
)
def test_another_format_is_named_with_what_to_do(tmp_path, name, make, message):
    path = tmp_path / name
    path.write_bytes(make())
    with pytest.raises(InputError) as caught:
        weights.load(small_wide(1), path, "wide_resnet38")
    assert str(caught.value).startswith(f"{path} {message}")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (pathlib.PurePosixPath("runs/1"), "pathlib.PurePosixPath"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
    ids=["namespace", "path", "module"],
)
def test_an_object_beside_the_weights_is_refused_by_its_class(tmp_path, value, name, zipped):
    path, state = tmp_path / "w.pth", small_wide(1).state_dict()
    torch.save({"model": state, "x": value}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError) as caught:
        weights.load(small_wide(2), path, "wide_resnet38")
    text = str(caught.value)
    assert text.startswith(f"{path} holds {name} beside its tensors")
    assert 'torch.save(torch.load(FILE, weights_only=False)["state_dict"], NEW_FILE)' in text
    assert "damaged" not in text


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.5),
        np.float32(0.5),
        np.int64(7),
        np.bool_(True),
        np.array([0.25, 0.5]),
        np.array([[1, 2], [3, 4]], order="F"),
        np.array([1, 2], ">i4"),
        np.zeros((0, 3)),
        np.array([0.5, 1], np.longdouble),
        np.array([1, 2], np.uint16),
    ],
    ids=repr,
)
def test_numbers_and_arrays_of_numpy_are_read_beside_the_weights(tmp_path, value, zipped):
    path = tmp_path / "w.pth"
    content = {"state_dict": small_wide(1).state_dict(), "best": {"miou": value}, "epoch": 3}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    read = weights.read(path)["best"]["miou"]
    assert read.dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
    assert read.shape == value.shape
    assert np.array_equal(read, value)
    weights.load(small_wide(2), path, "wide_resnet38")


@pytest.mark.parametrize("old", [True, False])
def test_numbers_of_older_numpy_are_read(tmp_path, old):
    """NumPy before 2.0 wrote `numpy.core`, later NumPy writes `numpy._core`."""
    path = tmp_path / "w.pth"
    data = torch_bytes({"x": np.float64(0.5)}, _use_new_zipfile_serialization=False)
    assert b"numpy._core.multiarray" in data
    path.write_bytes(data.replace(b"numpy._core", b"numpy.core") if old else data)
    assert weights.read(path)["x"] == 0.5


@pytest.mark.parametrize(
    "value",
    [np.datetime64("2026-01-01"), np.array(["a"]), np.array([None]), np.str_("a")],
    ids=repr,
)
def test_other_values_of_numpy_are_refused(tmp_path, value):
    path = tmp_path / "w.pth"
    torch.save({"x": value}, path)
    with pytest.raises(InputError, match=r"w\.pth"):
        weights.read(path)


def test_arrays_with_wrong_sizes_are_refused(tmp_path):
    class Array:
        def __init__(self, shape, data):
            self.state = (1, shape, np.dtype("f4"), False, data)

        def __reduce__(self):
            return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), self.state

    path = tmp_path / "w.pth"
    for shape, data in (((2,), bytes(4)), ((1 << 40,), bytes(8)), ((-1,), b""), (("a",), b"")):
        torch.save({"x": Array(shape, data)}, path)
        with pytest.raises(InputError, match=r"w\.pth"):
            weights.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data + b"", ""),
        (lambda data: data.replace(b"arg:x", b"\xff\xff\xff\xff\xff"), "decode"),
        (lambda data: data[:24] + b"\xff" + data[25:], "dimensions"),
        (lambda data: data[:28] + b"\x01" + data[29:], "sparse"),
        (lambda data: data[:60] + b"\x63" + data[61:], "type number 99"),
        (lambda data: data[:36] + b"\xff" * 8 + data[44:], "shape (-1, 3)"),
        (lambda data: data[:36] + b"\xff" * 7 + b"\0" + data[44:], "cut off"),
        (lambda data: data[:16] + b"\xff" * 7 + b"\0" + data[24:], "not read as an MXNet file"),
        (lambda data: data.replace(b"\1" + bytes(7) + b"\5", b"\2" + bytes(7) + b"\5"), "2 names"),
    ],
)
def test_a_damaged_mxnet_file_is_refused_in_one_sentence(tmp_path, change, message):
    path = tmp_path / "w.params"
    path.write_bytes(change(mxnet_bytes({"arg:x": torch.ones(2, 3)})))
    if not message:
        assert torch.equal(weights.read(path)["x"], torch.ones(2, 3))
        return
    with pytest.raises(InputError) as caught:
        weights.read(path)
    assert message in str(caught.value)


def test_a_safetensors_file_with_a_wrong_header_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    data = save({"x": torch.ones(2, 3)})
    for changed in (data.replace(b'"F32"', b'"Q32"'), data.replace(b"[2,3]", b"[9,9]"), data[:-1]):
        assert changed != data
        path.write_bytes(changed)
        with pytest.raises(InputError, match=r"w\.safetensors is not read as a \.safetensors file"):
            weights.read(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a regular file"):
        weights.read(tmp_path)
