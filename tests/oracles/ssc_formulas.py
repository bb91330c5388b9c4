"""SSC's losses in slow float64, from a description of the authors' code, with plain numpy.

The loss network, VGG-19, is given as torch layers in float64.
Shapes: N foreground classes, D channels, H W pixels, h w grid.
"""

from __future__ import annotations

import numpy as np
import torch
from formulas import EPS, nearest, normalized, resized

TAPS = (1, 6, 11, 20, 29)
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)


def conv3(x, weight, bias=None, mode="constant"):
    """Convolve `[D,h,w]` with a 3x3 kernel `[O,D,3,3]` at stride 1."""
    height, width = x.shape[1:]
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode=mode)
    out = np.zeros((len(weight), height, width))
    for dy in range(3):
        for dx in range(3):
            part = x[:, dy : dy + height, dx : dx + width]
            out += np.einsum("od,dhw->ohw", weight[:, :, dy, dx], part, optimize=True)
    return out if bias is None else out + bias[:, None, None]


def doubled(x, weight):
    """Return the transposed convolution `[O,2h,2w]` of `[D,h,w]` with a kernel `[D,O,4,4]`."""
    height, width = x.shape[1:]
    out = np.zeros((weight.shape[1], 2 * height + 2, 2 * width + 2))
    for dy in range(4):
        for dx in range(4):
            part = np.einsum("do,dhw->ohw", weight[:, :, dy, dx], x, optimize=True)
            out[:, dy : dy + 2 * height : 2, dx : dx + 2 * width : 2] += part
    return out[:, 1:-1, 1:-1]


def layer_norm(x, scale, shift):
    x = (x - x.mean()) / (x.std(ddof=1) + EPS)
    return x * scale[:, None, None] + shift[:, None, None]


def instance_norm(x):
    variance = x.var((1, 2), keepdims=True)
    return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(variance + EPS)


def rectified(x):
    return np.maximum(x, 0)


def reconstructed(scores, weights):
    """Return the picture `[3,16h,16w]` that the decoder of Table I makes of raw class maps.

    Args:
        scores: `[N,h,w]`.
        weights: all weights, in the order of the table.
    """
    w = iter(weights)
    x = rectified(layer_norm(conv3(scores, next(w), mode="reflect"), next(w), next(w)))
    inner = rectified(layer_norm(conv3(x, next(w), next(w)), next(w), next(w)))
    x = x + layer_norm(conv3(inner, next(w), next(w)), next(w), next(w))
    for _ in range(4):
        x = rectified(instance_norm(doubled(x, next(w))))
        x = rectified(layer_norm(conv3(x, next(w), next(w)), next(w), next(w)))
    out = np.tanh(conv3(x, next(w), next(w)))
    assert next(w, None) is None
    return out


def perceptual(vgg, pictures, images):
    """Return the weighted distance of the features of pictures and images `[B,3,H,W]`."""
    total = 0.0
    x, y = (torch.from_numpy(np.ascontiguousarray(v)) for v in (pictures, images))
    with torch.no_grad():
        for number, layer in enumerate(vgg):
            x, y = layer(x), layer(y)
            if number in TAPS:
                total += SHARES[TAPS.index(number)] * float((x - y).abs().mean())
    return total


def region_means(plane, ids):
    """Return the mean of a plane over the superpixel of each position."""
    out = np.zeros_like(plane)
    for number in np.unique(ids):
        out[ids == number] = plane[ids == number].mean()
    return out


def eroded(mask, kernel=8):
    """Erode as OpenCV does: the window reaches from -4 to 3, and outside nothing erodes."""
    out = np.zeros(mask.shape, bool)
    for y in range(len(mask)):
        for x in range(mask.shape[1]):
            rows = slice(max(0, y - kernel // 2), y + kernel - kernel // 2)
            columns = slice(max(0, x - kernel // 2), x + kernel - kernel // 2)
            out[y, x] = mask[rows, columns].all()
    return out


def targets(scores, ids):
    """Return the activation and its target `[n,H/2,W/2]`, for raw maps `[n,h,w]`, ids `[H,W]`."""
    half = [n // 2 for n in ids.shape]
    small, raw = nearest(ids, *half), resized(scores, *half)
    activation = normalized(raw)
    regional = normalized(np.stack([region_means(plane, small) for plane in raw]))
    reliable = np.stack([a * eroded(a > 0.3) for a in activation])
    return activation, np.maximum(regional, reliable)
