"""Search spaces: the domain of each field that a sweep varies."""

from .domains import Computed, Domain, Groups, Listed, Numbers, Space, listed_values
from .named import (
    ADVICE_BY_FIXED_FIELD,
    COMBINATION,
    FigureRow,
    PaperFigure,
    find_figure,
    find_space,
    spaces_of_method,
    split_file_and_name,
)
from .points import Params
from .reading import recorded, space_from, space_in_file_form

__all__ = [
    "ADVICE_BY_FIXED_FIELD",
    "COMBINATION",
    "Computed",
    "Domain",
    "FigureRow",
    "Groups",
    "Listed",
    "Numbers",
    "PaperFigure",
    "Params",
    "Space",
    "find_figure",
    "find_space",
    "listed_values",
    "recorded",
    "space_from",
    "space_in_file_form",
    "spaces_of_method",
    "split_file_and_name",
]
