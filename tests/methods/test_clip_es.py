"""Tests of CLIP-ES: each formula against a slow reference in float64, and its texts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from wsss.methods.clip_es import (
    CLIPES,
    COCO_BACKGROUND,
    VOC_BACKGROUND,
    CLIPESConfig,
    affinity,
    box_mask,
    min_max,
    softmax_gradcam,
    spread,
)
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.models.clip import checkpoint

VOC = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
]  # fmt: skip
SCALE, PRESENT, GRID = 20.0, 2, (4, 5)
few_examples = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def visual(clip_file):
    network = checkpoint.build(checkpoint.read_checkpoint(clip_file), clip_file)
    return network.visual.double()


@pytest.fixture(scope="module")
def tokens():
    size = (1 + math.prod(GRID), 128)
    return torch.randn(size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.fixture(scope="module")
def texts():
    rows = torch.randn(PRESENT + 3, 32, generator=torch.Generator().manual_seed(4)).double()
    return F.normalize(rows, dim=1)


def slow_logits(visual, tokens, normed, texts):
    """Return the logits of an image with the attention of the last block written out.

    `normed` reaches the logits through the attention alone.
    """
    block = visual.transformer.resblocks[-1]
    attention, width = block.attn, tokens.shape[1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query, key, value = (
        normed @ weight[k : k + width].T + bias[k : k + width] for k in (0, width, 2 * width)
    )
    heads = []
    for columns in torch.arange(width).chunk(attention.num_heads):
        scores = query[:, columns] @ key[:, columns].T / math.sqrt(len(columns))
        shares = scores.exp() / scores.exp().sum(1, keepdim=True)
        heads.append(shares @ value[:, columns])
    x = tokens + attention.out_proj(torch.cat(heads, 1))
    x = x + block.mlp(block.ln_2(x))
    embedding = visual.ln_post(x)[1:].mean(0) @ visual.proj
    return SCALE * texts @ (embedding / embedding.norm())


def test_the_gradient_is_that_of_finite_differences(visual, tokens, texts):
    """G3.1: the mean gradient of a channel is the slope along all of its patches together."""
    block, step = visual.transformer.resblocks[-1], 1e-5
    normed = block.ln_1(tokens)
    weights = torch.zeros(PRESENT, tokens.shape[1], dtype=torch.float64)
    for channel in range(tokens.shape[1]):
        moved = torch.zeros_like(normed)
        moved[1:, channel] = step
        above, below = (
            slow_logits(visual, tokens, normed + sign * moved, texts).log_softmax(0)[:PRESENT]
            for sign in (1, -1)
        )
        weights[:, channel] = (above - below) / (2 * step) / (len(tokens) - 1)
    expected = (weights @ normed[1:].T).clamp(min=0)
    maps = softmax_gradcam(visual, tokens, texts, SCALE, PRESENT)
    assert maps.max() > 0
    torch.testing.assert_close(maps, expected, atol=1e-6 * float(expected.max()), rtol=0)


def test_the_gradient_is_that_of_a_hook_on_the_whole_block(visual, tokens, texts):
    """The stock block uses the result of its first normalisation in its attention alone."""
    block = visual.transformer.resblocks[-1]
    held = []

    def keep(module, arguments, output):
        output.requires_grad_().retain_grad()
        held.append(output)
        return output

    handle = block.ln_1.register_forward_hook(keep)
    out = block(tokens[None])
    handle.remove()
    embedding = F.normalize(visual.ln_post(out)[0, 1:].mean(0) @ visual.proj, dim=0)
    scores = (SCALE * texts @ embedding).log_softmax(0)
    scores[0].backward()
    channel_weights = held[0].grad[0, 1:].mean(0)
    expected = (held[0].detach()[0, 1:] @ channel_weights).clamp(min=0)
    maps = softmax_gradcam(visual, tokens, texts, SCALE, PRESENT)
    torch.testing.assert_close(maps[0], expected, atol=1e-12, rtol=1e-9)


def test_probability_and_its_logarithm_give_one_normalised_map(visual, tokens, texts):
    """G3.2: the gradient of a probability is p_k (ds_k - sum_j p_j ds_j)."""
    normed = visual.transformer.resblocks[-1].ln_1(tokens).requires_grad_()
    logits = slow_logits(visual, tokens, normed, texts)
    by_logit = torch.stack(
        [torch.autograd.grad(logit, normed, retain_graph=True)[0] for logit in logits]
    )
    shares = logits.softmax(0)
    for k in range(PRESENT):
        gradient = torch.autograd.grad(shares[k], normed, retain_graph=True)[0]
        mean = torch.einsum("j,jtd->td", shares.detach(), by_logit)
        torch.testing.assert_close(gradient, shares[k].detach() * (by_logit[k] - mean))
        plane = (normed.detach()[1:] @ gradient[1:].mean(0)).clamp(min=0).reshape(1, *GRID)
        maps = softmax_gradcam(visual, tokens, texts, SCALE, PRESENT)[k].reshape(1, *GRID)
        # The constant in the denominator counts more where a probability is small.
        torch.testing.assert_close(min_max(1e6 * maps), min_max(1e9 * plane), atol=1e-9, rtol=0)


def test_a_class_without_any_other_text_has_no_map(visual, tokens, texts):
    """Its probability is 1 whatever the image shows; so backgrounds must be given."""
    assert softmax_gradcam(visual, tokens, texts[:1], SCALE, 1).abs().max() < 1e-12
    with pytest.raises(InputError, match="background is empty"):
        CLIPESConfig(background=())


def attention_of(seed):
    size = math.prod(GRID)
    logits = 3 * torch.randn(size, size, generator=torch.Generator().manual_seed(seed)).double()
    return logits.softmax(1)


def slow_affinity(attention, rounds):
    rows = attention.tolist()
    size = len(rows)
    for _ in range(rounds):
        sums = [sum(rows[i][j] for i in range(size)) for j in range(size)]
        rows = [[rows[i][j] / sums[j] for j in range(size)] for i in range(size)]
        rows = [[value / sum(row) for value in row] for row in rows]
    return torch.tensor([[(rows[i][j] + rows[j][i]) / 2 for j in range(size)] for i in range(size)])


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_affinity_equals_loops(rounds):
    attention = attention_of(0)
    expected = slow_affinity(attention, rounds).double()
    torch.testing.assert_close(affinity(attention, rounds), expected, atol=1e-7, rtol=1e-6)


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
@few_examples
def test_the_affinity_is_symmetric_and_ignores_a_factor(seed, factor):
    """G3.3: rows of the last round add up to one, so all values add up to their number; after many
    rounds each row does."""
    attention = attention_of(seed)
    result = affinity(attention, 3)
    assert torch.equal(result, result.T)
    torch.testing.assert_close(affinity(factor * attention, 3), result)
    torch.testing.assert_close(result.sum().item(), float(len(result)))
    exact = affinity(attention, 500)
    torch.testing.assert_close(exact.sum(1), torch.ones(len(result)).double(), atol=1e-4, rtol=0)


def test_maps_are_spread_from_masked_sources():
    """G3.4: the refined map equals three loops; the mask acts on sources, not on targets."""
    s, size = affinity(attention_of(1), 3), math.prod(GRID)
    maps = torch.rand(2, *GRID, generator=torch.Generator().manual_seed(5)).double()
    masks = torch.zeros(2, *GRID, dtype=torch.bool)
    masks[0, 1:3, :2] = masks[1, 0, 3:] = True
    expected = torch.zeros(2, size, dtype=torch.float64)
    for k in range(2):
        values, mask = maps[k].flatten(), masks[k].flatten()
        for i in range(size):
            for m in range(size):
                for j in range(size):
                    expected[k, i] += s[i, m] * s[m, j] * values[j] * mask[j]
    result = spread(s, maps, masks)
    torch.testing.assert_close(result.flatten(1), expected)
    by_columns = torch.stack(
        [
            (s @ s * mask.flatten()) @ plane.flatten()
            for mask, plane in zip(masks, maps, strict=True)
        ]
    )
    torch.testing.assert_close(result.flatten(1), by_columns)
    on_targets = torch.stack(
        [(s @ s @ p.flatten()) * m.flatten() for m, p in zip(masks, maps, strict=True)]
    )
    assert (result.flatten(1) - on_targets).abs().max() > 0.01


def slow_box_mask(plane, threshold, edge):
    """Return boxes around 8-connected components, by flood fill."""
    height, width = plane.shape
    steps = [[math.floor(255 * value) for value in row] for row in plane.tolist()]
    bound = math.floor(threshold * max(map(max, steps)))
    left = {(y, x) for y in range(height) for x in range(width) if steps[y][x] > bound}
    mask = torch.zeros(height, width, dtype=torch.bool)
    while left:
        component, edges = set(), [left.pop()]
        while edges:
            y, x = edges.pop()
            component.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edges += near
        ys, xs = ([p[k] for p in component] for k in (0, 1))
        for y in range(min(ys), max(ys) + 1):
            for x in range(min(xs), max(xs) + 1):
                mask[y, x] = edge == "inclusive" or (y < height - 1 and x < width - 1)
    return mask


@given(
    st.integers(0, 100_000),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.4, 0.7, 1.0]),
    st.sampled_from(["release", "inclusive"]),
)
@few_examples
def test_boxes_equal_a_flood_fill(seed, height, width, threshold, edge):
    """G3.5."""
    plane = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) ** 3
    result = box_mask(plane, threshold, edge)
    assert torch.equal(result, slow_box_mask(plane, threshold, edge))


def test_the_last_row_and_column_belong_to_no_box_of_the_release():
    plane = torch.zeros(4, 5)
    plane[3, 4] = 1
    assert not box_mask(plane, 0.4, "release").any()
    assert box_mask(plane, 0.4, "inclusive").nonzero().tolist() == [[3, 4]]


@pytest.mark.parametrize("edge", ["release", "inclusive"])
def test_a_map_of_zeros_stays_zero(edge):
    method = CLIPES(CLIPESConfig(box_edge=edge))
    maps = method.refine(attention_of(2), torch.zeros(1, *GRID).double())
    assert torch.equal(maps, torch.zeros_like(maps))


@pytest.mark.parametrize("edge", ["release", "inclusive"])
def test_refined_maps_are_the_steps_in_a_row(edge):
    attention, maps = attention_of(6), 7 * torch.rand(2, *GRID).double()
    method = CLIPES(CLIPESConfig(box_edge=edge, box_threshold=0.7, rounds=2))
    units = min_max(maps)
    masks = torch.stack([slow_box_mask(plane, 0.7, edge) for plane in units])
    s = slow_affinity(attention, 2).double()
    planes = ((units * masks).flatten(1) @ s @ s).reshape(maps.shape)
    expected = planes - planes.amin((1, 2), keepdim=True)
    expected /= expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(method.refine(1e3 * attention, maps), expected, atol=1e-5, rtol=0)
    assert 0 <= method.refine(attention, maps).min() <= method.refine(attention, maps).max() < 1


def test_texts_are_those_of_the_authors_code():
    sentences = [one for (one,) in CLIPES(CLIPESConfig()).texts(VOC)]
    assert len(sentences) == 45
    assert sentences[:3] == [
        "a clean origami aeroplane.", "a clean origami bicycle.", "a clean origami bird avian.",
    ]  # fmt: skip
    assert sentences[14] == "a clean origami person with clothes,people,human."
    assert sentences[20] == "a clean origami ground."
    assert len(COCO_BACKGROUND) == 23
    assert set(VOC_BACKGROUND) - set(COCO_BACKGROUND) == {"keyboard", "sign"}


def test_texts_follow_the_options():
    config = CLIPESConfig(
        templates=("a {}.", "my {}!"), names=("cow=cattle=cows",), background=("sky", "cow")
    )
    assert CLIPES(config).texts(("cow", "bird")) == [
        ["a cattle=cows.", "my cattle=cows!"],
        ["a bird avian.", "my bird avian!"],
        ["a sky.", "my sky!"],
    ]
    plain = CLIPESConfig(synonyms=False, background=("sky",))
    assert CLIPES(plain).texts(("bird",))[0] == ["a clean origami bird."]
    with pytest.raises(InputError, match="the class 'cat'; the data set has cow, dog"):
        CLIPES(CLIPESConfig(names=("cat=kitten",))).texts(("cow", "dog"))


@pytest.mark.parametrize("value", [("a photo",), ("{} and {}",), ()])
def test_a_template_without_a_place_for_the_text_is_refused(value):
    with pytest.raises(InputError, match="templates"):
        CLIPESConfig(templates=value)


@pytest.mark.parametrize("value", ["cat", "cat=", "=cat"])
def test_a_name_is_a_class_and_its_text(value):
    with pytest.raises(InputError, match="write CLASS=TEXT"):
        CLIPESConfig(names=(value,))


def test_presets_differ_as_paper_and_code_do():
    options = {
        name: build_experiment("clip-es", preset=name).settings["clip-es"]
        for name in CLIPES.presets
    }
    assert options["default"] == options["release"]
    assert options["paper"].box_edge == "inclusive"
    for name in ("paper", "release"):
        assert (options[name].box_threshold, len(options[name].background)) == (0.4, 25)
        coco = options[f"{name}-coco"]
        assert (coco.box_threshold, len(coco.background)) == (0.7, 23)
        assert coco.box_edge == options[name].box_edge
