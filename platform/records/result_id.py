"""Names of the results of a run."""

from __future__ import annotations

from dataclasses import dataclass

REFINEMENTS = ("irn", "crf", "masks")
"""How class maps become labels, as in `refine.kind`; `masks` are the true ones."""
BASELINE, KNOWN = "baseline:", "known"


@dataclass(frozen=True, kw_only=True)
class ResultId:
    """The name of one result of a run: of class maps, of refined labels, or of predictions.

    As text its parts are joined by slashes: `lpcam`, `lpcam/irn`, `lpcam/irn/deeplabv2`,
    `baseline:cam`.

    Attributes:
        localizer: method, or import, that the class maps are of.
        refinement: one of REFINEMENTS; empty: the class maps themselves.
        segmenter: network that learnt the labels; empty: none.
        known: whether the segmenter was told the image labels.
        baseline: whether it is a result of the baseline that the run's method learns from.
    """

    localizer: str
    refinement: str = ""
    segmenter: str = ""
    known: bool = False
    baseline: bool = False

    def __str__(self) -> str:
        parts = [self.localizer, self.refinement, self.segmenter, KNOWN if self.known else ""]
        return (BASELINE if self.baseline else "") + "/".join(part for part in parts if part)

    @classmethod
    def parse(cls, text: str) -> ResultId:
        """The id that is written so.

        Raises:
            ValueError: no id is.
        """
        localizer, *parts = text.removeprefix(BASELINE).split("/")
        refinement = parts.pop(0) if parts and parts[0] in REFINEMENTS else ""
        segmenter = parts.pop(0) if parts else ""
        out = cls(
            localizer=localizer,
            refinement=refinement,
            segmenter=segmenter,
            known=parts == [KNOWN],
            baseline=text.startswith(BASELINE),
        )
        if str(out) != text or not localizer:
            raise ValueError(f"{text!r} names no result")
        return out
