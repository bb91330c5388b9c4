"""The search for a network's parameters in the content of a weight file.

Training code wraps weights in dicts (`model`, `state_dict`, `teacher`) and puts prefixes before
names (`module.`, `backbone.`, `module.encoder_q.`). No list of these words is needed: the network's
own names say where its weights lie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .spellings import Spelling

DEPTH = 6
"""Largest number of dicts inside of each other that are searched."""
HEADS = frozenset(
    {
        *("avgpool", "classifier", "cls_head", "fc", "fc6", "fc7", "fc8", "head", "head_dist"),
        *("heads", "last_linear", "linear", "linear1000_bias", "linear1000_weight", "logits"),
        "mlp",
        *("predictor", "projection", "projection_head", "projector", "prototypes", "queue"),
        "queue_ptr",
    }
)
"""First words of names of tensors that belong to a head, which is not loaded."""
PREFERRED = (("encoder_q", "encoder_k"), ("base_encoder", "momentum_encoder"))
"""Words of MoCo's names: the network that is published for use, and its moving average."""
DERIVED = ("num_batches_tracked", "relative_position_index", "attn_mask")
"""Ends of the names of counters and indices, which a file may lack: networks make them anew."""


@dataclass(frozen=True)
class Group:
    """The tensors of one dict in a weight file, by name, with the keys that lead to the dict."""

    keys: tuple[str, ...]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One place in a weight file that holds parameters of a network.

    Attributes:
        group: tensors among which the parameters are.
        prefix: what precedes the names.
        spelling: names of the parameters.
        used: name in the file of each parameter that is there, by the network's own name.
        missing: parameters that are not there.
        misshapen: parameters that are there in another shape.
        unknown: names in the file of tensors with the prefix that the network lacks.
    """

    group: Group
    prefix: str
    spelling: Spelling
    used: Mapping[str, str]
    missing: Sequence[str]
    misshapen: Sequence[str]
    unknown: Sequence[str]

    @property
    def complete(self) -> bool:
        return not (self.missing or self.misshapen or self.unknown)

    @property
    def address(self) -> str:
        """The keys and the prefix, joined by dots; empty if the file holds plain names."""
        return ".".join([*self.group.keys, *self.prefix.split(".")]).strip(".")

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are there, by the network's own names."""
        return {own: self.group.tensors[name] for own, name in self.used.items()}

    @property
    def unused(self) -> list[str]:
        """The names of tensors beside the parameters."""
        used = set(self.used.values())
        return [name for name in self.group.tensors if name not in used]


def groups(content: Any) -> list[Group]:
    """Return the groups of tensors in the content of a weight file, outer dicts first."""
    seen: set[int] = set()

    def search(value: Any, keys: tuple[str, ...]) -> Iterator[Group]:
        if not isinstance(value, Mapping) or id(value) in seen or len(keys) > DEPTH:
            return
        seen.add(id(value))
        tensors = {
            str(name): tensor
            for name, inner in value.items()
            if (tensor := _as_tensor(inner)) is not None
        }
        if tensors:
            yield Group(keys, tensors)
        for name, inner in value.items():
            yield from search(inner, (*keys, str(name)))

    return list(search(content, ()))


def _as_tensor(value: Any) -> Tensor | None:
    """Return a tensor or an array as a tensor; None for other values and sparse tensors."""
    if isinstance(value, np.ndarray):
        if not value.ndim or value.dtype.itemsize > 8:  # torch has no number of 16 bytes
            return None
        native = value.astype(value.dtype.newbyteorder("="))
        return torch.from_numpy(np.ascontiguousarray(native))
    if type(value) not in (Tensor, torch.nn.Parameter) or value.device.type != "cpu":
        return None
    return None if value.layout != torch.strided or value.is_quantized else value.detach()


def fits(
    content: Sequence[Group], spelling: Spelling, shapes: Mapping[str, torch.Size]
) -> list[Fit]:
    """Return each place in a weight file that holds parameters, complete or not.

    Args:
        content: the groups of tensors of the file.
        spelling: names of the parameters.
        shapes: shape of each parameter, by the network's own name.
    """
    return [
        _fit(group, prefix, spelling, shapes)
        for group in content
        for prefix in _prefixes(group.tensors, spelling.names)
    ]


def _prefixes(names: Mapping[str, Tensor], known: Mapping[str, str]) -> list[str]:
    """Return what precedes known names, the most frequent prefix first."""
    counts: Counter[str] = Counter()
    for name in names:
        start = 0
        while True:
            if name[start:] in known:
                counts[name[:start]] += 1
            start = name.find(".", start) + 1
            if not start:
                break
    return [prefix for prefix, _ in counts.most_common()]


def _fit(group: Group, prefix: str, spelling: Spelling, shapes: Mapping[str, torch.Size]) -> Fit:
    used, unknown = {}, []
    for name in group.tensors:
        if not name.startswith(prefix):
            continue
        short = name.removeprefix(prefix)
        if short in spelling.names:
            used[spelling.names[short]] = name
        elif short.partition(".")[0] not in HEADS and not short.endswith(DERIVED):
            unknown.append(name)
    misshapen = [own for own in used if group.tensors[used[own]].shape != shapes[own]]
    for own in misshapen:
        if own.endswith(DERIVED):
            del used[own]
    return Fit(
        group=group,
        prefix=prefix,
        spelling=spelling,
        used=used,
        missing=[own for own in shapes if own not in used and not own.endswith(DERIVED)],
        misshapen=[own for own in misshapen if own in used],
        unknown=unknown,
    )


def chosen(complete: Sequence[Fit], key: str) -> list[Fit]:
    """Return the fits among which a choice is left: one, unless the file holds several networks.

    Args:
        complete: fits that hold all parameters.
        key: address of the fit to take, or some words of it; empty if any may be taken.
    """
    exact = [fit for fit in complete if key and fit.address == key.strip(".")]
    left = exact or [fit for fit in complete if not key or _has(fit.address, key)]
    for first, second in () if key else PREFERRED:
        addresses = {fit.address for fit in left}
        left = [fit for fit in left if _with_other(fit, second, first) not in addresses]
    out: list[Fit] = []
    for fit in left:
        if not any(_equal(fit, earlier) for earlier in out):
            out.append(fit)
    return out


def key_of(fit: Fit, others: Sequence[Fit]) -> str:
    """Return the first word of the address of a fit that other fits lack, or the whole address."""
    for word in fit.address.split("."):
        if word and not any(_has(other.address, word) for other in others):
            return word
    return fit.address or "."


def _has(address: str, key: str) -> bool:
    """Return whether some words of an address, one after another, are a key."""
    return f".{key.strip('.')}." in f".{address}."


def _with_other(fit: Fit, word: str, instead: str) -> str | None:
    """Return the address of a fit with another word in it; None if it lacks the word."""
    words = fit.address.split(".")
    return ".".join(instead if w == word else w for w in words) if word in words else None


def _equal(one: Fit, other: Fit) -> bool:
    """Return whether two fits hold the same values."""
    first, second = one.tensors, other.tensors
    return all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name])
        for name in first.keys() & second.keys()
    )
