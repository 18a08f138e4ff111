"""Both published readings of "Amazon's rules" for identity values, written for the simulator alone.

`amazon-ads-1` is what hashed uploads are prepared with; `entity-resolution-1` is what AWS Entity Resolution does to
clear values. The portal has an implementation of its own; that the two agree is worth something only while neither
borrows from the other.

A standardised value is a non-empty string, or None for what standardises to nothing or is not valid. A value that is
64 hex digits already counts as hashed: it is lower-cased and kept.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import phonenumbers

RuleTable = Literal["amazon-ads-1", "entity-resolution-1"]
Field = Literal["name", "email", "phone", "address", "city", "state", "zip", "country"]
FIELDS: tuple[Field, ...] = ("name", "email", "phone", "address", "city", "state", "zip", "country")

_DATA = Path(__file__).parent / "data"
_HEX = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_NOT_LETTER = re.compile(r"[^a-z]")
_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]")
_NOT_DIGIT = re.compile(r"[^0-9]")
_NOT_EMAIL = re.compile(r"[^a-z0-9_.@-]")
_LOOKS_LIKE_EMAIL = re.compile(r"[^@]+@[^@]+")
_LETTERS = str.maketrans({"ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue", "ø": "o", "æ": "ae"})


@cache
def _data(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((_DATA / f"{name}.json").read_text(encoding="utf-8"))
    return content


def digest(value: str) -> str:
    """SHA-256 of the UTF-8 bytes in lower-case hex; a lone surrogate counts as a question mark."""
    return sha256(value.encode("utf-8", "replace")).hexdigest()


def _without_accents(value: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", value) if not unicodedata.combining(c))


def _folded(value: str) -> str:
    """Lower case, letters folded, letters and digits alone: how names of places are looked up."""
    text = unicodedata.normalize("NFC", value).lower().translate(_LETTERS)
    return _NOT_ALPHANUMERIC.sub("", _without_accents(text))


# --- amazon-ads-1 ---------------------------------------------------------------------------------------------------


def _ads_name(value: str, country: str | None) -> str:
    return _NOT_ALPHANUMERIC.sub("", unicodedata.normalize("NFC", value).lower().translate(_LETTERS))


def _ads_email(value: str, country: str | None) -> str:
    text = _NOT_EMAIL.sub("", value.strip().lower())
    return text if _LOOKS_LIKE_EMAIL.fullmatch(text) else ""


def _ads_phone(value: str, country: str | None) -> str:
    try:
        number = phonenumbers.parse(value, country)
    except phonenumbers.NumberParseException:
        return ""
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]


def _ads_city(value: str, country: str | None) -> str:
    return _NOT_ALPHANUMERIC.sub("", value.lower())


def _ads_state(value: str, country: str | None) -> str:
    names: Mapping[str, str] | None = _data("states").get(country or "")
    text = _folded(value)
    if names is None:
        return _NOT_LETTER.sub("", text)[:2]
    return names.get(text) or (text if text in names.values() else "")


_FIVE_DIGITS = frozenset({"US", "DE", "FR", "ES", "IT"})


def _ads_zip(value: str, country: str | None) -> str:
    text = unicodedata.normalize("NFKC", value).lower()
    if country in _FIVE_DIGITS:
        digits = _NOT_DIGIT.sub("", text)
        if country == "US":
            # Spreadsheets drop the leading zeros of New England and Puerto Rico.
            head, dash, _tail = text.partition("-")
            five = _NOT_DIGIT.sub("", head) if dash else digits
            if 3 <= len(five) <= 5:
                return five.zfill(5)
            return digits.zfill(9)[:5] if 8 <= len(digits) <= 9 else ""
        return digits if len(digits) == 5 else ""
    if country in ("IN", "JP"):
        digits = _NOT_DIGIT.sub("", text)
        return digits if len(digits) == (6 if country == "IN" else 7) else ""
    text = _NOT_ALPHANUMERIC.sub("", text)
    if country == "CA":
        return text if len(text) == 6 else ""
    if country == "GB":
        return text if len(text) <= 7 else ""
    return text


@cache
def _country_codes() -> dict[str, str]:
    codes = {_folded(name): code for code, names in _data("countries").items() for name in names}
    for region in phonenumbers.SUPPORTED_REGIONS:
        codes[region.lower()] = region
    return codes


def country_code(value: str | None) -> str | None:
    """The ISO 3166 code of a country given by code or name in any case, upper case; None when it is not known."""
    return _country_codes().get(_folded(value)) if value else None


def known_country_codes() -> frozenset[str]:
    """All ISO 3166 codes that `country_code` may give."""
    return frozenset(_country_codes().values())


def _ads_country(value: str, country: str | None) -> str:
    return (country_code(value) or "").lower()


_ADS_SEPARATORS = re.compile(r"\bC/O\b|[\s,.!()\[\]{}]+")
_ADS_TOKEN = re.compile(r"#|[^#]+")
_ADS_NUMBER_LETTER = re.compile(r"([0-9]+)-([^\W\d_]+)")

# The later map wins: the general suffixes have the last word in France, the country's own prefixes in Spain and Italy.
_ADS_MAPS: dict[str, tuple[str, ...]] = {
    "US": ("USStreetSuffixes", "USSubBuildingDesignator"),
    "GB": ("UKOrganizationSuffixes", "UKStreetSuffixes", "UKSubBuildingDesignator"),
    "FR": ("FRStreetDesignator", "DefaultStreetSuffixes"),
    "ES": ("DefaultStreetSuffixes", "ESStreetPrefixes"),
    "IT": ("DefaultStreetSuffixes", "ITStreetPrefixes"),
}


@cache
def _ads_words(country: str | None) -> dict[str, str]:
    words: dict[str, str] = {}
    maps = _data("amazon_ads_address")
    for name in ("NumberIndicators", "DirectionalWords", *_ADS_MAPS.get(country or "", ("DefaultStreetSuffixes",))):
        words.update(maps[name])
    return words


def _ads_address(value: str, country: str | None) -> str:
    words = _ads_words(country)
    tokens: list[str] = []
    for part in _ADS_SEPARATORS.split(value.upper()):
        for token in _ADS_TOKEN.findall(part):
            split = _ADS_NUMBER_LETTER.fullmatch(token)
            tokens.extend(split.groups() if split else (token,))
    return "".join(words.get(token, token) for token in tokens).lower()


# --- entity-resolution-1 --------------------------------------------------------------------------------------------


def _er_accents(value: str) -> str:
    """å becomes aa; other letters fall apart into base letter and mark, which the last rule of each field removes."""
    return unicodedata.normalize("NFD", value.replace("å", "aa"))


def _er_name(value: str, country: str | None) -> str:
    return _NOT_LETTER.sub("", _er_accents(value.strip().lower()))


_BLANKS = re.compile(r"\s+")


def _er_email(value: str, country: str | None) -> str:
    text = _er_accents(value.strip().lower())
    _before, opened, rest = text.partition("<")
    inner, closed, _after = rest.partition(">")
    if opened and closed:
        text = inner
    return _NOT_EMAIL.sub("", _BLANKS.sub("", text).replace("(at)", "@"))


def _er_phone(value: str, country: str | None) -> str:
    digits = _NOT_DIGIT.sub("", value)
    if country in ("US", None) and not _plain_us(digits, country):
        digits = _valid_national_us(digits) or digits
    digits = digits.lstrip("0")
    prefixes: Mapping[str, str] = _data("entity_resolution")["phonePrefixMap"].get((country or "").lower(), {})
    for prefix, put in prefixes.items():
        if digits and not digits.startswith(prefix):
            digits = put + digits
    return digits


def _plain_us(digits: str, country: str | None) -> bool:
    """Whether the slow parse can't change the result: it would take nothing off, or only the 1 that the prefix rule
    puts back (there is no such rule without a country)."""
    return (len(digits) == 10 and digits[0] > "1") or (len(digits) == 11 and digits[0] == "1" and country == "US")


def _valid_national_us(digits: str) -> str | None:
    try:
        number = phonenumbers.parse(digits, "US")
    except phonenumbers.NumberParseException:
        return None
    return str(number.national_number) if phonenumbers.is_valid_number(number) else None


def _er_words(text: str, words: Mapping[str, str]) -> str:
    return " ".join([words.get(word, word) for word in text.split(" ")])


@cache
def _er_country_words(country: str | None) -> dict[str, str]:
    """The general map, then the country's. The published file calls Great Britain uk."""
    maps = _data("entity_resolution")
    general: dict[str, str] = maps["defaultAddressMap"]
    own: dict[str, str] = maps["addressMap"].get("uk" if country == "GB" else (country or "").lower(), {})
    combined = {word: own.get(put, put) for word, put in general.items()}
    return combined | {word: put for word, put in own.items() if word not in general}


@cache
def _er_between() -> tuple[dict[str, str], Any, Any]:
    maps = _data("entity_resolution")
    # One word is never in both maps and no result of one is a word of the other, so one pass does for two.
    words = maps["directionMap"] | maps["numberMap"]
    return words, str.maketrans(maps["delimiterMap"]), str.maketrans(maps["specialCharacterMap"])


def _er_address(value: str, country: str | None) -> str:
    words, delimiters, letters = _er_between()
    country_words = _er_country_words(country)
    text = _er_words(value.strip().lower(), country_words)
    text = _er_words(text.translate(delimiters), words).translate(letters)
    if not text.isascii():
        text = _er_accents(text)
    return _NOT_ALPHANUMERIC.sub("", _er_words(text, country_words))


def _er_place(value: str, country: str | None) -> str:
    return _NOT_ALPHANUMERIC.sub("", _er_accents(value.strip().lower()))


def _er_state(value: str, country: str | None) -> str:
    text = value.strip().lower().translate(_er_between()[2])
    text = _NOT_ALPHANUMERIC.sub("", _er_accents(text))
    states: Mapping[str, str] = _data("entity_resolution")["stateMap"]
    return states.get(text, text)


def _er_zip(value: str, country: str | None) -> str:
    return _NOT_ALPHANUMERIC.sub("", value.strip().lower().partition("-")[0])


def _er_country(value: str, country: str | None) -> str:
    text = _er_place(value, None)
    names: Mapping[str, str] = _data("entity_resolution")["countryMap"]
    return names.get(text, text)


_Standardiser = Callable[[str, str | None], str]

_RULES: dict[RuleTable, dict[Field, _Standardiser]] = {
    "amazon-ads-1": {
        "name": _ads_name,
        "email": _ads_email,
        "phone": _ads_phone,
        "address": _ads_address,
        "city": _ads_city,
        "state": _ads_state,
        "zip": _ads_zip,
        "country": _ads_country,
    },
    "entity-resolution-1": {
        "name": _er_name,
        "email": _er_email,
        "phone": _er_phone,
        "address": _er_address,
        "city": _er_place,
        "state": _er_state,
        "zip": _er_zip,
        "country": _er_country,
    },
}
RULE_TABLES: tuple[RuleTable, ...] = ("amazon-ads-1", "entity-resolution-1")


def standardise(table: RuleTable, field: Field, value: str | None, country: str | None = None) -> str | None:
    """`value` by the rules of `table` for `field`; None when nothing valid is left.

    `country` is the ISO 3166 code of the record (upper case), or None when it is not known.
    """
    if value is None:
        return None
    if len(value) == 64 and _HEX.fullmatch(value):
        return value.lower()
    return _RULES[table][field](value, country) or None
