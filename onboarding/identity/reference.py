"""The plain implementation of the rule tables, one value at a time. It is the definition of every operation.

:mod:`onboarding.identity.fast` does the same for whole columns and hands over to this module whatever is unusual.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from typing import Any

import phonenumbers

from onboarding.identity.rules import Operation, RuleTable

HASH = re.compile(r"[0-9a-fA-F]{64}")
KEPT = {
    "alpha": "a-z",
    "alnum": "a-z0-9",
    "digits": "0-9",
    "email-ascii": r"a-zA-Z0-9_.@\-",
    "email-unicode": r"\w.@\-",
}
"""What the operation ``keep`` leaves, as the inside of a regular expression's set."""

REQUIRED = {"one-at": r"[^@]+@[^@]+"}
DELIMITERS = re.compile(r"\bC/O\b|[\s,!.\[\]{}()]+")
HALF_WIDTH_DIGITS = {0xFF10 + digit: 0x30 + digit for digit in range(10)}
LONGEST_PHONE = 250
E164 = re.compile(r"[1-9][0-9]{4,14}")
GLUED = re.compile(r"[0-9]+[^0-9].", re.DOTALL)
"""What follows the hyphen of ``12-14`` once the next word has lost its blank; ``12-14B`` is a number and a letter."""


def is_hash(value: str) -> bool:
    """Whether a value, blanks around it aside, is 64 hexadecimal digits in either case: hashed already."""
    return HASH.fullmatch(value.strip()) is not None


def standardise(table: RuleTable, field: str, value: str | None, country: str | None) -> str | None:
    """The standard form of one value, or None when there is none or it is not valid.

    ``field`` is a key of ``table.fields``; ``country`` the row's country as an upper-case ISO code, or None.
    A value hashed already comes back in lower case. Never raises for any string.
    """
    if value is None:
        return None
    standard = standardise_once(table, field, value, country)
    for _ in range(table.settles(field)):
        if standard is None or standard == value:
            break
        value, standard = standard, standardise_once(table, field, standard, country)
    return standard


def standardise_once(table: RuleTable, field: str, value: str, country: str | None) -> str | None:
    """:func:`standardise` without the repetitions that ``settle`` asks for."""
    if is_hash(value):
        return value.strip().lower()
    current: str | None = value
    tokens: list[str] = []
    for operation in table.fields[field]:
        if operation[0] == "settle":
            continue
        if operation[0] in TOKEN_OPERATIONS:
            tokens = TOKEN_OPERATIONS[operation[0]](current or "", tokens, table, country)
        elif operation[0] == "join":
            current = "".join(tokens)
        else:
            current = OPERATIONS[operation[0]](current or "", operation, table, country)
        if not current:
            return None
    return current


def hashed(standard: str) -> str:
    """SHA-256 of a standard form's UTF-8 bytes in lower-case hex; a lone surrogate counts as a question mark."""
    return sha256(standard.encode("utf-8", "replace")).hexdigest()


def standardise_and_hash(table: RuleTable, field: str, value: str | None, country: str | None) -> str | None:
    """What a prepared table holds for a value: the hash of its standard form, a hash it already was, or None."""
    standard = standardise(table, field, value, country)
    if standard is None or value is None:
        return None
    return standard if is_hash(value) else hashed(standard)


def country_code(table: RuleTable, value: str | None) -> str | None:
    """The upper-case ISO code that a country column's value stands for, or None: hashed, unknown or empty."""
    if value is None or is_hash(value):
        return None
    standard = standardise(table, "country", value, None)
    return standard.upper() if standard and len(standard) == 2 else None


def without_accents(value: str) -> str:
    """The value in canonical decomposition without its combining marks."""
    return "".join(c for c in unicodedata.normalize("NFD", value) if not unicodedata.combining(c))


def _replace(value: str, operation: Operation, table: RuleTable, country: str | None) -> str:
    for old, new in table.maps[operation[1]].items():
        value = value.replace(old, new)
    return value


@cache
def _dropped(kept: str) -> re.Pattern[str]:
    return re.compile(f"[^{KEPT[kept]}]+")


def _require(value: str, operation: Operation, table: RuleTable, country: str | None) -> str | None:
    return value if re.fullmatch(REQUIRED[operation[1]], value) else None


def _between(value: str, operation: Operation, table: RuleTable, country: str | None) -> str:
    start = value.find(operation[1])
    end = value.find(operation[2], start + 1)
    return value[start + 1 : end] if 0 <= start < end else value


def _whole(value: str, operation: Operation, table: RuleTable, country: str | None) -> str:
    found: str = table.maps[operation[1]].get(value, value)
    return found


def _replaced_words(value: str, words: Mapping[str, str]) -> str:
    return " ".join(words.get(word, word) for word in value.split(" "))


def _country_words(value: str, operation: Operation, table: RuleTable, country: str | None) -> str:
    return _replaced_words(value, table.maps[operation[1]].get(country, {}))


def _state(value: str, operation: Operation, table: RuleTable, country: str | None) -> str | None:
    states = table.maps[operation[1]].get(country)
    lowered = unicodedata.normalize("NFC", value.lower())
    if states is None:
        return re.sub(r"[^a-z]", "", lowered)[:2]
    spelt_out = _replace(lowered, ("replace", "germanic"), table, country)
    for spelling in (spelt_out, lowered):
        code: str | None = states.get(re.sub(r"[^a-z0-9]", "", without_accents(spelling)))
        if code:
            return code
    return None


def _country(value: str, operation: Operation, table: RuleTable, country: str | None) -> str | None:
    found: str | None = table.maps[operation[1]].get(re.sub(r"[^a-z0-9]", "", without_accents(value)))
    return found


def _postal(value: str, operation: Operation, table: RuleTable, country: str | None) -> str | None:
    rules = table.maps[operation[1]]
    rule: dict[str, Any] = rules.get(country) or rules[""]
    code = _dropped(rule["keep"]).sub("", value)
    length: int = rule["length"]
    if len(code) in rule.get("pad", ()):
        code = code.zfill(length)
    elif rule.get("pad-plus-four") and len(code) in (7, 8):
        code = code.zfill(9)
    if rule["keep"] == "digits":
        code = code[:length]
    return code if re.fullmatch(rule["match"], code) else None


def _phone_e164(value: str, operation: Operation, table: RuleTable, country: str | None) -> str | None:
    text = value.strip()
    if text.startswith("+"):
        return _possible(_parsed(text, country))
    if country is None:
        return _possible(_parsed("+" + text, None))
    if _begins_with_code(text, country):
        number = _parsed("+" + text, None)
        if number is not None and phonenumbers.is_valid_number(number):
            return _possible(number)
    e164 = _possible(_parsed(text, country))
    return e164 or (_possible(_parsed("+" + text, None)) if E164.fullmatch(text) else None)


def _begins_with_code(text: str, country: str) -> bool:
    digits = re.sub(r"\D", "", text[:LONGEST_PHONE])
    return digits.startswith(str(phonenumbers.country_code_for_region(country)))


def _possible(number: phonenumbers.PhoneNumber | None) -> str | None:
    """The digits of E.164 of a number, if it is possible."""
    if (
        number is None
        or phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE
    ):
        return None
    e164: str = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return e164.removeprefix("+")


def _phone_national(value: str, operation: Operation, table: RuleTable, country: str | None) -> str:
    if country not in (None, "US"):
        return value
    number = _parsed(value, "US")
    if number is None or not phonenumbers.is_valid_number(number):
        return value
    return str(number.national_number)


def _parsed(text: str, country: str | None) -> phonenumbers.PhoneNumber | None:
    if len(text) > LONGEST_PHONE:
        return None
    try:
        return phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None


def _prefix(value: str, operation: Operation, table: RuleTable, country: str | None) -> str:
    prefix: str = table.maps[operation[1]].get(country, "")
    return value if value.startswith(prefix) else prefix + value


def _tokens(value: str, tokens: list[str], table: RuleTable, country: str | None) -> list[str]:
    return [token for token in DELIMITERS.split(value) if token]


def _split_number_and_letter(value: str, tokens: list[str], table: RuleTable, country: str | None) -> list[str]:
    result: list[str] = []
    for token in tokens:
        number, _, rest = token.rpartition("-")
        apart = number.isnumeric() and rest and not rest.isnumeric() and not GLUED.match(rest)
        result += [number, rest] if apart else [token]
    return result


def _split_hash(value: str, tokens: list[str], table: RuleTable, country: str | None) -> list[str]:
    return [part for token in tokens for part in re.split("(#)", token) if part]


def _words(value: str, tokens: list[str], table: RuleTable, country: str | None) -> list[str]:
    words = table.words(country)
    return [words.get(token, token) for token in tokens]


TextOperation = Callable[[str, Operation, RuleTable, str | None], str | None]
OPERATIONS: Mapping[str, TextOperation] = {
    "trim": lambda value, op, table, country: value.strip(),
    "lower": lambda value, op, table, country: value.lower(),
    "upper": lambda value, op, table, country: value.upper(),
    "nfc": lambda value, op, table, country: unicodedata.normalize("NFC", value),
    "decompose": lambda value, op, table, country: unicodedata.normalize("NFD", value),
    "digits-half-width": lambda value, op, table, country: value.translate(HALF_WIDTH_DIGITS),
    "keep": lambda value, op, table, country: _dropped(op[1]).sub("", value),
    "remove-blanks": lambda value, op, table, country: re.sub(r"\s+", "", value),
    "cut": lambda value, op, table, country: value.partition(op[1])[0],
    "strip-zeros": lambda value, op, table, country: value.lstrip("0"),
    "replace-words": lambda value, op, table, country: _replaced_words(value, table.maps[op[1]]),
    "replace-words-of-country": _country_words,
    "replace": _replace,
    "require": _require,
    "between": _between,
    "whole": _whole,
    "state": _state,
    "country": _country,
    "postal": _postal,
    "phone-e164": _phone_e164,
    "phone-national": _phone_national,
    "prefix": _prefix,
}
TokenOperation = Callable[[str, list[str], RuleTable, str | None], list[str]]
TOKEN_OPERATIONS: Mapping[str, TokenOperation] = {
    "tokens": _tokens,
    "split-number-and-letter": _split_number_and_letter,
    "split-hash": _split_hash,
    "words": _words,
}
