"""Tests of stored features: they give the class maps that the network would give."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from memory_peak import Peak
from torch.nn import functional as F
from wsss.methods.cam import CAM
from wsss.methods.lpcam import LPCAM, LPCAMConfig
from wsss.platform.config.experiment import Views
from wsss.platform.config.groups.network import Network
from wsss.platform.data.formats import class_maps, prototype_patches, shards
from wsss.platform.data.formats.features import FeatureRows, open_features, read_feature_rows
from wsss.platform.data.images import decode_image, encode_png
from wsss.platform.data.transforms import normalized, resized
from wsss.platform.errors import InputError
from wsss.platform.method import Centers, build_experiment
from wsss.platform.method import methods as methods_of
from wsss.platform.ops.maps import grid_size, merge_scales, normalize
from wsss.platform.ops.prototypes import unit
from wsss.platform.stages.inference.class_maps import Infer, Job, check_space, in_order
from wsss.platform.stages.labels.scoring import score_slice
from wsss.platform.stages.prototypes import direct_scoring
from wsss.platform.stages.prototypes.class_maps import file_maps, place_maps
from wsss.platform.stages.prototypes.similarities import file_similarities, read, similarities
from wsss.platform.stages.training.trainer import build
from wsss.platform.storage.artifact_files import LocalFolder

CLASSES, SCALES = 3, (1.0, 0.5, 1.5)


@pytest.fixture
def network():
    out = build(Network(backbone="small"), CAM(CAM.Config()), CLASSES, seed=0).eval()
    torch.nn.init.normal_(out.head.weight, generator=torch.Generator().manual_seed(1))
    return out


@pytest.fixture
def centers(network):
    generator = torch.Generator().manual_seed(2)
    width = network.head.in_channels
    return {
        n: Centers(
            foreground=torch.rand(3, width, generator=generator) ** 3,
            context=torch.rand(2 + n, width, generator=generator) ** 3,
        )
        for n in range(CLASSES)
    }


@pytest.fixture
def units(centers):
    return {n: unit(torch.cat([pair.foreground, pair.context])) for n, pair in centers.items()}


@pytest.fixture
def method(network, centers):
    made = LPCAM(LPCAMConfig(mu_f=0.0, mu_b=1.0))
    made.fit(centers, network.class_weights.detach())
    return made


@pytest.fixture
def similar(inferred, units, tmp_path):
    """Return the file of the similarities of the stored features."""
    out = LocalFolder(tmp_path).subfolder("similar")
    threads = torch.get_num_threads()
    file = LocalFolder(inferred[1].parent) / inferred[1].name
    assert file_similarities(file, units, out) == len(inferred[0])
    torch.set_num_threads(threads)
    return out / file.name


@pytest.fixture
def piece(write_shards):
    mask = np.random.default_rng(4).choice([0, 0, 1, 2, 3, 255], (41, 56)).astype(np.uint8)
    (out,) = write_shards([3], size=(41, 56), mask=encode_png(mask))
    return out


def job_of(weights, folder, enlarging, batch_size=2):
    """Return an inference of CAM's class maps that keeps the features, by `weights/network.pt`."""
    return Job(
        trained=CAM(CAM.Config()),
        method=CAM(CAM.Config()),
        network=Network(backbone="small"),
        classes=CLASSES,
        weights=LocalFolder(weights) / "network.pt",
        views=Views(scales=SCALES, batch_size=batch_size, actors=1, enlarging=enlarging),
        folder=folder,
        keep_features=True,
    )


@pytest.fixture
def inferred(network, piece, tmp_path, image_batching):
    """Run inference over one slice; return its rows and the path of its features.

    The class maps are at image size, with those at stride 4 beside them."""
    torch.save(network.state_dict(), tmp_path / "network.pt")
    folder = tmp_path / "maps"
    folder.mkdir()
    job = job_of(tmp_path, LocalFolder(folder), "irn")
    threads = torch.get_num_threads()
    assert Infer(job).work(piece) == piece.rows
    torch.set_num_threads(threads)
    return shards.read(piece, shards.INFERENCE_COLUMNS), folder / f"{piece.name}.npy"


def test_features_are_written_image_by_image(network, write_shards, tmp_path, image_batching):
    """No more features are in memory than those of a batch, with a copy of one view."""
    torch.save(network.state_dict(), tmp_path / "network.pt")
    peaks, job = [], job_of(tmp_path, LocalFolder(tmp_path), "stretch", batch_size=1)
    for images in (1, 8):
        (piece,) = write_shards([images], size=(41, 56), name=f"part{images}")
        threads = torch.get_num_threads()
        actor = Infer(job)
        torch.set_num_threads(threads)
        with Peak(dtype=torch.float16) as peak:
            assert actor.work(piece) == images
        peaks.append(peak.bytes)
    assert 0 < peaks[1] < 2 * peaks[0]


@pytest.mark.parametrize("numbers", [[0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0]])
def test_values_come_in_order_and_as_soon_as_they_can(numbers):
    come, given = [], []
    for value in in_order((n, n) for n in numbers if come.append(n) is None):
        given.append(value)
        assert set(come) >= set(range(value + 1))
        assert len(come) == max(numbers.index(k) for k in range(value + 1)) + 1
    assert given == [0, 1, 2, 3]


def test_a_feature_file_has_the_bytes_of_an_array_that_is_saved_whole(inferred):
    stream, (_, path) = io.BytesIO(), inferred
    np.save(stream, np.load(path))
    assert path.read_bytes() == stream.getvalue()


def views(row):
    image = decode_image(row["image"], row["id"])
    for scale in SCALES:
        size = [round(n * scale) for n in image.shape[:2]]
        yield normalized(torch.from_numpy(resized(image, *size).copy())[None])


def slow_maps(localizer, network, row, enlarging="stretch"):
    """Return the class maps of an image: each scale through the network, summed and normalised.

    For "irn" each scale is enlarged to multiples of 16 and cut to the image."""
    labels = torch.zeros(1, CLASSES)
    labels[0, row["labels"]] = 1
    with torch.inference_mode():
        planes = [localizer.localize(network, images, labels) for images in views(row)]
    if enlarging == "irn":
        large = [F.interpolate(p, (48, 64), mode="bilinear")[:, :, :41, :56] for p in planes]
        return normalize(sum(large))[0, row["labels"]]
    maps = normalize(merge_scales(planes, grid_size(row["height"], row["width"])))
    return maps[0, row["labels"]]


@pytest.mark.parametrize("enlarging", ["stretch", "irn"])
def test_maps_from_stored_features_equal_those_of_the_network(
    inferred, network, method, similar, enlarging
):
    rows, _ = inferred
    places = list(read(similar, {n: len(s) for n, s in method.shares.items()}))
    assert [p.id for p, _ in places] == [r["id"] for r in rows]
    for row, (place, of_image) in zip(rows, places, strict=True):
        maps = place_maps(place, of_image, method.shares, enlarging)
        assert maps.classes == tuple(n + 1 for n in row["labels"])
        assert (maps.height, maps.width) == (41, 56)
        expected = slow_maps(method, network, row, enlarging)
        assert expected.max() > 0.9
        torch.testing.assert_close(
            torch.from_numpy(maps.planes).float(), expected, atol=1e-2, rtol=0
        )


@pytest.mark.parametrize(("suffix", "enlarging"), [(".parquet", "irn"), (".strided", "stretch")])
def test_maps_of_inference_equal_those_of_the_network(inferred, network, suffix, enlarging):
    rows, path = inferred
    stored = list(class_maps.read([path.with_suffix(suffix)]))
    for row, maps in zip(rows, stored, strict=True):
        assert maps.id == row["id"]
        expected = slow_maps(CAM(CAM.Config()), network, row, enlarging)
        torch.testing.assert_close(
            torch.from_numpy(maps.planes.copy()).float(), expected, atol=2e-3, rtol=0
        )


@pytest.mark.parametrize("method", [m for m in methods_of().values() if m.trains])
def test_maps_in_half_precision_are_near_those_in_full(method, piece, tmp_path):
    configured = build_experiment(method.name, preset="scenes").network
    extended = build(configured, method(method.Config()), CLASSES, seed=0).eval()
    torch.nn.init.normal_(extended.head.weight, generator=torch.Generator().manual_seed(1))
    torch.save(extended.state_dict(), tmp_path / "network.pt")
    maps = {}
    for precision in ("fp32", "bf16"):
        job = Job(
            trained=method(method.Config()),
            method=CAM(CAM.Config()) if issubclass(method, LPCAM) else method(method.Config()),
            network=configured,
            classes=CLASSES,
            weights=LocalFolder(tmp_path) / "network.pt",
            views=Views(scales=SCALES, actors=1, precision=precision),
            folder=LocalFolder(tmp_path),
            keep_features=False,
        )
        actor = Infer(job)
        assert actor.work(piece) == piece.rows
        maps[precision] = list(class_maps.read([tmp_path / f"{piece.name}.parquet"]))
    for one, half in zip(maps["fp32"], maps["bf16"], strict=True):
        distance = np.abs(one.planes.astype(np.float32) - half.planes.astype(np.float32))
        assert 0 < distance.mean() < 0.1  # noise: cosines near the thresholds of SIPE's prototypes


def test_raw_features_are_those_of_one_view_at_scale_one(inferred, network):
    rows, path = inferred
    features = open_features(path)
    for row, place in zip(rows, read_feature_rows(path.with_suffix(".json")), strict=True):
        with torch.inference_mode():
            c4 = network.features(next(views(row)))["c4"][0]
        assert place.grids[0] == c4.shape[1:]
        raw = torch.from_numpy(place.raw(features).copy()).float()
        torch.testing.assert_close(raw, c4.flatten(1).T, atol=1e-3, rtol=2e-3)


def test_features_of_the_scales_have_length_one_and_fill_the_file(inferred):
    _, path = inferred
    features, places = open_features(path), read_feature_rows(path.with_suffix(".json"))
    end = 0
    for place in places:
        assert place.offset == end
        end += len(place.raw(features))
        for (height, width), rows in place.scales(features):
            assert len(rows) == height * width
            end += len(rows)
            length = np.linalg.norm(rows.astype(np.float32), axis=1)
            np.testing.assert_allclose(length, 1, atol=5e-3)
    assert end == len(features)


def test_similarities_are_cosines(inferred, centers, similar):
    """Cosines are computed in float64, feature by feature; the file is read back as written."""
    _, path = inferred
    features = open_features(path)
    entries = read(
        similar, {n: len(pair.foreground) + len(pair.context) for n, pair in centers.items()}
    )
    count = 0
    for place, blocks in entries:
        vectors = np.concatenate([f for _, f in place.scales(features)]).astype(np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for n, block in zip(place.labels, blocks, strict=True):
            both = torch.cat([centers[n].foreground, centers[n].context]).double().numpy()
            both /= np.linalg.norm(both, axis=1, keepdims=True)
            np.testing.assert_allclose(block, vectors @ both.T, atol=1e-3)
            count += block.size
    assert count == len(np.load(similar.local()))


def test_a_file_of_maps_holds_all_images_in_order(inferred, method, similar, tmp_path):
    rows, path = inferred
    out = LocalFolder(tmp_path).subfolder("out")
    threads = torch.get_num_threads()
    assert file_maps(similar, method.shares, out) == len(rows)
    torch.set_num_threads(threads)
    maps = list(class_maps.read([(out / f"{path.stem}.parquet").local()]))
    assert [m.id for m in maps] == [r["id"] for r in rows]


def test_closest_patches_equal_a_search_over_every_position(inferred, units, similar, tmp_path):
    """Prototypes with a share are searched for in float64; those without one are left out."""
    rows, path = inferred
    shares = {n: torch.zeros(len(prototypes)) for n, prototypes in units.items()}
    shares[0][[0, 4]], shares[1][1] = torch.tensor([1.0, -1.0]), 1.0
    threads = torch.get_num_threads()
    file_maps(similar, shares, LocalFolder(tmp_path))
    torch.set_num_threads(threads)
    patches = prototype_patches.read(tmp_path / f"{path.stem}{prototype_patches.SUFFIX}")
    features, places = (
        open_features(path),
        {p.id: p for p in read_feature_rows(path.with_suffix(".json"))},
    )
    assert {(p.id, p.value, p.number, p.kind) for p in patches} == {
        (r["id"], n + 1, k, kind)
        for r in rows
        for n, k, kind in ((0, 0, "foreground"), (0, 4, "context"), (1, 1, "foreground"))
        if n in r["labels"]
    }
    for patch in patches:
        (height, width), view = next(iter(places[patch.id].scales(features)))
        center = units[patch.value - 1][patch.number].double().numpy()
        view = view.astype(float) / np.linalg.norm(view.astype(float), axis=1, keepdims=True)
        cosines = (view @ (center / np.linalg.norm(center))).reshape(height, width)
        assert patch.cosine == pytest.approx(cosines.max(), abs=2e-3)
        assert cosines[int(patch.y * height), int(patch.x * width)] > cosines.max() - 2e-3


@pytest.mark.parametrize("enlarging", ["stretch", "irn"])
def test_direct_scores_equal_those_of_the_maps(piece, method, similar, tmp_path, enlarging):
    """Counts that are kept from earlier shares do not change the counts of later shares."""
    out = LocalFolder(tmp_path).subfolder("out")
    widths = tuple((n, len(s)) for n, s in method.shares.items())
    split = direct_scoring.Split((similar,), (piece,), widths, CLASSES + 1, enlarging)
    generator = torch.Generator().manual_seed(3)
    threads = torch.get_num_threads()
    first = dict(method.shares)
    other = {n: torch.randn(len(s), generator=generator) for n, s in first.items()}
    for shares in (first, other, {**first, 1: other[1]}, first):
        file_maps(similar, shares, out, enlarging)
        expected = score_slice((piece, out / f"{similar.stem}.parquet"), CLASSES + 1)
        tally = split.tally(shares)
        assert expected.curve.counts.sum() > 0
        np.testing.assert_array_equal(tally.curve.counts, expected.curve.counts)
        assert tally.images == expected.images == 3
    torch.set_num_threads(threads)
    assert len(split.counted) < 4 * len(split.groups), "counts of earlier shares are not used again"


def test_an_image_without_classes_has_no_maps(method):
    place = FeatureRows(id="x", labels=(), height=17, width=9, offset=0, grids=((3, 2),))
    maps = place_maps(place, [], method.shares)
    assert maps.classes == ()
    assert maps.planes.shape == (0, 5, 3)


def test_a_class_without_centers_has_a_zero_map(units):
    place = FeatureRows(id="x", labels=(7,), height=8, width=8, offset=0, grids=((2, 2),))
    rows = np.ones((8, units[0].shape[1]), np.float16)
    (block,) = similarities(place, rows, units)
    assert block.shape == (4, 0)
    maps = place_maps(place, [block], {})
    assert not maps.planes.any()
    assert np.isfinite(maps.planes).all()


def test_features_that_do_not_fit_the_disk_are_refused(write_shards):
    pieces = write_shards([5], size=(32, 48))
    pixel = 2 * 8 / 16**2
    need = int(5 * 32 * 48 * (1 + 1 + 4) * pixel * 1.1)
    check_space(pieces, (1.0, 2.0), pixel, need)
    with pytest.raises(InputError, match="the features take about"):
        check_space(pieces, (1.0, 2.0), pixel, need - 1)
