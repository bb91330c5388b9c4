"""Reading of search spaces: lists, Ray Tune's objects, and the form that files and records hold.

The file form of a domain, in files and records, is a list, or a dict of one entry: the name of the
function of `ray.tune` that makes the domain, and the function's arguments, e.g.
`{"uniform": [0.1, 0.5]}`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...config.limits import COMPUTED, DISTRIBUTIONS, INTERVALS, LISTS
from ...errors import InputError
from .domains import Computed, Domain, Groups, Listed, Numbers, Space, domains_by_field

ADVICE = "give a list of values, or a distribution of ray.tune"


def space_from(raw: Mapping[str, Any]) -> dict[str, Domain]:
    """Return a search space from values or distributions by dotted field.

    Args:
        raw: lists, Ray Tune's objects or file forms by field. A name may end with that of a
            distribution, as the flat names of an experiment file do: `lpcam.tau.uniform`.

    Raises:
        InputError: the value of a field is no list or distribution, a field has two domains, or
            groups of fields cannot be told apart.
    """
    space: dict[str, Domain] = {}
    for name, value in raw.items():
        if not isinstance(name, str):
            raise InputError(f"the space names a field {name!r}; a field's name is a text")
        field, _, last = name.rpartition(".")
        if field and last in DISTRIBUTIONS:
            name, value = field, {last: value}
        if name in space:
            raise InputError(f"the space names {name!r} twice; leave one of them out")
        space[name] = domain_from(value, name)
    for name, domain in space.items():
        if isinstance(domain, Groups):
            outside = {k: d for k, d in space.items() if k != name}
            twice = domains_by_field(outside).keys() & domains_by_field({name: domain}).keys()
            if twice:
                raise InputError(
                    f"the space has {min(twice)!r} both in and outside the groups of {name!r}; "
                    "leave one of them out"
                )
    return space


def domain_from(raw: Any, field: str) -> Domain:
    """Return the domain of a field; `raw` and errors are as for `space_from`."""
    if isinstance(raw, Listed | Numbers | Computed | Groups):
        return raw
    if isinstance(raw, list | tuple | range):
        return _listed(list(raw), field)
    if isinstance(raw, Mapping) and len(raw) == 1:
        name, arguments = next(iter(raw.items()))
        if name in LISTS and isinstance(arguments, list | tuple):
            return _listed(list(arguments), field, name == "grid_search")
        if name in INTERVALS and isinstance(arguments, list | tuple):
            return _interval(name, arguments, field)
        if name == COMPUTED:
            raise InputError(
                f"a function computes {field!r}, which no experiment file can hold; give the "
                "space with --space FILE.py"
            )
    if type(raw).__module__.startswith("ray.tune."):
        return _from_tune(raw, field)
    raise InputError(f"the space has {raw!r} for {field!r}; {ADVICE}")


def _listed(values: Sequence[Any], field: str, ordered: bool = True) -> Domain:
    if not values:
        raise InputError(f"the space has {[*values]!r} for {field!r}; {ADVICE}")
    grouped = [isinstance(value, Mapping) for value in values]
    if not any(grouped):
        return Listed(tuple(values), ordered)
    if not all(grouped) or not all(values):
        raise InputError(
            f"the space mixes groups of fields with other values in {field!r}; give each group its "
            "fields"
        )
    groups = tuple(space_from({k: _constant(v) for k, v in group.items()}) for group in values)
    for k, group in enumerate(groups):
        for other in groups[:k]:
            if not _apart(group, other):
                raise InputError(
                    f"two groups of {field!r} cannot be told apart; give each group a value that "
                    "no other group has"
                )
    return Groups(groups)


def _constant(value: Any) -> Any:
    """Return a domain of a group: a single value stands for a list of it."""
    return [value] if isinstance(value, str | int | float | None) else value


def _apart(first: Space, second: Space) -> bool:
    """Return whether no point belongs to both groups."""
    a, b = domains_by_field(first), domains_by_field(second)
    return any(
        all(_disjoint(x, y) for x in a[field] for y in b[field]) for field in a.keys() & b.keys()
    )


def _disjoint(first: Domain, second: Domain) -> bool:
    """Return whether two domains have no value in common."""
    if isinstance(first, Numbers) and isinstance(second, Numbers):
        return first.high < second.low or second.high < first.low
    if isinstance(first, Numbers):
        first, second = second, first
    if not isinstance(first, Listed):
        return False
    if isinstance(second, Numbers):
        numbers = [v for v in first.values if isinstance(v, int | float)]
        return not any(second.low <= v <= second.high for v in numbers)
    names = {*map(repr, first.values)}
    return isinstance(second, Listed) and names.isdisjoint(map(repr, second.values))


def _interval(name: str, arguments: Sequence[Any], field: str) -> Numbers:
    """Return the domain that a function of `ray.tune` makes from its arguments."""
    quantized, integer, log = name.startswith("q"), name.endswith("randint"), "log" in name
    text = f"{name}({', '.join(map(repr, arguments))}) for {field!r}"
    count = 3 if quantized else 2
    numbers = [v for v in arguments if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(arguments) != count or len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InputError(f"the space has {text}; {name} takes {count} numbers")
    if integer and not all(isinstance(v, int) for v in numbers):
        raise InputError(f"the space has {text}; {name} takes whole numbers")
    low, high, step = numbers[0], numbers[1], numbers[2] if quantized else int(integer)
    if integer and step == 1:  # Ray Tune leaves the highest number out, but not with a step
        high -= 1
    return _checked(Numbers(low, high, integer, log, step), text, quantized)


def _checked(domain: Numbers, text: str, quantized: bool) -> Numbers:
    """Return an interval after checking that it holds numbers."""
    if quantized and domain.step <= 0:
        raise InputError(f"the space has {text}; the step must be above 0")
    if domain.log and (domain.low <= 0 or (domain.step and domain.first < 1)):
        raise InputError(f"the space has {text}; the lowest number must be above 0")
    if domain.low > domain.high or (domain.step and domain.size == 0):
        raise InputError(f"the space has {text}; it holds no number")
    return domain


def _from_tune(raw: Any, field: str) -> Domain:
    """Return the domain of an object that a function of `ray.tune` made."""
    from ray.tune.search import sample

    if isinstance(raw, sample.Categorical):
        return _listed(raw.categories, field, ordered=False)
    if isinstance(raw, sample.Function):
        return Computed(raw.func, raw.pass_config, _source(raw.func))
    sampler = raw.get_sampler() if isinstance(raw, sample.Domain) else None
    step = getattr(sampler, "q", None)
    inner = sampler.get_sampler() if isinstance(sampler, sample.Quantized) else sampler
    if not isinstance(raw, sample.Float | sample.Integer) or isinstance(inner, sample.Normal):
        raise InputError(f"the space has {raw!r} for {field!r}, which has no bounds; {ADVICE}")
    log = "log" if isinstance(inner, sample.LogUniform) else ""
    kind = "randint" if isinstance(raw, sample.Integer) else "uniform"
    arguments = [raw.lower, raw.upper, *([] if step is None else [step])]
    return _interval(f"{'' if step is None else 'q'}{log}{kind}", arguments, field)


def _source(function: Callable[..., object]) -> str:
    """Return the source code of a function, or its byte code where there is no source."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        return repr((code.co_code, code.co_consts)) if code else repr(function)


def file_form(domain: Domain) -> Any:
    """Return the file form of a domain."""
    if isinstance(domain, Listed):
        return [*domain.values] if domain.ordered else {"choice": [*domain.values]}
    if isinstance(domain, Groups):
        return {"choice": [space_in_file_form(group) for group in domain.groups]}
    if isinstance(domain, Computed):
        return {COMPUTED: domain.source}
    quantized = domain.step not in (0, int(domain.integer))
    kind = "randint" if domain.integer else "uniform"
    high = domain.high + 1 if domain.integer and not quantized else domain.high
    name = f"{'q' * quantized}{'log' * domain.log}{kind}"
    return {name: [domain.low, high, *([domain.step] if quantized else [])]}


def space_in_file_form(space: Space) -> dict[str, Any]:
    """Return the file forms of a space by field."""
    return {field: file_form(domain) for field, domain in space.items()}


def recorded(space: Space) -> dict[str, object]:
    """Return the file form of each field, those in groups included, for the record of a sweep.

    The values of a field in several groups are listed together where all of them are lists.
    """
    return {field: _together(domains) for field, domains in domains_by_field(space).items()}


def _together(domains: Sequence[Domain]) -> object:
    if len(domains) == 1:
        return file_form(domains[0])
    listed = [domain for domain in domains if isinstance(domain, Listed)]
    if len(listed) == len(domains):
        return list({repr(value): value for d in listed for value in d.values}.values())
    return {"any": [file_form(domain) for domain in domains]}
