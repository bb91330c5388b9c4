"""Sentences on what is remarkable in the check of a data set, and why a data set is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...labels import VOID
from ..sources.record_files import TEST
from .counts import NAMED, Counts
from .dataset_check import DatasetCheck
from .duplicates import Duplicates
from .value_maps import LABELS_FROM_1, MEANINGS

LEAST_IMAGES = 3
"""Least number of images with labels and masks on which a data set is refused."""
ENOUGH_IMAGES = 10
"""Least number of such images where some of them have a pixel of one of their labels."""
REMARKABLE_VOID = 0.2
"""Share of void among the pixels of masks from which on it is remarkable; VOC has about 0.05."""
REMARKABLE_SIZE = 8
"""Number of times that the largest image has the pixels of the median one, from which on it is
remarkable."""
EXPLAINED, GAINED = 0.5, 0.25
"""Least share of images that a table of meant values explains, and its least lead over the values
as they are."""
CERTAIN = 0.9
"""Share of images that must disagree, and that a table must explain, to refuse a data set."""


def refusal(check: DatasetCheck) -> str:
    """Return one sentence on why a data set cannot be right, or an empty text.

    The data set, or a split of it, is refused where, in all of three or more images, the mask has
    no pixel of any label; or where at most one in ten images agrees, and either a table of
    `value_maps` explains nine in ten, or half of ten or more masks have no pixel of any label.
    """
    for where, counts in {"": check.whole, **check.splits}.items():
        if counts.comparable < LEAST_IMAGES:
            continue
        _, share = explanation(counts)
        few_agree = counts.agreeing <= (1 - CERTAIN) * counts.comparable
        disjoint = counts.disjoint >= counts.comparable / 2 and counts.comparable >= ENOUGH_IMAGES
        nothing = counts.disjoint == counts.comparable
        if nothing or (few_agree and (disjoint or share >= CERTAIN)):
            text = _disagreement(check.classes, counts)
            return f"{where}: {text}" if where else text
    return ""


def _disagreement(classes: Sequence[str], counts: Counts) -> str:
    """Return how many images disagree, with the class that is missing most often."""
    missing = counts.class_without_pixel
    worst = max(range(len(missing)), key=lambda k: missing[k])
    example = f"{_count(missing[worst], 'image')} labelled {classes[worst]!r} have no pixel of it"
    name, share = explanation(counts)
    if counts.disjoint == counts.comparable:
        text = f"the masks of all {counts.comparable} labelled images have no pixel of any label"
    else:
        differing = counts.comparable - counts.agreeing
        text = f"labels and masks disagree in {differing} of {counts.comparable} images"
    return f"{text} ({example}); {_reason(counts, name, share)}"


def _reason(counts: Counts, name: str, share: float) -> str:
    """Return what would explain that labels and masks disagree, and what to do."""
    void = f"{_percent(counts.share_of_pixels(VOID))} of the pixels"
    if counts.white and counts.white == counts.masked:
        text = f"the masks hold only 0 and 255, and 255, which is void, covers {void}: "
        several = counts.comparable - counts.explained.get("white", 0)
        if not several:
            return f"{text}say what 255 stands for, as in --mask-values 0=background 255=label"
        return (
            f"{text}as {_count(several, 'image')} of several labels cannot tell their classes "
            "apart, give masks with a value for each class"
        )
    if name and share >= CERTAIN:
        options = "say what the values stand for with --mask-values"
        advice = "say so with --label-base 1" if name == LABELS_FROM_1 else options
        return f"{_percent(share)} of the images would agree if {MEANINGS[name]}: {advice}"
    present = [str(value) for value, pixels in enumerate(counts.pixels) if pixels]
    values = ", ".join(present[:8]) + (", ..." if len(present) > 8 else "")
    return (
        f"the masks hold the values {values}, where 0 is background, 255 is void and a class is "
        "its number from 1: correct the labels, or say what the values stand for with --mask-values"
    )


def explanation(counts: Counts) -> tuple[str, float]:
    """Return the table of meant values that explains a disagreement, and its share of images.

    Returns:
        Name of a table in `MEANINGS`, or an empty text where none explains clearly more images
        than the values as they are; and the share, 0 to 1, of the images with labels and masks.
    """
    if not counts.comparable:
        return "", 0.0
    best = max(MEANINGS, key=lambda name: counts.explained.get(name, 0))
    share = counts.explained.get(best, 0) / counts.comparable
    clear = share >= EXPLAINED and share - counts.agreeing / counts.comparable >= GAINED
    return (best, share) if clear and counts.comparable >= LEAST_IMAGES else ("", 0.0)


def sentences(check: DatasetCheck) -> list[str]:
    """Return the findings, or a sentence that there is nothing to find or to compare."""
    out = findings(check)
    return out if out and check.whole.comparable else [*out, agreement(check)]


def findings(check: DatasetCheck) -> list[str]:
    """Return a sentence on each remarkable thing; none where all images are as they should be."""
    whole = check.whole
    unlabelled = [n == 0 for n in whole.labelled]
    out = [*_named("no image is labelled", check.classes, unlabelled)]
    for split, counts in check.splits.items():
        if counts.unlabelled and (split != TEST or any(counts.labelled)):
            images = _count(counts.images, "image")
            out.append(f"{split}: {counts.unlabelled} of {images} without a label")
        out += [f"{split}: {text}" for text in _agreement(counts)]
        out += [f"{split}: {text}" for text in _absent(check, counts)]
        out += [f"{split}: {text}" for text in _masks(counts)]
    out += map(_duplicate, check.duplicates)
    if whole.turned:
        ids = _ids(whole.first_turned, whole.turned)
        out.append(
            f"{_count(whole.turned, 'image')} with an EXIF orientation that is not applied: {ids}"
        )
    if check.sizes:
        (height, width), (high, wide) = check.sizes.largest, check.sizes.median
        if height * width >= REMARKABLE_SIZE * high * wide:
            out.append(
                f"image {check.sizes.largest_id} is {width}x{height} pixels, "
                f"{height * width / (high * wide):.0f} times the median ({wide}x{high})"
            )
    return out


def agreement(check: DatasetCheck) -> str:
    """Return a sentence on how many images have labels and masks that agree."""
    count = check.whole.comparable
    if not count:
        return "no image has both a label and a mask to compare"
    return f"labels and masks agree in all {_count(count, 'image')} that have both"


def sizes(check: DatasetCheck) -> str:
    """Return the sizes of the smallest, median and largest image; empty without images."""
    if check.sizes is None:
        return ""
    known = {
        "smallest": check.sizes.smallest,
        "median": check.sizes.median,
        "largest": check.sizes.largest,
    }
    texts = [f"{name} {width}x{height}" for name, (height, width) in known.items()]
    return f"{', '.join(texts)} ({check.sizes.largest_id}), pixels"


def _agreement(counts: Counts) -> Iterator[str]:
    """Yield sentences on images of a split whose labels and masks differ."""
    differing = counts.comparable - counts.agreeing
    if differing:
        yield (
            f"labels and masks differ in {differing} of {counts.comparable} images "
            f"({_percent(differing / counts.comparable)}): {counts.without_pixel} have a label "
            f"without a pixel, {counts.without_label} pixels without a label"
        )
    name, share = explanation(counts)
    if name:
        yield f"{_percent(share)} of these images would agree if {MEANINGS[name]}"
    if counts.unlabelled_shown:
        yield (
            f"{_count(counts.unlabelled_shown, 'image')} without a label have a mask with pixels "
            "of a class"
        )


def _absent(check: DatasetCheck, counts: Counts) -> Iterator[str]:
    """Yield sentences on the classes of a data set that a split lacks."""
    known = [n > 0 for n in check.whole.labelled]
    labelled = [n > 0 for n in counts.labelled]
    in_masks = [n > 0 for n in counts.shown]
    if any(labelled):
        absent = [k and not here for k, here in zip(known, labelled, strict=True)]
        yield from _named("no image is labelled", check.classes, absent)
    if counts.comparable:
        unseen = [here and not seen for here, seen in zip(labelled, in_masks, strict=True)]
        yield from _named("no mask has a pixel of", check.classes, unseen)


def _named(text: str, classes: Sequence[str], chosen: Sequence[bool]) -> Iterator[str]:
    names = [repr(name) for name, is_chosen in zip(classes, chosen, strict=True) if is_chosen]
    if names:
        rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield f"{text} {', '.join(names[:NAMED])}{rest}"


def _masks(counts: Counts) -> Iterator[str]:
    """Yield sentences on images of a split without a mask, and on void."""
    unmasked = counts.images - counts.masked
    if counts.masked and unmasked:
        ids = _ids(counts.first_unmasked, unmasked)
        yield f"{unmasked} of {_count(counts.images, 'image')} without a mask: {ids}"
    if counts.white:
        yield f"{_count(counts.white, 'mask')} of background and void alone (0 and 255)"
    if counts.void_share >= REMARKABLE_VOID:
        yield f"{_percent(counts.void_share)} of the masks' pixels are void"


def _duplicate(pairs: Duplicates) -> str:
    one, other = pairs.splits
    names = (f"{a} = {b}" if a != b else a for a, b in pairs.first)
    ids = _ids([*names], pairs.count)
    if one == other:
        return f"{one}: {_count(pairs.count, 'image')} there twice: {ids}"
    return f"{_count(pairs.count, 'image')} of {one} also in {other}: {ids}"


def _ids(first: Sequence[str], count: int) -> str:
    return ", ".join(first) + (f" and {count - len(first)} more" if count > len(first) else "")


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
