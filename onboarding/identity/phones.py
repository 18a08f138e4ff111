"""The shape of a country's telephone numbers, from libphonenumber's published data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import phonenumbers

NANP = ("US", "CA")
"""Countries of the North American plan: ten digits, country code 1."""
STRUCTURED = ("DE", "ES", "FR", "GB", "IN", "IT", "JP")
"""Countries whose trunk prefix is 0 or none, so that the shape is enough to read most numbers."""
SORTS = (
    "fixed_line",
    "mobile",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
)


@dataclass(frozen=True)
class Shape:
    """``code`` is the country's calling code, ``abroad`` what is dialled there before another country's, ``trunk``
    whether national numbers are written with a leading 0, ``pattern`` a regular expression for the rest, ``valid`` one
    for those in use, ``lengths`` how many digits that may have."""

    code: str
    abroad: str
    trunk: bool
    pattern: str
    valid: str
    lengths: tuple[int, ...]


@cache
def shape(country: str) -> Shape:
    """The shape of a country's numbers; ``KeyError`` where none is published."""
    about = phonenumbers.PhoneMetadata.metadata_for_region(country)
    if about is None or about.general_desc is None or about.general_desc.national_number_pattern is None:
        raise KeyError(country)
    sorts = [getattr(about, sort) for sort in SORTS]
    valid = dict.fromkeys(one.national_number_pattern for one in sorts if one and one.national_number_pattern)
    return Shape(
        str(about.country_code),
        str(about.international_prefix),
        bool(about.national_prefix_for_parsing),
        str(about.general_desc.national_number_pattern),
        "|".join(valid),
        tuple(about.general_desc.possible_length),
    )
