"""Tests of PSDPM against slow float64 forms of its equations."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from wsss.methods.psdpm import FPEM, PSDPM, STAGES, PSDPMConfig, position_encoding, propagate
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.models.backbones import build
from wsss.platform.ops.maps import normalize

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(SIZES)
@settings(deadline=None)
def test_positions_are_unit_vectors_of_figure_4(size):
    height, width = size
    code = position_encoding(height, width)
    assert code.shape == (4, height, width)
    for y, x in itertools.product(range(height), range(width)):
        vector = [x + 1, width - x, y + 1, height - y]
        length = math.sqrt(sum(v * v for v in vector))
        assert code[:, y, x].tolist() == pytest.approx([v / length for v in vector], rel=1e-5)


@given(SIZES)
@settings(deadline=None)
def test_no_two_positions_have_the_same_code(size):
    flat = position_encoding(*size).double().flatten(1)
    likeness = flat.T @ flat
    count = likeness.shape[0]
    off = likeness[~torch.eye(count, dtype=torch.bool)]
    assert count == 1 or off.max() < 1 - 1e-6


def slow_propagate(maps, correlation, similarity):
    """Propagate maps by Eq. 2, position by position."""
    maps, correlation = maps.double().flatten(2), correlation.double().flatten(2)
    out = torch.zeros_like(maps)
    batch, _, count = maps.shape
    for b, i in itertools.product(range(batch), range(count)):
        here = correlation[b, :, i]
        products = torch.stack([here @ correlation[b, :, j] for j in range(count)])
        if similarity == "softmax":
            weights = products.exp() / products.exp().sum()
        else:
            lengths = correlation[b].norm(dim=0) * here.norm()
            weights = torch.where(lengths > 0, products / lengths, 0).clamp(min=0)
            total = weights.sum() if similarity == "cosine" else count
            weights = weights / total if total > 0 else weights
        out[b, :, i] = ((maps[b] * weights).sum(1) + maps[b, :, i]) / 2
    return out


@pytest.mark.parametrize("similarity", ["cosine", "softmax", "area"])
@pytest.mark.parametrize("seed", range(3))
def test_propagation_follows_equation_2(similarity, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(2, 3, 4, 5, generator=generator)
    correlation = torch.randn(2, 6, 4, 5, generator=generator)
    correlation[0, :, 1, 2] = 0
    result = propagate(maps, correlation, similarity)
    expected = slow_propagate(maps, correlation, similarity).reshape(maps.shape)
    torch.testing.assert_close(result.double(), expected, atol=1e-5, rtol=0)


@given(st.integers(0, 99), st.floats(0, 1))
@settings(deadline=None)
def test_propagation_keeps_flat_maps_and_bounds(seed, level):
    generator = torch.Generator().manual_seed(seed)
    correlation = torch.randn(1, 4, 3, 4, generator=generator)
    flat = torch.full((1, 2, 3, 4), level)
    torch.testing.assert_close(propagate(flat, correlation), flat)
    maps = torch.rand(1, 2, 3, 4, generator=generator)
    propagated = propagate(maps, correlation)
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    assert ((propagated >= low - 1e-6) & (propagated <= high + 1e-6)).all()


def test_the_printed_form_would_change_nothing():
    """With the M_i that Eq. 2 prints, the step returns its input; with M_j it does not."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(1, 1, 4, 4, generator=generator)
    correlation = torch.randn(1, 3, 4, 4, generator=generator)
    flat = F.normalize(correlation.flatten(2), dim=1)
    gram = (flat.mT @ flat).relu()
    values = maps.flatten(2)
    printed = ((gram.sum(1, keepdim=True) * values) / gram.sum(1, keepdim=True) + values) / 2
    torch.testing.assert_close(printed, values)
    assert (propagate(maps, correlation).flatten(2) - values).abs().max() > 0.05


@pytest.mark.parametrize("similarity", ["cosine", "softmax", "area"])
def test_padding_changes_no_map_inside(similarity):
    """Neither the content nor the size of the padding changes the maps inside."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(1, 2, 4, 6, generator=generator)
    correlation = torch.randn(1, 3, 4, 6, generator=generator)
    inside = torch.zeros(1, 1, 4, 6)
    inside[..., :4] = 1
    padded = propagate(maps * inside, correlation, similarity, inside)[..., :4]
    alone = propagate(maps[..., :4], correlation[..., :4], similarity)
    torch.testing.assert_close(padded, alone)
    other = torch.where(inside > 0, correlation, 9.0)
    again = propagate(maps * inside, other, similarity, inside)[..., :4]
    torch.testing.assert_close(again, alone)


def test_the_estimate_of_a_full_map_is_full_whatever_the_padding(batch_of):
    _, network = built()
    for valid in (1024, 512, 256):
        batch = batch_of([[1, 0, 0], [0, 1, 0]], valid=valid)
        stages = network.features(batch.images)
        inside = F.interpolate(batch.valid[:, None].float(), stages["c4"].shape[2:])
        extra = network.extras["psdpm"]
        estimate = extra.estimate(inside.expand(-1, 3, -1, -1), stages, batch.images, inside)
        torch.testing.assert_close(estimate * inside, inside.expand_as(estimate))


def stages_of(seed=0, side=32):
    generator = torch.Generator().manual_seed(seed)
    channels = dict(zip(STAGES, (5, 6, 7), strict=True))
    grids = dict(zip(STAGES, (side // 4, side // 8, side // 16), strict=True))
    return {
        name: torch.randn(2, c, grids[name], grids[name] + 1, generator=generator)
        for name, c in channels.items()
    }, torch.randn(2, 3, side, side + 4, generator=generator)


@pytest.mark.parametrize("position", ["4d", "2d", "none"])
def test_correlations_are_embedded_before_they_are_resized(position):
    """Expected is Eq. 1 as printed, in float64: concatenate at the stage's size, embed, resize."""
    torch.manual_seed(0)
    fpem = FPEM((5, 6, 7), PSDPMConfig(position=position, width=8)).double()
    stages, images = stages_of()
    stages, images = {k: v.double() for k, v in stages.items()}, images.double()
    for name in STAGES:
        height, width = stages[name].shape[2:]
        code = position_encoding(height, width).double()
        if position == "2d":
            code = code[[0, 2]] / code[[0, 2]].norm(dim=0)
        inputs = [code.expand(2, -1, -1, -1)] if position != "none" else []
        small = F.interpolate(images, (height, width), mode="bilinear", align_corners=False)
        embedded = fpem.embed[name](torch.cat([*inputs, stages[name], small], 1))
        expected = F.interpolate(embedded, stages["c4"].shape[2:], mode="bilinear")
        correlation = fpem.correlation(name, stages, images)
        torch.testing.assert_close(correlation, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("depth", range(4))
def test_the_cascade_begins_with_the_deepest_stage(depth):
    torch.manual_seed(0)
    fpem = FPEM((5, 6, 7), PSDPMConfig(depth=depth))
    assert list(fpem.embed) == ["c4", "c3", "c2"][:depth]
    stages, images = stages_of()
    maps = torch.rand(2, 3, *stages["c4"].shape[2:])
    expected = maps
    for name in ["c4", "c3", "c2"][:depth]:
        expected = propagate(expected, fpem.correlation(name, stages, images))
    torch.testing.assert_close(fpem(maps, stages, images, torch.ones_like(maps[:, :1])), expected)


@pytest.mark.parametrize(("depth", "weights"), [(1, [6]), (2, [3.6, 2.4]), (3, [3, 2, 1])])
def test_joined_steps_have_weights_of_one_sum(depth, weights):
    torch.manual_seed(0)
    fpem = FPEM((5, 6, 7), PSDPMConfig(depth=depth, join="weighted"))
    stages, images = stages_of()
    maps = torch.rand(2, 3, *stages["c4"].shape[2:])
    inside, expected, step = torch.ones_like(maps[:, :1]), torch.zeros_like(maps), maps
    for name, weight in zip(["c4", "c3", "c2"], weights, strict=False):
        step = propagate(step, fpem.correlation(name, stages, images))
        expected += weight / 5 * step
    torch.testing.assert_close(fpem(maps, stages, images, inside), expected)


def built(**options):
    torch.manual_seed(0)
    method = PSDPM(PSDPMConfig(**options))
    return method, method.network(3, build("small")).train()


def slow_released(fpem, maps, stages, images, inside):
    """Return (r1 + 2 r2 + 3 r3) / 5 by loops over pairs of positions, in float64.

    A stage's result is (M A) A + M with A the rectified cosine over the number of positions inside.
    """
    size, total = maps.shape[2:], torch.zeros_like(maps)
    for name, weight in (("c4", 3), ("c3", 2), ("c2", 1)):
        height, width = stages[name].shape[2:]
        grid = {"size": (height, width), "mode": "bilinear", "align_corners": True}
        y, x = torch.meshgrid(
            torch.arange(1.0, height + 1), torch.arange(1.0, width + 1), indexing="ij"
        )
        position = torch.stack([x, y]).double() / (x * x + y * y).sqrt()
        inputs = [position.expand(len(maps), -1, -1, -1), stages[name]]
        inputs.append(F.interpolate(images, **grid))
        embedded = fpem.embed[name](torch.cat(inputs, 1)).flatten(2)
        values = F.interpolate(maps, **grid).flatten(2)
        known = F.interpolate(inside, **grid).flatten(2) > 0
        result = torch.zeros_like(values)
        for b in range(len(maps)):
            count = height * width
            affinity = torch.zeros(count, count, dtype=torch.float64)
            units = [column / column.norm() for column in embedded[b].T]
            for i, j in itertools.product(range(count), range(count)):
                if known[b, 0, i] and known[b, 0, j]:
                    cosine = units[i] @ units[j]
                    affinity[i, j] = cosine.clamp(min=0) / known[b, 0].sum()
            result[b] = values[b] @ affinity @ affinity + values[b]
        result = result.reshape(*maps.shape[:2], height, width)
        maps = F.interpolate(result, size, mode="bilinear", align_corners=True)
        total = total + weight * maps
    return total / 5


@pytest.mark.parametrize("planes", [3, 4])
def test_the_form_released_for_coco_equals_its_loops(planes):
    torch.manual_seed(0)
    settings = PSDPM.presets["release-coco"].settings
    fpem = FPEM((5, 6, 7), settings).double()
    stages, images = stages_of()
    stages, images = {k: v.double() for k, v in stages.items()}, images.double()
    height, width = stages["c4"].shape[2:]
    maps = torch.rand(2, planes, height, width, dtype=torch.float64)
    inside = torch.ones(2, 1, height, width, dtype=torch.float64)
    inside[1, :, :, -1] = 0
    expected = slow_released(fpem, maps * inside, stages, images, inside)
    result = fpem(maps * inside, stages, images, inside)
    torch.testing.assert_close(result, expected, atol=1e-8, rtol=1e-7)


@pytest.mark.parametrize("residual", ["mean", "sum"])
@pytest.mark.parametrize("applications", [1, 2])
@pytest.mark.parametrize("similarity", ["cosine", "softmax", "area"])
def test_each_form_of_a_step_equals_matrix_products(residual, applications, similarity):
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(1, 2, 3, 4, generator=generator, dtype=torch.float64)
    correlation = torch.randn(1, 5, 3, 4, generator=generator, dtype=torch.float64)
    options = {"residual": residual, "applications": applications, "similarity": similarity}
    fpem = FPEM((5, 6, 7), PSDPMConfig(**options))
    flat, values = correlation[0].flatten(1), maps[0].flatten(1)
    cosine = (flat / flat.norm(dim=0)).T @ (flat / flat.norm(dim=0))
    affinity = {
        "cosine": cosine.relu() / cosine.relu().sum(0),
        "area": cosine.relu() / 12,
        "softmax": (flat.T @ flat).softmax(0),
    }[similarity]
    spread = values @ affinity if applications == 1 else values @ affinity @ affinity
    expected = (spread + values) / 2 if residual == "mean" else spread + values
    result = fpem.step(maps, correlation, torch.ones_like(maps[:, :1]))
    torch.testing.assert_close(result[0].flatten(1), expected)


def slow_losses(method, network, batch):
    """Return the losses of Eqs. 3 to 6 by loops over images and classes, in float64."""
    s, extra = method.settings, network.extras["psdpm"]
    stages = network.features(batch.images)
    scores, features = network.head(stages["c4"]), extra.project(stages)
    inside = F.interpolate(batch.valid[:, None].double(), scores.shape[2:], mode="bilinear")
    given = F.interpolate(batch.probabilities, scores.shape[2:], mode="bilinear")
    planes, labels = normalize(scores), batch.labels
    planes = torch.cat([1 - planes.amax(1, keepdim=True), planes], 1)
    labels = torch.cat([torch.ones_like(labels[:, :1]), labels], 1)
    raw, maps, start = (torch.zeros_like(planes) for _ in range(3))
    for b, n in itertools.product(range(len(scores)), range(4)):
        if not labels[b, n]:
            continue
        weight = planes[b, n] * inside[b, 0]
        total = weight.sum()
        prototype = (features[b] * weight).sum((1, 2)) / (total if total > 0 else 1)
        lengths = features[b].norm(dim=0) * prototype.norm()
        cosine = torch.einsum("dhw,d->hw", features[b], prototype) / lengths
        raw[b, n] = torch.where(lengths > 0, cosine, 0).clamp(min=0)
        maps[b, n] = raw[b, n] * inside[b, 0]
        both = {"both": (given[b, n] + maps[b, n]) / 2, "segmenter": given[b, n]}
        start[b, n] = both.get(s.source, maps[b, n])
    first = 0 if s.background == "loss" else 1
    maps, start, labels = maps[:, first:], start[:, first:], labels[:, first:]
    estimate = extra.estimate(start, stages, batch.images, inside) * inside
    counted = inside * (labels[:, :, None, None] if s.average == "present" else 1)
    counted = counted.expand_as(maps)
    compared = maps / (maps.amax((2, 3), keepdim=True) + 1e-5) if s.scaled else maps
    logits = (scores + s.score * raw[:, 1:]).mean((2, 3)) / (1 + s.score)
    return {
        "classification": F.multilabel_soft_margin_loss(logits, batch.labels),
        "consistency": s.weight * ((estimate - compared).abs() * counted).sum() / counted.sum(),
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"source": "segmenter", "depth": 0},
        {"source": "prototype", "similarity": "area", "average": "all", "weight": 3.2},
        {"similarity": "softmax", "position": "2d", "colour": False, "width": 4},
        {"background": "loss", "score": 0.5, "scaled": True},
        {"background": "loss", "average": "all", "residual": "sum", "grid": "own"},
        {"background": "maps", "join": "weighted", "applications": 2, "half_scale": True},
        "release-coco",
    ],
)
def test_the_losses_follow_equations_3_to_6(options, batch_of):
    if isinstance(options, str):
        options = vars(PSDPM.presets[options].settings)
    method, network = built(**options)
    network.double().eval()
    batch = batch_of([[1, 0, 1], [0, 1, 0]], valid=700)
    batch = type(batch)(
        **{k: v.double() if v.is_floating_point() else v for k, v in vars(batch).items()}
    )
    losses = method.losses(network, batch, 0.5)
    expected = slow_losses(method, network, batch)
    if method.settings.half_scale:
        options = {"mode": "bilinear", "align_corners": True}
        images = F.interpolate(batch.images, scale_factor=0.5, **options)
        half = replace(batch, images=images, valid=batch.valid[:, ::2, ::2])
        smaller = slow_losses(method, network, half)
        expected = {name: value + smaller[name] for name, value in expected.items()}
    assert set(losses) == set(expected)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name], atol=1e-9, rtol=1e-7)
        assert loss > 0


def test_a_background_of_its_own_is_the_first_plane():
    images, labels = torch.randn(2, 3, 32, 32), torch.ones(2, 3)
    method, network = built(background="maps")
    plain, _ = built()
    with torch.inference_mode():
        maps = method.localize(network.eval(), images, labels)
        torch.testing.assert_close(maps[:, 1:], plain.localize(network, images, labels))
    assert method.own_background
    assert not plain.own_background
    assert maps.shape[1] == 4
    assert maps[:, 0].max() > 0


@pytest.mark.parametrize(
    ("detach", "embedded"), [("inside", True), ("result", False), ("nowhere", True)]
)
def test_the_gradient_stops_where_the_options_say(detach, embedded, batch_of):
    method, network = built(detach=detach)
    method.losses(network, batch_of([[1, 1, 0], [0, 1, 0]]), 0.5)["consistency"].backward()
    extra = network.extras["psdpm"]
    learnt = [p.grad is not None and bool(p.grad.any()) for p in extra.estimate.parameters()]
    assert learnt == [embedded] * 3
    assert all(p.requires_grad == embedded for p in extra.estimate.parameters())
    assert all(bool(p.grad.any()) for p in extra.project.parameters())
    assert bool(network.head.weight.grad.any())
    assert bool(next(network.backbone.blocks("c4")[0].parameters()).grad.any())


def test_the_prototype_map_inside_the_estimate_is_a_constant(batch_of):
    """With `inside`, the gradient is that of a loss whose map inside the estimate is a constant."""
    batch = batch_of([[1, 0, 0], [0, 1, 1]])
    method, network = built()
    method.losses(network, batch, 0.5)["consistency"].backward()
    gradient = network.extras["psdpm"].project.convs[0].weight.grad.clone()
    network.zero_grad()
    extra, present = network.extras["psdpm"], batch.labels[:, :, None, None]
    stages = network.features(batch.images)
    scores = network.head(stages["c4"])
    maps = method._prototype_maps(extra.project(stages), scores, present)
    given = F.interpolate(batch.probabilities[:, 1:], scores.shape[2:], mode="bilinear") * present
    start = (given + torch.from_numpy(maps.detach().numpy().copy())) / 2 * present
    estimate = extra.estimate(start, stages, batch.images, torch.ones_like(scores[:, :1]))
    counted = present.expand_as(maps)
    (((estimate - maps).abs() * counted).sum() / counted.sum()).backward()
    torch.testing.assert_close(extra.project.convs[0].weight.grad, gradient, atol=1e-7, rtol=1e-4)


def test_an_fpem_without_inputs_is_refused():
    with pytest.raises(InputError, match="FPEM has no input"):
        PSDPMConfig(position="none", features=False, colour=False)
    PSDPMConfig(position="none", features=False, colour=False, depth=0)


def test_training_without_probabilities_fails(batch_of):
    method, network = built()
    batch = batch_of([[1, 0, 0]])
    bare = type(batch)(images=batch.images, labels=batch.labels, valid=batch.valid)
    with pytest.raises(AssertionError, match="segmenter"):
        method.losses(network, bare, 0.5)


def test_the_code_for_voc_learns_the_background_at_two_scales():
    made = build_experiment("psdpm", preset="release-voc", baseline="cam")
    s, boundaries = made.settings["psdpm"], made.refine.training
    assert (s.background, s.half_scale, s.source, s.depth) == ("loss", True, "segmenter", 0)
    assert (s.weight, boundaries.rescale) == (2.0, (0.5, 1.0))
