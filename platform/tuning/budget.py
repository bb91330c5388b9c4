"""The budget of a sweep: the new computation that its trials may take together."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import InputError
from ..records.schema import SweepRecord
from ..serialization import quoted

FORM = re.compile(r"(\d{1,9}(?:\.\d+)?)\s*(h|m|s|stages?)", re.ASCII)
SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
"""Seconds of each unit of time."""


class Budget(NamedTuple):
    """An amount of new computation.

    Attributes:
        amount: number of seconds, or number of stages.
        in_stages: whether the amount is a number of stages.
    """

    amount: float
    in_stages: bool


def parse_budget(text: str) -> Budget:
    """Return the budget that a text names: hours, minutes, seconds or stages.

    Raises:
        InputError: the text is no budget, or the budget is 0.
    """
    match = FORM.fullmatch(text.strip())
    number, unit = match.groups() if match else ("0", "")
    amount, in_stages = float(number), unit.startswith("stage")
    if amount == 0 or (in_stages and not amount.is_integer()):
        raise InputError(
            f"--budget is {quoted(text)}; write hours, minutes, seconds or stages, for example "
            "2h, 30m, 90s or '40 stages'"
        )
    return Budget(amount if in_stages else amount * SECONDS[unit], in_stages)


def spending(sweep: SweepRecord) -> str:
    """Return the budget and what the trials spent of it, in words; empty without a budget.

    The time that a failed trial lost counts as a stage, as it does for the budget.
    """
    computed = {stage.key: stage.seconds for trial in sweep.trials for stage in trial.stages}
    spent = f"{len(computed)} stages in {sum(computed.values()):,.0f} s"
    return f"{spent} of a budget of {sweep.budget}" if sweep.budget else ""
