"""Tests of the kinds of masks that people have: what each pixel becomes, and each sentence."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat
from wsss.platform.data.images import encode_png, voc_palette
from wsss.platform.data.readers.masks import sbd
from wsss.platform.data.readers.masks.mask_reader import MOVED_COLOURS, MaskReader
from wsss.platform.data.readers.masks.samples import colour_code, colour_of
from wsss.platform.data.readers.masks.value_map import ValueMap, parse
from wsss.platform.errors import InputError

CLASSES = ("bird", "cat", "dining table")
MASK = np.array([[0, 1, 2, 3, 255], [0, 0, 1, 1, 3]], np.uint8)
COLOURS = np.array(voc_palette(), np.uint8).reshape(256, 3)
BY_COLOUR = "the mask was read by the colours of VOC's palette"


def png(values: np.ndarray | Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(out, "PNG", **options)
    return out.getvalue()


def read(
    data: bytes,
    *given: str,
    name: str = "m.png",
    classes: Sequence[str] = CLASSES,
    labels: Sequence[int] = (1,),
) -> tuple[np.ndarray, tuple[str, ...]]:
    reader = MaskReader(classes=len(classes), value_map=parse(given, classes))
    result = reader.read(data, name, labels)
    assert result.values.dtype == np.uint8
    return result.values, result.notes


def with_alpha(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([pixels, alpha])


OPAQUE = np.full(MASK.shape, 255, np.uint8)
GREY = np.repeat(MASK[..., None], 3, axis=2)
GREY_NOTE = "the mask is grey stored as RGB; its grey levels were read as classes"
KINDS = {
    "palette": (encode_png(MASK), ()),
    "8-bit grey": (encode_png(MASK, palette=False), ()),
    "VOC's colours": (png(COLOURS[MASK]), (BY_COLOUR,)),
    "VOC's colours, opaque": (png(with_alpha(COLOURS[MASK], OPAQUE)), (BY_COLOUR,)),
    "VOC's colours, background transparent": (
        png(with_alpha(COLOURS[MASK], np.where(MASK > 0, 255, 0).astype(np.uint8))),
        (BY_COLOUR,),
    ),
    "grey as RGB": (png(GREY), (GREY_NOTE,)),
    "grey with alpha": (png(Image.fromarray(MASK).convert("LA")), ()),
    "16-bit grey": (png(MASK.astype(np.uint16)), ("the mask has 16 bits, its values fit 8",)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_of_each_kind_has_its_class_values(kind: str) -> None:
    data, expected = KINDS[kind]
    values, notes = read(data)
    np.testing.assert_array_equal(values, MASK)
    assert notes == expected


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_indices_of_a_short_palette_are_classes(bits: int) -> None:
    mask = MASK % 4 % 2**bits
    image = Image.fromarray(mask)
    image.putpalette([9, 8, 7] * 2**bits)
    values, notes = read(png(image, bits=bits))
    np.testing.assert_array_equal(values, mask)
    assert notes == ()


def test_colours_of_voc_at_other_indices_of_a_palette_are_noted() -> None:
    """A mask of background, cat (2) and void whose palette was shortened to three colours."""
    short = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    short.putpalette(COLOURS[[0, 2, 255]].ravel().tolist())
    values, notes = read(png(short))
    np.testing.assert_array_equal(values, [[0, 1, 2]])
    assert notes == (MOVED_COLOURS,)
    words = [",".join(map(str, COLOURS[k])) for k in (0, 2, 255)]
    names = ("background", "cat", "void")
    values, _ = read(png(short), *(f"{w}={n}" for w, n in zip(words, names, strict=True)))
    np.testing.assert_array_equal(values, [[0, 2, 255]])


def test_a_mask_of_one_bit_shows_the_only_class() -> None:
    mask = MASK == 1
    values, notes = read(png(mask), classes=("cat",), labels=(0,))
    np.testing.assert_array_equal(values, mask)
    assert notes == ("the mask has 1 bit; 1 was read as the only class",)
    with pytest.raises(InputError, match=r"m\.png has 1 bit, .* 3 classes; --mask-values 0=back"):
        read(png(mask))
    values, _ = read(png(mask), "0=background", "1=label", labels=(2,))
    np.testing.assert_array_equal(values, mask * 3)


def shallow_grey(bits: int) -> bytes:
    """Return a grey PNG of 2 or 4 bits whose samples count up, which Pillow cannot write."""
    indexed = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2))
    indexed.putpalette([0, 0, 0] * 2**bits)
    data = bytearray(png(indexed, bits=bits))
    data[25] = 0  # kind of colour: grey
    palette = data.index(b"PLTE") - 4
    del data[palette : palette + 12 + 3 * 2**bits]
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    return bytes(data)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_read_as_the_user_says(bits: int) -> None:
    with pytest.raises(InputError, match=rf"grey with {bits} bits.*values 0 to {2**bits - 1} "):
        read(shallow_grey(bits))
    words = ("0=background", "1=cat", "2=bird", "3=void")
    values, notes = read(shallow_grey(bits), *words)
    np.testing.assert_array_equal(values, [[0, 2], [1, 255]])
    assert notes == ("the mask was read by --mask-values",)


FAULTY = {
    "has 2 pixels of the value 4; allowed are 0 to 3 and 255": encode_png(MASK + (MASK == 3)),
    "has 7 pixels of 4 unknown values, 3 of the value 9; allowed": png(MASK.astype(np.uint16) * 9),
    "has 1 pixel of the value 65535; allowed": png(
        np.where(MASK == 255, np.uint16(65535), MASK.astype(np.uint16))
    ),
    "has 2 pixels of the value 5; allowed are 0 to 3 and 255": png(
        np.where(GREY == 3, np.uint8(5), GREY)
    ),
    "and 10 pixels of 3 unknown colours, 7 of the colour 0,0,1, which VOC's palette of 3": png(
        GREY // 3 + np.array([0, 0, 1], np.uint8)
    ),
    "and 2 pixels of the colour 0,0,128, which VOC's palette": png(COLOURS[MASK + (MASK == 3)]),
    "7 transparent pixels with a colour": png(with_alpha(COLOURS[MASK], OPAQUE // 2)),
    "is an animated PNG": png(MASK, save_all=True, append_images=[Image.fromarray(MASK + 1)]),
}


@pytest.mark.parametrize("sentence", FAULTY)
def test_a_mask_that_would_need_a_guess_is_refused(sentence: str) -> None:
    with pytest.raises(InputError, match=r"mask m\.png") as refused:
        read(FAULTY[sentence])
    assert sentence in str(refused.value)


def test_a_stray_colour_is_named_with_its_pixels() -> None:
    colours = COLOURS[MASK].copy()
    colours[1, 1:3] = 10, 200, 30
    with pytest.raises(InputError, match=r"m\.png .* and 2 pixels of the colour 10,200,30, .*--m"):
        read(png(colours))


def test_a_jpeg_and_a_turned_mask_are_refused() -> None:
    out = io.BytesIO()
    Image.fromarray(MASK).save(out, "JPEG")
    with pytest.raises(InputError, match=r"m\.png is not .* PNG image: it is a JPEG, whose compr"):
        read(out.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    with pytest.raises(InputError, match=r"m\.png has an EXIF orientation; save it upright"):
        read(png(MASK, exif=exif))


WHITE = np.where(MASK == 1, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("data", [encode_png(WHITE), png(WHITE), png(WHITE.astype(np.uint16))])
def test_white_is_the_label_if_the_user_says_so(data: bytes) -> None:
    words = ("0=background", "255=label")
    values, notes = read(data, *words, labels=(2,))
    np.testing.assert_array_equal(values, np.where(WHITE, 3, 0))
    assert notes == ("the mask was read by --mask-values",)
    values, _ = read(encode_png(WHITE * 0), *words, labels=(0, 1))
    assert not values.any()
    for labels in ((), (0, 1)):
        with pytest.raises(InputError, match=rf"m\.png has pixels .* has {len(labels)} labels"):
            read(data, *words, labels=labels)


def test_shifted_masks_are_read_as_the_user_says() -> None:
    shifted = np.array([[0, 1, 2, 3]], np.uint8)
    words = ("0=bird", "1=cat", "2=dining table", "3=background")
    np.testing.assert_array_equal(read(encode_png(shifted), *words)[0], [[1, 2, 3, 0]])
    with pytest.raises(InputError, match=r"m\.png has 1 pixel of the value 3, which --mask-va"):
        read(encode_png(shifted), *words[:3])


@pytest.mark.parametrize("words", [("10,20,30=cat", "0, 0, 0=background"), ("file",)])
def test_colours_are_read_as_the_user_says(tmp_path: Path, words: tuple[str, ...]) -> None:
    if words == ("file",):
        (tmp_path / "a.csv").write_text('value,class\n"10,20,30",cat\n0 0 0,background\n')
        words = (str(tmp_path / "a.csv"),)
    colours = np.where(MASK[..., None] == 1, [10, 20, 30], 0).astype(np.uint8)
    indexed = Image.fromarray((MASK == 1).astype(np.uint8))
    indexed.putpalette([0, 0, 0, 10, 20, 30])
    for data in (png(colours), png(indexed), png(with_alpha(colours, OPAQUE))):
        np.testing.assert_array_equal(read(data, *words)[0], np.where(MASK == 1, 2, 0))
    colours[0, 0] = 1, 2, 3
    with pytest.raises(InputError, match=r"m\.png has 1 pixel of the colour 1,2,3, which --mas"):
        read(png(colours), *words)
    with pytest.raises(InputError, match=r"m\.png has 16 bits; --mask-values must name numbers"):
        read(png(MASK.astype(np.uint16)), *words)
    with pytest.raises(InputError, match=r"m\.png is stored in colours, .*128,0,0=CLASS"):
        read(png(colours), "0=background")


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_values_are_read_from_a_file(tmp_path: Path, suffix: str) -> None:
    names = {"0": "background", "7": "dining table", "90": "bird", "65535": "void"}
    text = json.dumps(names)
    if suffix == ".csv":
        text = "value,class\n" + "".join(f"{k},{v}\n" for k, v in names.items())
    (tmp_path / f"a{suffix}").write_text(text)
    values = np.array([[0, 7, 90, 65535]], np.uint16)
    given = str(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read(png(values), given)[0], [[0, 3, 1, 255]])
    assert parse((given,), CLASSES) == parse([f"{k}={v}" for k, v in names.items()], CLASSES)


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("a.csv", "value;class\r\n0;background\r\n1,2,3;cat\r\n", "utf-8-sig"),
        ("a.CSV", 'Value, Class\n"0,0,0", background\n"1, 2, 3", cat\n', "utf-8"),
        ("a.csv", "name\tclass\tvalue\nx\tbackground\t0 0 0\n\n\tcat\t1 2 3\t\n", "utf-16"),
        ("a.JSON", '{"0,0,0": "background", "1,2,3": "cat"}', "utf-16"),
    ],
)
def test_files_of_values_are_read_like_other_tables(
    tmp_path: Path, name: str, text: str, encoding: str
) -> None:
    (tmp_path / name).write_text(text.replace("\r\n0;", "\r\n0,0,0;"), encoding, newline="")
    parsed = parse((str(tmp_path / name),), CLASSES)
    assert parsed is not None
    assert (parsed.meanings, parsed.colours) == ({0: 0, colour_code(1, 2, 3): 2}, True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("0=background", "1=horse"), "--mask-values: 'horse' is not among background, void, lab"),
        (("0=background", "0=cat"), "--mask-values names 0 twice"),
        (("x=cat",), "'x' is no value of a mask; a value is a number from 0 to 65535 or a colour"),
        (("-1=cat",), "'-1' is no value"),
        (("65536=cat",), "'65536' is no value"),
        (("256,0,0=cat",), "'256,0,0' is no value"),
        (("0=background", "1,2,3=cat"), "must name either numbers or colours"),
        (("0=background", "cat"), "'cat' is no VALUE=CLASS"),
        (("nowhere.csv",), r"nowhere\.csv is not readable: .*No such file"),
        (("cat",), "cat is not readable: it is neither .csv nor .json, and no VALUE=CLASS"),
    ],
)
def test_a_faulty_value_is_refused(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse(words, CLASSES)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.json", "[1, 2]", "it is no object such as"),
        ("a.json", '{"0": 1}', "it is no object such as"),
        ("a.json", '{"0": "cat", "0": "bird"}', "names 0 twice"),
        ("a.json", "{", "is not readable"),
        ("a.json", "{}", "at least one"),
        ("a.csv", "", "needs the columns value and class, each once, in its first line"),
        ("a.csv", "value,class\n", "at least one"),
        ("a.csv", "id,class\n1,cat\n", "needs the columns value and class, each once, in its"),
        ("a.csv", "value,class\n9,0,0,cat\n", 'line 2 has 4 cells, .* quotes, as "128,0,0"$'),
        ("a.csv", "value;class\n1\n", "line 2 has 1 cells, .*; a row is a value and a class"),
        ("a.csv", "value,class\n1,cow\n", "'cow' is not among"),
    ],
)
def test_a_faulty_file_of_values_is_refused(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=sentence):
        parse((str(tmp_path / name),), CLASSES)


def test_a_class_called_like_a_word_is_refused() -> None:
    with pytest.raises(InputError, match="void is a class and stands for something else here"):
        parse(("0=background", "1=void"), ("void", "cat"))
    assert isinstance(parse(("0=background", "1=cat"), ("void", "cat")), ValueMap)


def test_colours_are_numbers_and_back() -> None:
    for colour in ((0, 0, 0), (1, 2, 3), (255, 255, 255), (255, 0, 7)):
        assert colour_of(colour_code(*colour)) == colour


def mat(name: str = "GTcls", field: str = "Segmentation", value: Any = MASK, **more: Any) -> bytes:
    """Return the bytes of a file as SBD has it."""
    out = io.BytesIO()
    content = {"Boundaries": np.zeros((20, 1)), field: value, "CategoriesPresent": [8]}
    savemat(out, {name: content}, **more)
    return out.getvalue()


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 2), (5, 11)])
def test_arrays_of_matlab_files_are_those_that_scipy_reads(
    kind: type[np.integer], shape: tuple[int, int]
) -> None:
    values = np.random.default_rng(0).integers(0, 120, shape).astype(kind)
    for packed in (True, False):
        data = mat(value=values, do_compression=packed)
        content = loadmat(io.BytesIO(data))["GTcls"]["Segmentation"].item()
        np.testing.assert_array_equal(sbd.read_segmentation(data, "m.mat"), content)
        np.testing.assert_array_equal(content, values)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["m.mat", "m.MAT"])
def test_a_mask_of_sbd_is_read(packed: bool, name: str) -> None:
    values, notes = read(mat(do_compression=packed), name=name)
    np.testing.assert_array_equal(values, MASK)
    assert notes == ("the mask was read from SBD's GTcls.Segmentation (.mat)",)


FAULTY_SBD = {
    "holds GTinst, the instances; take the file of SBD's folder cls": mat("GTinst"),
    "its GTcls.Segmentation is missing": mat("other"),
    "no mask of classes: its GTcls.Segmentation is missing": mat(field="Masks"),
    "its GTcls.Segmentation is no array of whole numbers": mat(value="text"),
    "GTcls.Segmentation is no array of whole numbers": mat(value=np.full((2, 2), 0.5)),
    "Segmentation is no array of whole numbers": mat(value=np.zeros((2, 2, 2), np.uint8)),
    "is not readable as SBD's MATLAB file": mat()[:200],
    "is not readable as SBD's MATLAB": mat(do_compression=True)[:200],
    "is no MATLAB file of version 5": b"",
    "it is version 7.3; save it with -v7": b"MATLAB 7.3 MAT-file",
    "has 9 pixels of 4 unknown values, 3 of the value 4; allowed": mat(value=MASK + 4),
}


@pytest.mark.parametrize("sentence", FAULTY_SBD)
def test_a_faulty_mask_of_sbd_is_refused(sentence: str) -> None:
    with pytest.raises(InputError, match=r"mask m\.mat") as refused:
        read(FAULTY_SBD[sentence], name="m.mat")
    assert sentence in str(refused.value)


def test_values_of_an_unknown_kind_are_refused() -> None:
    """The reader of scipy 1.17 ends the process at such a file."""
    data = bytearray(mat())
    start = data.index(MASK.tobytes(order="F")) - 8
    data[start : start + 2] = b"\x02\xa9"
    with pytest.raises(InputError, match=r"m\.mat .* damaged \(its values are of the unknown kind"):
        read(bytes(data), name="m.mat")


def test_a_packed_file_that_unpacks_to_more_than_allowed_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = mat(value=np.zeros((400, 400), np.uint8), do_compression=True)
    assert len(data) < 2_000
    monkeypatch.setattr(sbd, "MAX_UNPACKED", 100_000)
    with pytest.raises(InputError, match="it has over 100000 bytes"):
        read(data, name="m.mat")
