"""The authors' code in slow float64: the formulas that IRN, LPCAM and SIPE compute.

They are written from descriptions of the authors' code, not from this project's code, and with
plain numpy. Only the backbone runs in torch, in float64, since its layers are torchvision's.
Shapes: N foreground classes, D channels, H W pixels, h w grid; labels are 0-based class numbers.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image

SCALES = (1.0, 0.5, 1.5, 2.0)
EPS = 1e-5
KNOWN = WeakKeyDictionary()
"""The stages that each backbone computed, by pixels and delta."""


def view(image, scale, mirrored):
    """Return an image `[H,W,3]` at one scale, normalised by ImageNet's statistics, `[3,h,w]`."""
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    pixels = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) / 255.0
    pixels = (pixels - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    return (pixels[:, ::-1] if mirrored else pixels).transpose(2, 0, 1)


def stages(backbone, pixels, delta=1.0):
    """Return the stages c1 to c4 of normalised pixels `[3,H,W]`, `[D,h,w]` each.

    With a delta below 1, the rectified blocks of c4 are suppressed, as SSC does at inference. What
    was computed before is remembered, because convolutions in float64 take most time of all.
    """
    known, key = KNOWN.setdefault(backbone, {}), (pixels.tobytes(), delta)
    if key not in known:
        known[key] = _stages(backbone, pixels, delta)
    return known[key]


def _stages(backbone, pixels, delta):
    out, x = [], torch.from_numpy(np.ascontiguousarray(pixels))[None]
    with torch.no_grad():
        for name in ("c1", "c2", "c3", "c4"):
            if name != "c4" or delta == 1:
                x = backbone.stage(name, x)
            else:
                for block in backbone.stage_modules("c4"):
                    x = block(x)
                    if block in backbone.rectified_blocks("c4"):
                        x = torch.from_numpy(suppressed(x.numpy(), delta))
            out.append(x[0].numpy())
    return out


def suppressed(x, delta):
    """Cut features `[1,D,h,w]` at a share of their channel's maximum (SSC)."""
    return np.minimum(x, delta * x.max((2, 3), keepdims=True))


def bilinear(source, target):
    """Return the matrix `[target,source]` that resizes a line (torch: align_corners=False)."""
    matrix = np.zeros((target, source))
    for row in range(target):
        place = max(0.0, (row + 0.5) * source / target - 0.5)
        low = min(int(place), source - 1)
        matrix[row, low] += 1 - (place - low)
        matrix[row, min(low + 1, source - 1)] += place - low
    return matrix


def resized(planes, height, width):
    """Resize planes `[N,h,w]` bilinearly."""
    rows, columns = bilinear(planes.shape[1], height), bilinear(planes.shape[2], width)
    return rows @ planes @ columns.T


def nearest(plane, height, width):
    """Resize a plane `[h,w]` to the nearest value (torch: rounded down)."""
    rows = np.arange(height) * plane.shape[0] // height
    columns = np.arange(width) * plane.shape[1] // width
    return plane[rows][:, columns]


def conv1(weight, x):
    return np.einsum("nd,dhw->nhw", weight, x)


def unit(x, eps=0.0):
    """Scale the channels `[D,...]` of each position to length one; zeros stay zero."""
    length = np.sqrt((x**2).sum(0)) + eps
    return x / np.where(length > 0, length, 1)


def normalized(maps):
    maps = np.maximum(maps, 0)
    return maps / (maps.max((1, 2), keepdims=True) + EPS)


def merged(planes, height, width, classes):
    """Return the maps of some classes at stride 4 and at image size, from those of each scale.

    The larger ones are computed on a grid that is rounded up to multiples of 16, and cropped.
    """
    small = sum(resized(p[classes], -(-height // 4), -(-width // 4)) for p in planes)
    sides = [-(-n // 16) * 16 for n in (height, width)]
    large = sum(resized(p[classes], *sides) for p in planes)[:, :height, :width]
    return normalized(small), normalized(large)


# CAM


def cam(backbone, head, image, labels, delta=1.0):
    """Return the class maps of an image (IRN's make_cam), see `merged`; SSC's with a delta."""
    planes = []
    for scale in SCALES:
        pair = [
            np.maximum(conv1(head, stages(backbone, view(image, scale, m), delta)[3]), 0)
            for m in (False, True)
        ]
        planes.append(pair[0] + pair[1][:, :, ::-1])
    return merged(planes, *image.shape[:2], labels)


# IRN


def seed(image, scores):
    """Return the label of each pixel after the DenseCRF of IRN, for scores `[L,H,W]`."""
    from pydensecrf import densecrf, utils

    count, height, width = scores.shape
    labels = scores.argmax(0)
    if count == 1:
        return labels
    field = densecrf.DenseCRF2D(width, height, count)
    field.setUnaryEnergy(utils.unary_from_labels(labels, count, gt_prob=0.7, zero_unsure=False))
    field.addPairwiseGaussian(sxy=3, compat=3)
    field.addPairwiseBilateral(sxy=50, srgb=5, rgbim=np.ascontiguousarray(image), compat=10)
    return np.array(field.inference(10)).argmax(0).reshape(height, width)


def certain(image, maps, labels, levels, own):
    """Return IRN's training labels: certain foreground, certain background, or 255.

    Args:
        image: uint8 `[H,W,3]`.
        maps: `[n,H,W]`; the background comes first if `own`.
        labels: the n classes, without the background.
        levels: scores of the background for the two seeds; if `own`, factors on its plane.
        own: whether the method computes a background (SIPE).
    """
    values = np.array([0, *(n + 1 for n in labels)])
    seeds = []
    for level in levels:
        ground = maps[0] * level if own else np.full(image.shape[:2], level)
        seeds.append(values[seed(image, np.stack([ground, *maps[int(own) :]]))])
    out = np.where((seeds[0] == 0) & (seeds[1] == 0), 0, 255)
    return np.where(seeds[0] > 0, seeds[0], out)


def group_norm(x, groups, scale, shift):
    parts = x.reshape(groups, -1)
    parts = (parts - parts.mean(1, keepdims=True)) / np.sqrt(parts.var(1, keepdims=True) + EPS)
    return parts.reshape(x.shape) * scale[:, None, None] + shift[:, None, None]


def boundary(backbone, taps, join, image):
    """Return IRN's boundaries `[h,w]` at stride 4, from the mean logits of image and mirror image.

    Args:
        backbone: stages at stride 4, 8, 16 and 16.
        taps: for each stage the weight of its convolution, and scale and shift of its groups.
        join: weight `[D]` and bias of the last convolution.
        image: uint8 `[H,W,3]`.
    """
    logits = []
    for mirrored in (False, True):
        grids = []
        each = stages(backbone, view(image, 1.0, mirrored))
        for x, factor, (weight, scale, shift) in zip(each, (1, 2, 4, 4), taps, strict=True):
            x = group_norm(conv1(weight, x), 4, scale, shift)
            height, width = each[0].shape[1:]
            x = resized(x, x.shape[1] * factor, x.shape[2] * factor)
            grids.append(np.maximum(x[:, :height, :width], 0))
        logits.append(conv1(join[0][None], np.concatenate(grids))[0] + join[1])
    return 1 / (1 + np.exp(-(logits[0] + logits[1][:, ::-1]) / 2))


def pairs(radius):
    """Yield each offset nearer than the radius in a half plane, with the points of its path."""
    for dy in range(radius):
        for dx in range(1 - radius, radius):
            if (dy == 0 and dx <= 0) or dy * dy + dx * dx >= radius * radius:
                continue
            path = [
                (y, x)
                for y in range(dy + 1)
                for x in range(min(0, dx), max(0, dx) + 1)
                if abs(dy * x - dx * y) / np.hypot(dy, dx) < 1
            ]
            yield (dy, dx), path


def walk(maps, edge, power=1.0, radius=5, beta=10, squarings=8):
    """Return class maps `[N,h,w]` after IRN's random walk; outside of the image, the edge is 1."""
    from scipy.sparse import coo_matrix

    height, width = edge.shape
    reach = radius - 1
    padded = np.pad(edge, ((0, reach), (reach, reach)), constant_values=1)
    number = np.arange(height * width).reshape(height, width)
    rows, columns, values = [number.ravel()], [number.ravel()], [np.ones(height * width)]
    for (dy, dx), path in pairs(radius):
        lines = [padded[y : y + height, reach + x : reach + x + width] for y, x in path]
        affinity = (1 - np.max(lines, 0)) ** beta
        for y in range(height - dy):
            inside = slice(max(0, -dx), width - max(0, dx))
            here, there = number[y, inside], number[y + dy, inside] + dx
            rows += [here, there]
            columns += [there, here]
            values += [affinity[y, inside], affinity[y, inside]]
    size = (height * width, height * width)
    entries = [np.concatenate(lists) for lists in (values, rows, columns)]
    matrix = coo_matrix((entries[0], (entries[1], entries[2])), shape=size).tocsr()
    matrix = matrix.multiply(1 / np.asarray(matrix.sum(0))).T.tocsr()  # columns sum to 1
    x = (maps**power * (1 - edge)).reshape(len(maps), -1).T
    if height * width <= 600:
        matrix = matrix.toarray()
        for _ in range(squarings):
            matrix = matrix @ matrix
        return (matrix @ x).T.reshape(maps.shape)
    for _ in range(2**squarings):
        x = matrix @ x
    return x.T.reshape(maps.shape)


def spread(walked, height, width):
    """Return propagated maps at image size, divided by the largest value of all classes."""
    large = resized(walked, 4 * walked.shape[1], 4 * walked.shape[2])[:, :height, :width]
    return large / large.max()


def final(maps, labels, level):
    """Return the labels after the walk; without a level the first map is the background."""
    scores = maps if level is None else np.stack([np.full(maps.shape[1:], level), *maps])
    return np.array([0, *(n + 1 for n in labels)])[scores.argmax(0)]


def boundary_loss(edges, labels, radius=10, interior=True):
    """Return IRN's loss of boundaries `[B,h,w]` and labels `[B,h,w]`, and the numbers of pairs.

    The authors take pairs only from positions from which no neighbour lies outside.
    """
    sums, counts = np.zeros(3), np.zeros(3)
    for edge, label in zip(edges, labels, strict=True):
        height, width = edge.shape
        reach = radius - 1
        for (dy, dx), path in pairs(radius):
            margin = reach if interior else 0
            first, last = max(margin, -dx), width - max(margin, dx)
            lines = height - (reach if interior else dy)
            if last <= first or lines <= 0:
                continue
            at = [edge[y : y + lines, first + x : last + x] for y, x in path]
            affinity = 1 - np.max(at, 0)
            here, there = label[:lines, first:last], label[dy : dy + lines, first + dx : last + dx]
            known = (here != 255) & (there != 255)
            same = known & (here == there)
            alike, unlike = -np.log(affinity + EPS), -np.log(1 + EPS - affinity)
            kinds = [(same & (here == 0), alike), (same & (here > 0), alike)]
            for kind, (chosen, term) in enumerate([*kinds, (known & (here != there), unlike)]):
                sums[kind] += term[chosen].sum()
                counts[kind] += chosen.sum()
    means = sums / np.maximum(counts, 1)
    return ((means[0] + means[1]) / 2 + means[2]) / 2, counts


# LPCAM


def features(backbone, image):
    """Return the raw features of an image at scale 1, `[D,h,w]`."""
    return stages(backbone, view(image, 1.0, False))[3]


def kmeans(rows, start):
    """Return the centres of rows `[R,D]` (kmeans-pytorch, cosine).

    A centre is the mean of raw rows; the end comes when the squared sum of movements is below 5.
    With a centre that lost its rows, the authors' library never ends; here, as in this project, it
    takes the row that fits its own centre worst, or is left out where all rows fit.
    """
    centers, directions = start, unit(rows.T).T
    for _ in range(100):
        cosines = directions @ unit(centers.T)
        near, fit = cosines.argmax(1), np.where(rows.any(1), cosines.max(1), 1)
        counts = np.bincount(near, minlength=len(centers))
        moved = np.stack(
            [rows[near == k].mean(0) if counts[k] else c for k, c in enumerate(centers)]
        )
        movement = np.sqrt(((moved - centers) ** 2).sum(1)).sum()
        centers = moved
        if not counts.all() and fit.min() < 1 - 1e-5:
            centers[counts.argmin()] = rows[fit.argmin()]
        elif movement**2 < 5:
            break
    return centers[counts > 0]


def prototypes(foreground, context, head, n, low=0.05, high=0.9, sure=0.9):
    """Return which centres of class n become prototypes; LPCAM's code for VOC."""

    def scores(centers):
        raw = np.exp(centers @ head.T - (centers @ head.T).max(1, keepdims=True))
        return (raw / raw.sum(1, keepdims=True))[:, n]

    passed, other = scores(foreground) > sure, scores(context)
    if not passed.any():  # the code for COCO; the code for VOC fails
        passed[scores(foreground).argmax()] = True
    return passed, (other > low) & (other < high)


def lpcam(backbone, chosen, image, labels):
    """Return the class maps of an image, see `merged`.

    Args:
        chosen: (foreground, context) prototypes `[P,D]` of each class.
    """
    planes = []
    for scale in SCALES:
        pair = [stages(backbone, view(image, scale, m))[3] for m in (False, True)]
        directions = unit(pair[0] + pair[1][:, :, ::-1])
        maps = []
        for n in labels:
            near, far = (np.einsum("pd,dhw->phw", unit(p.T).T, directions) for p in chosen[n])
            maps.append(np.maximum(near.mean(0) - far.mean(0), 0) if len(far) else near.mean(0))
        planes.append(np.stack(maps))
    return merged(planes, *image.shape[:2], list(range(len(labels))))


# SIPE


def joined(sides, each):
    """Return SIPE's hierarchical features `[768,h,w]` from its side convolutions."""
    size = each[3].shape[1:]
    return np.concatenate(
        [resized(unit(conv1(w, x), EPS), *size) for w, x in zip(sides, each, strict=True)]
    )


def with_background(scores):
    """Return background and class maps; the background regards all classes."""
    maps = normalized(scores)
    return np.concatenate([1 - maps.max(0, keepdims=True), maps])


def structure(x, maps):
    """Return SIPE's seeds, one-hot `[N+1,h,w]`, from features and maps."""
    flat, planes = unit(x).reshape(len(x), -1), maps.reshape(len(maps), -1)
    similar = np.maximum(flat.T @ flat, 0)
    shared = planes @ similar
    overlap = shared / (similar.sum(0) + planes.sum(1, keepdims=True) - shared)
    overlap[0] *= 0.5
    best = overlap.argmax(0)
    return (np.arange(len(maps))[:, None] == best).astype(float).reshape(maps.shape)


def specific(x, seeds):
    """Return IS-CAM `[N+1,h,w]`: rectified cosines to the mean features of the seeds."""
    means = np.einsum("nhw,dhw->nd", seeds, x) / seeds[0].size
    return np.maximum(np.einsum("nd,dhw->nhw", unit(means.T).T, unit(x)), 0)


def sipe(backbone, head, sides, image, labels):
    """Return the class maps of an image, background first, see `merged`."""
    present = [0, *(n + 1 for n in labels)]
    planes = []
    for scale in SCALES:
        both = [stages(backbone, view(image, scale, m)) for m in (False, True)]
        scores, x = (
            f(both[0]) + f(both[1])[:, :, ::-1]
            for f in (lambda each: conv1(head, each[3]), lambda each: joined(sides, each))
        )
        seeds = structure(x, with_background(scores))
        planes.append(specific(x, seeds)[present])
    return merged(planes, *image.shape[:2], list(range(len(present))))


def sipe_loss(backbone, head, sides, pixels, labels):
    """Return seeds, IS-CAM over its maximum, and the consistency of one crop without padding."""
    each = stages(backbone, pixels)
    present = np.array([1.0, *labels])[:, None, None]
    maps = with_background(conv1(head, each[3])) * present
    seeds = structure(each[3], maps)
    similar = normalized(specific(joined(sides, each), seeds))
    return seeds, similar, np.abs(maps - similar).mean()
