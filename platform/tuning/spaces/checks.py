"""Checks of a search space against the experiments that it varies, before the first trial."""

from __future__ import annotations

from collections.abc import Iterable

from ...config.experiment import Experiment
from ...config.fields import replaced, walk
from ...config.groups.changes import CHANGEABLE
from ...config.groups.training import Training
from ...errors import InputError
from .domains import Computed, Listed, Numbers, Space, domains_by_field, listed_values
from .named import ADVICE_BY_FIXED_FIELD, COMBINATION


def check_space(space: Space, bases: Iterable[Experiment]) -> None:
    """Check that each experiment has every field of a space, and may take each of its values.

    Of an interval, the lowest and the highest number are checked; a value that a function computes
    is checked when its trial starts.

    Raises:
        InputError: a field is unknown (the nearest valid names are listed) or may not vary, or a
            value is not allowed.
    """
    domains = domains_by_field(space)
    if fixed := [field for field in domains if field in ADVICE_BY_FIXED_FIELD]:
        raise InputError(f"a space cannot vary {fixed[0]!r}; {ADVICE_BY_FIXED_FIELD[fixed[0]]}")
    if COMBINATION in domains and len(listed_values(space, COMBINATION)) == 0:
        raise InputError(f"the space must list the values of {COMBINATION!r}")
    for base in bases:
        for field, choices in domains.items():
            if field == COMBINATION:
                continue
            for domain in choices:
                values = () if isinstance(domain, Computed) else domain.extremes
                for value in values or (value_of(base, field),):
                    replaced(base, {field: value})


def check_changeable(space: Space, training: Training, option: str) -> None:
    """Check that all fields of a space can change within the training of the classifier.

    Args:
        space: the search space.
        training: options of the untuned training.
        option: the option that changes them, for the message.

    Raises:
        InputError: a field cannot change or has no effect, or its values depend on other fields.
    """
    changeable = [f"training.{name}" for name in CHANGEABLE]
    for name, domain in space.items():
        if name not in changeable:
            raise InputError(
                f"{option} changes fields within the training of the classifier, but {name} cannot "
                f"change there; give a --space of {', '.join(changeable)}"
            )
        if (replacement := training.unused.get(name.rpartition(".")[2])) is not None:
            raise InputError(
                f"{option} changes {name}, which has no effect with {replacement}; leave it out of "
                "the space"
            )
        if not isinstance(domain, Listed | Numbers):
            raise InputError(f"{option} needs a list or an interval of values of {name}")


def value_of(base: Experiment, field: str) -> object:
    """Return the value of a field in an experiment; None where there is no such field."""
    return next((value for name, value, _ in walk(base) if name == field), None)
