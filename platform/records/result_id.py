"""The names of the results of a run."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal

RefinementName = Literal["crf", "irn", "par", "segments", "masks"]
REFINEMENTS: tuple[RefinementName, ...] = typing.get_args(RefinementName)
"""Ways to turn class maps into labels, as in `refine.kind`; `masks` stands for the true masks."""
BASELINE, KNOWN = "baseline:", "known"


@dataclass(frozen=True, kw_only=True)
class ResultId:
    """The name of one result of a run: of class maps, of refined labels, or of predictions.

    As text, the name is written with slashes: `lpcam`, `lpcam/irn`, `lpcam/irn/deeplabv2`,
    `baseline:cam`.

    Attributes:
        localizer: name of the method or import that made the class maps.
        refinement: one of REFINEMENTS, or empty for the class maps themselves.
        segmenter: name of the network that learnt the labels, or empty without a segmenter.
        known: whether the segmenter's predictions use the image labels.
        baseline: whether the result belongs to the baseline that the run's method learns from.
    """

    localizer: str
    refinement: str = ""
    segmenter: str = ""
    known: bool = False
    baseline: bool = False

    def __str__(self) -> str:
        words = [self.localizer, self.refinement, self.segmenter, KNOWN if self.known else ""]
        return (BASELINE if self.baseline else "") + "/".join(word for word in words if word)

    @classmethod
    def parse(cls, text: str) -> ResultId:
        """Return the id that a text stands for.

        Raises:
            ValueError: the text is not the name of a result.
        """
        localizer, *words = text.removeprefix(BASELINE).split("/")
        refinement = words.pop(0) if words and words[0] in REFINEMENTS else ""
        segmenter = words.pop(0) if words else ""
        out = cls(
            localizer=localizer,
            refinement=refinement,
            segmenter=segmenter,
            known=words == [KNOWN],
            baseline=text.startswith(BASELINE),
        )
        if str(out) != text or not localizer:
            raise ValueError(f"{text!r} is not the name of a result")
        return out
