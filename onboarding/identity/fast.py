"""Standardises and hashes whole columns. Gives exactly what :mod:`onboarding.identity.reference` gives, faster.

Arrow keeps the bytes of a column's values one behind the other, so lower case, deletion and the like are one pass over
one buffer. That is done for plain ASCII values; each other value (accents, odd forms, hashes with blanks around them)
goes through the reference implementation once. Address rules work word by word, so each different word is computed
once. Columns with few different values are worked on as a dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash
import pyarrow as pa
import pyarrow.compute as pc

from onboarding.identity import reference
from onboarding.identity.columns import COUNTRY_RULES
from onboarding.identity.phones import NANP, STRUCTURED, shape
from onboarding.identity.rules import RuleTable

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

HASH_LENGTH = 64
LONG_VALUE = 4096
CACHE_SIZE = 100_000
DICTIONARY_SHARE = 0.5
SAMPLE = 8_192
PLAIN_PHONE = frozenset(b"0123456789 ()-./+")
LOWERED = bytes(range(256)).lower()
IN_ADDRESS = bytes(
    code if code >= 0x80 else 0x20 if chr(code).isspace() or chr(code) in ",!.[]{}()" else ord(chr(code).upper())
    for code in range(256)
)
NUMBER_AND_LETTER = "^[0-9]+-[^-]*[^-0-9]"
CARE_OF = r"(?i)\bc/o\b"
NO_TEXT = pa.array([], pa.string())


@dataclass(frozen=True)
class Countries:
    """The country of each row: one of ``names`` by ``codes``, or ``names[0]`` for all when ``codes`` is None."""

    names: Sequence[str | None]
    codes: npt.NDArray[np.int32] | None = None

    def groups(self, rows: int) -> Iterable[tuple[str | None, Ints | None]]:
        """Each country that occurs with the positions of its rows; positions are None when it has all of them."""
        if self.codes is None or len(self.names) == 1:
            yield self.names[0], None
            return
        for code in np.unique(self.codes[:rows]).tolist():
            positions = np.flatnonzero(self.codes == code)
            yield self.names[code], None if len(positions) == rows else positions


@dataclass(frozen=True)
class Column:
    """A column as values, or as a dictionary of values and each row's index into it (-1: null)."""

    values: pa.StringArray
    index: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.values) if self.index is None else len(self.index)

    def valid(self) -> Bools:
        """Per row, whether there is a value."""
        valid = is_valid(self.values)
        if self.index is None:
            return valid
        return np.append(valid, False)[self.index]

    def rows(self) -> pa.StringArray:
        """The column with one value a row."""
        return self.values if self.index is None else take(self.values, self.index)

    def arrow(self) -> pa.Array:
        """For Parquet: a dictionary array, its nulls in the index, or plain values."""
        if self.index is None:
            return self.values
        index = pa.array(self.index, mask=~self.valid())
        values = self.values if self.values.null_count == 0 else pc.fill_null(self.values, "")
        return pa.DictionaryArray.from_arrays(index, values)


def is_valid(values: pa.Array) -> Bools:
    """Per row, whether an Arrow array has a value."""
    if values.null_count == 0:
        return np.ones(len(values), bool)
    return np.asarray(pc.is_valid(values).to_numpy(zero_copy_only=False))


def take(values: pa.StringArray, index: npt.NDArray[Any]) -> pa.StringArray:
    """The values at each index; -1 gives null."""
    _, offsets = buffers(values)
    if len(values) and np.diff(offsets).max() > LONG_VALUE:
        # Arrow would first ask for as much memory as if all values were as long as the average one.
        different = values.to_pylist()
        return pa.array([different[place] if place >= 0 else None for place in index.tolist()], pa.string())
    if len(index) and index.min() < 0:
        return values.take(pa.array(index, mask=index < 0))
    return values.take(pa.array(index))


def replaced(values: pa.StringArray, rows: Ints, others: pa.StringArray) -> pa.StringArray:
    """The values, but those of ``rows`` replaced by ``others``, one each."""
    where = np.arange(len(values), dtype=np.int64)
    where[rows] = len(values) + np.arange(len(rows))
    return take(pa.concat_arrays([values, others]), where)


def text_array(values: pa.Array) -> pa.StringArray:
    """A string array at offset 0, with empty strings as null, whatever Arrow's string type was."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if values.type != pa.string():
        values = values.cast(pa.string())
    if values.offset:
        values = pa.concat_arrays([values, NO_TEXT])
    data, offsets = buffers(values)
    return from_buffers(data, offsets, np.diff(offsets) > 0, values)


def buffers(values: pa.StringArray) -> tuple[Bytes, npt.NDArray[np.int32]]:
    """The bytes and offsets of a string array, without a copy."""
    _, offsets, data = values.buffers()
    size = len(values) + 1
    starts = (
        np.frombuffer(offsets, np.int32)[values.offset : values.offset + size] if offsets else np.zeros(size, np.int32)
    )
    return (np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)), starts


def from_buffers(
    data: Any, offsets: npt.NDArray[np.int32], valid: Bools, like: pa.StringArray | None = None
) -> pa.StringArray:
    """A string array of those bytes and offsets; rows not valid, or null in ``like``, are null."""
    if like is not None and like.null_count:
        valid = valid & is_valid(like)
    nulls = int(len(valid) - np.count_nonzero(valid))
    bitmap = pa.py_buffer(np.packbits(valid, bitorder="little")) if nulls else None
    return pa.StringArray.from_buffers(
        len(offsets) - 1, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(data), bitmap, nulls
    )


def sparse_rows(positions: Ints, offsets: npt.NDArray[np.int32]) -> Ints:
    """The row that each byte position lies in."""
    return np.asarray(np.searchsorted(offsets, positions, side="right") - 1)


def marked(flags: Bools, offsets: npt.NDArray[np.int32]) -> Bools:
    """Per row, whether any of its bytes is flagged."""
    result = np.zeros(len(offsets) - 1, bool)
    positions = np.flatnonzero(flags[: offsets[-1]] if len(offsets) else flags)
    if len(positions):
        result[sparse_rows(positions, offsets)] = True
    return result


def byte_set(allowed: Iterable[int]) -> Bools:
    """A table of 256 flags, set for those bytes."""
    table = np.zeros(256, bool)
    table[list(allowed)] = True
    return table


@cache
def kept_bytes(kept: str) -> Bools:
    """The ASCII bytes that the reference's operation ``keep`` leaves of a lower-cased value."""
    pattern = re.compile(f"[{reference.KEPT[kept]}]")
    return byte_set(code for code in range(0x80) if pattern.match(chr(code)))


def translated(values: pa.StringArray, table: bytes, keep: Bools) -> tuple[bytes, npt.NDArray[np.int32]]:
    """All bytes mapped by ``table``, then those not in ``keep`` deleted: the new bytes and offsets."""
    data, offsets = buffers(values)
    raw = data[offsets[0] : offsets[-1]].tobytes()
    offsets = offsets - offsets[0]
    drop = bytes(byte for byte in range(256) if not keep[table[byte]])
    result = raw.translate(table, drop)
    if len(result) == len(raw):
        return result, offsets
    stays = keep[np.frombuffer(table, np.uint8)][np.frombuffer(raw, np.uint8)]
    gone = len(raw) - len(result)
    if gone * 20 < len(raw):
        return result, (offsets - np.searchsorted(np.flatnonzero(~stays), offsets)).astype(np.int32)
    running = np.zeros(len(raw) + 1, np.int32)
    np.cumsum(stays, out=running[1:])
    return result, running[offsets]


class Standardiser:
    """Standardises columns by one rule table. Keeps a bounded memory of what it has computed before.

    May be used by several threads at once: the memory is only ever an aid.
    """

    def __init__(self, table: RuleTable) -> None:
        self.table = table
        self._cache: dict[tuple[str, str | None], dict[str, str | None]] = {}
        self._words: dict[str | None, dict[str, str]] = {}
        self._unsettled: dict[str | None, tuple[pa.StringArray, int]] = {}

    def column(self, rule: str, column: Column, countries: Countries) -> Column:
        """The standard forms of a column's values under the rule (a field of the table); null where there is none."""
        if column.index is None or countries.codes is None or rule not in COUNTRY_RULES:
            return Column(self._by_country(rule, column.values, countries), column.index)
        pairs = column.index.astype(np.int64) * len(countries.names) + countries.codes
        pairs[column.index < 0] = -1
        different, index = np.unique(pairs, return_inverse=True)
        used = np.flatnonzero(different >= 0)
        values = take(column.values, different[used] // len(countries.names))
        codes = (different[used] % len(countries.names)).astype(np.int32)
        shift = len(different) - len(used)
        result = self._by_country(rule, text_array(values), Countries(countries.names, codes))
        return Column(result, (index - shift).astype(np.int32))

    def country_codes(self, column: Column, default: str | None) -> Countries:
        """The country of each row from a country column, where it says one, else ``default``."""
        names: list[str | None] = [default]
        values = column if column.index is not None else Column(*_dictionary(column.values))
        codes = []
        for value in values.values.to_pylist():
            name = self._remembered("country-code", None, value) if value is not None else None
            name = name or default
            if name not in names:
                names.append(name)
            codes.append(names.index(name))
        index = values.index if values.index is not None else np.zeros(0, np.int32)
        return Countries(names, np.array([*codes, 0], np.int32)[index])

    def _by_country(self, rule: str, values: pa.StringArray, countries: Countries) -> pa.StringArray:
        if rule not in COUNTRY_RULES:
            return self._standard(rule, values, None)
        groups = list(countries.groups(len(values)))
        if len(groups) == 1:
            return self._standard(rule, values, groups[0][0])
        if not groups:
            return values
        parts, order = [], []
        for country, positions in groups:
            if positions is not None:
                parts.append(self._standard(rule, text_array(take(values, positions)), country))
                order.append(positions)
        where = np.empty(len(values), np.int64)
        where[np.concatenate(order)] = np.arange(len(values))
        return take(pa.concat_arrays(parts), where)

    def _standard(self, rule: str, values: pa.StringArray, country: str | None) -> pa.StringArray:
        if len(values) == 0:
            return values
        if rule in ("state", "country"):
            return self._each(rule, values, country)
        data, offsets = buffers(values)
        lengths = np.diff(offsets)
        long = lengths >= HASH_LENGTH
        slow = marked(data >= 0x80, offsets) | long
        if long.any():
            ready = self._hashes(values, lengths)
            if ready.all():
                return from_buffers(*translated(values, LOWERED, np.ones(256, bool)), is_valid(values))
        if rule == "address":
            result, unusual = self._addresses(values, country)
        elif rule == "phone":
            result, unusual = self._phones(values, country)
        elif rule == "email":
            result, unusual = self._emails(values)
        elif rule == "zip":
            result, unusual = self._zips(values, country)
        else:
            result, unusual = self._letters(rule, values)
        if unusual is not None:
            slow |= unusual
        slow &= is_valid(values)
        if not slow.any():
            return result
        return self._patched(result, values, np.flatnonzero(slow), rule, country)

    @staticmethod
    def _hashes(values: pa.StringArray, lengths: npt.NDArray[np.int32]) -> Bools:
        """Per row, whether it is null or 64 hexadecimal digits."""
        valid = is_valid(values)
        fits = lengths == HASH_LENGTH
        if not (fits | ~valid).all():
            return np.asarray(fits)
        data, offsets = buffers(values)
        other = ~byte_set(b"0123456789abcdefABCDEF")[data]
        return np.asarray(~marked(other, offsets))

    def _patched(
        self, result: pa.StringArray, values: pa.StringArray, rows: Ints, rule: str, country: str | None
    ) -> pa.StringArray:
        """``result`` with those rows computed by the reference implementation."""
        return replaced(result, rows, self._each(rule, text_array(take(values, rows)), country))

    def _each(self, rule: str, values: pa.StringArray, country: str | None) -> pa.StringArray:
        """By the reference implementation, each different value once."""
        encoded = values.dictionary_encode()
        known = self._cache.setdefault((rule, country), {})
        if len(known) > CACHE_SIZE:
            known.clear()
        results: list[str | None] = []
        for value in encoded.dictionary.to_pylist():
            found = known.get(value, "")
            if found == "":
                found = reference.standardise(self.table, rule, value, country)
                if len(value) <= HASH_LENGTH:
                    known[value] = found
            results.append(found)
        answers = pa.array(results, pa.string())
        return take(answers, _index(encoded))

    def _remembered(self, what: str, country: str | None, value: str) -> str | None:
        known = self._cache.setdefault((what, country), {})
        if value not in known:
            if len(known) > CACHE_SIZE:
                known.clear()
            known[value] = reference.country_code(self.table, value)
        return known.get(value)

    def _kept(self, rule: str) -> Bools:
        return kept_bytes(next(op[1] for op in self.table.fields[rule] if op[0] == "keep"))

    def _letters(self, rule: str, values: pa.StringArray) -> tuple[pa.StringArray, Bools | None]:
        """Names and cities: lower case, then letters (and digits) only."""
        data, offsets = translated(values, LOWERED, self._kept(rule))
        return from_buffers(data, offsets, np.diff(offsets) > 0), None

    def _emails(self, values: pa.StringArray) -> tuple[pa.StringArray, Bools | None]:
        unusual = None
        if any(op[0] == "between" for op in self.table.fields["email"]):
            raw, starts = buffers(values)
            unusual = marked((raw == ord("<")) | (raw == ord("(")), starts)
        data, offsets = translated(values, LOWERED, self._kept("email"))
        at = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("@"))
        row = sparse_rows(at, offsets)
        inside = (at > offsets[row]) & (at < offsets[row + 1] - 1)
        count = np.bincount(row, minlength=len(values))
        good = (np.bincount(row[inside], minlength=len(values)) == 1) & (count == 1)
        return from_buffers(data, offsets, good), unusual

    def _zips(self, values: pa.StringArray, country: str | None) -> tuple[pa.StringArray, Bools | None]:
        """Codes of digits only, of the right length or with four more digits; in the other table whatever stands
        before a dash."""
        operation = self.table.fields["zip"][-1]
        if operation[0] == "postal":
            rule = self.table.maps[operation[1]].get(country) or {"keep": ""}
            if rule["keep"] != "digits":
                return values, np.ones(len(values), bool)
            data, offsets = translated(values, LOWERED, kept_bytes("digits"))
            digits = from_buffers(data, offsets, np.diff(offsets) > 0)
            lengths, length = np.diff(offsets), rule["length"]
            if (lengths > length).any():
                digits = text_array(pc.utf8_slice_codeunits(digits, 0, length))
            return digits, (lengths != length) & (lengths != length + 4)
        raw, _ = buffers(values)
        if (raw == ord("-")).any():
            values = text_array(pc.replace_substring_regex(values, "(?s)-.*$", ""))
        return self._letters("zip", values)

    def _phones(self, values: pa.StringArray, country: str | None) -> tuple[pa.StringArray, Bools | None]:
        raw, starts = buffers(values)
        plus = np.flatnonzero(raw[: starts[-1]] == ord("+"))
        plus_row = sparse_rows(plus, starts)
        with_plus = np.zeros(len(values), bool)
        with_plus[plus_row] = True
        data, offsets = translated(values, LOWERED, kept_bytes("digits"))
        digits = from_buffers(data, offsets, np.diff(offsets) > 0)
        if ("phone-e164",) in self.table.fields["phone"]:
            unusual = marked(~byte_set(PLAIN_PHONE)[raw], starts)
            unusual[plus_row[plus != starts[plus_row]]] = True
            unusual |= np.diff(starts) > 40
            if country in NANP:
                return self._nanp(digits, offsets, data, with_plus, unusual)
            if country in STRUCTURED:
                return self._structured(digits, with_plus, unusual, country)
            return digits, np.ones(len(values), bool)
        if country in (None, "US"):
            result, odd = self._nanp(digits, offsets, data, np.zeros(len(values), bool), np.zeros(len(values), bool))
            return (digits, np.ones(len(values), bool)) if country is None else (result, odd)
        trimmed = pc.utf8_ltrim(digits, "0")
        prefix = self.table.maps["phone-prefixes"].get(country, "")
        prefixed = pc.if_else(
            pc.starts_with(trimmed, prefix), trimmed, pc.binary_join_element_wise(pa.scalar(prefix), trimmed, "")
        )
        return text_array(
            pc.if_else(pc.equal(pc.utf8_length(trimmed), 0), pa.scalar(None, pa.string()), prefixed)
        ), None

    @staticmethod
    def _nanp(
        digits: pa.StringArray, offsets: npt.NDArray[np.int32], data: bytes, with_plus: Bools, unusual: Bools
    ) -> tuple[pa.StringArray, Bools]:
        """North American numbers of ten digits, or of eleven that begin with 1."""
        raw = np.frombuffer(data + b"\0\0", np.uint8)
        lengths = np.diff(offsets)
        first, second = raw[offsets[:-1]], raw[offsets[:-1] + 1]
        national = (lengths == 10) & (first >= ord("2")) & ~with_plus
        whole = (lengths == 11) & (first == ord("1")) & (second >= ord("2"))
        result = pc.if_else(pa.array(national), pc.binary_join_element_wise(pa.scalar("1"), digits, ""), digits)
        return text_array(result), unusual | ~(national | whole)

    @staticmethod
    def _structured(
        digits: pa.StringArray, with_plus: Bools, unusual: Bools, country: str
    ) -> tuple[pa.StringArray, Bools]:
        """Numbers of countries whose trunk prefix is 0 or none, by the shape that libphonenumber's data gives."""
        about = shape(country)
        code = about.code
        plus = pa.array(with_plus)
        national = digits
        foreign = pc.and_(plus, pc.invert(pc.starts_with(digits, code)))
        idd = about.abroad if about.abroad == "00" else None
        dialled = (
            pc.and_(pc.invert(plus), pc.starts_with(digits, idd + code))
            if idd
            else pa.array(np.zeros(len(digits), bool))
        )
        national = pc.if_else(plus, pc.utf8_slice_codeunits(digits, len(code)), digits)
        if idd:
            national = pc.if_else(dialled, pc.utf8_slice_codeunits(digits, len(code) + 2), national)
        abroad = pc.or_(pc.starts_with(digits, code), pc.starts_with(digits, about.abroad))
        unclear = pc.and_(pc.invert(pc.or_(plus, dialled)), abroad)
        if about.trunk:
            trunk = pc.starts_with(national, "0")
            twice = pc.starts_with(national, "00")
            national = pc.if_else(trunk, pc.utf8_slice_codeunits(national, 1), national)
            unclear = pc.or_(unclear, pc.or_(twice, pc.starts_with(national, "180020")))
        fits = pc.match_substring_regex(national, f"^(?:{about.pattern})$")
        size = pc.is_in(pc.utf8_length(national), pa.array(about.lengths, pa.int32()))
        plain = pc.and_(pc.and_(fits, size), pc.invert(pc.or_(foreign, unclear)))
        result = pc.binary_join_element_wise(pa.scalar(code), national, "")
        odd = ~np.asarray(pc.fill_null(plain, False).to_numpy(zero_copy_only=False))
        return text_array(result), unusual | odd

    def _addresses(self, values: pa.StringArray, country: str | None) -> tuple[pa.StringArray, Bools | None]:
        """Word by word: every operation of both tables looks at one blank-separated word alone."""
        raw, starts = buffers(values)
        unusual: Bools | None = None
        if self.table.fields["address"][0] == ("upper",):
            text = raw.tobytes().translate(IN_ADDRESS)
            slash = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("/"))
            slash = slash[(slash > 0) & (slash < len(text) - 1)]
            upper = np.frombuffer(text, np.uint8)
            care_of = slash[(upper[slash - 1] == ord("C")) & (upper[slash + 1] == ord("O"))]
            if len(care_of):
                unusual = np.zeros(len(values), bool)
                unusual[sparse_rows(care_of, starts)] = True
        else:
            text = raw.tobytes().translate(LOWERED)
            unusual = marked((raw < 0x20) | (raw == 0x7F), starts)
        upper_values = from_buffers(text, starts, np.ones(len(values), bool))
        words = pc.split_pattern(upper_values, " ")
        encoded = words.values.dictionary_encode()
        tokens = take(self._standard_words(encoded.dictionary, country), _index(encoded))
        data, offsets = buffers(tokens)
        row_offsets = offsets[words.offsets.to_numpy()]
        result = from_buffers(data, row_offsets, np.diff(row_offsets) > 0)
        again = self._to_do_again(result, country)
        return result, again if unusual is None else unusual | again

    def _to_do_again(self, results: pa.StringArray, country: str | None) -> Bools:
        """Which joined addresses would change if they were standardised again: they read as one word of the maps, or
        hold what the rules for single words split."""
        words, longest = self._unsettled_words(country)
        data, offsets = buffers(results)
        lengths = np.diff(offsets)
        first = np.append(data, np.uint8(0))[offsets[:-1]]
        again = (first < ord("0")) | (first > ord("9"))
        again &= (lengths <= longest) & (lengths > 0)
        candidates = np.flatnonzero(again)
        if len(candidates):
            found = pc.is_in(results.take(pa.array(candidates)), words)
            again[candidates] = np.asarray(found.to_numpy(zero_copy_only=False))
        if self.table.fields["address"][0] == ("upper",):
            for byte, pattern in ((ord("-"), NUMBER_AND_LETTER), (ord("/"), CARE_OF)):
                rows = np.flatnonzero(marked(data == byte, offsets))
                if len(rows):
                    found = pc.match_substring_regex(results.take(pa.array(rows)), pattern)
                    again[rows] |= np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False))
        return again

    def _unsettled_words(self, country: str | None) -> tuple[pa.StringArray, int]:
        """The words of the maps that are not their own replacement, and the length of the longest."""
        known = self._unsettled.get(country)
        if known is None:
            changed = []
            for word in {word.lower() for word in self.table.address_words(country)}:
                if reference.standardise_once(self.table, "address", word, country) != word:
                    changed.append(word)
            longest = max((len(word.encode()) for word in changed), default=0)
            known = self._unsettled[country] = (pa.array(sorted(changed), pa.string()), longest)
        return known

    def _standard_words(self, words: pa.StringArray, country: str | None) -> pa.StringArray:
        """The standard form of each word. Most are house numbers: digits stay as they are unless the maps name them."""
        data, offsets = buffers(words)
        known = self._digit_words(country)
        spelt = marked(~kept_bytes("digits")[data], offsets)
        if known:
            spelt |= np.asarray(pc.is_in(words, pa.array(known)).to_numpy(zero_copy_only=False))
        rows = np.flatnonzero(spelt)
        results = self._word_results(words.take(pa.array(rows)).to_pylist(), country)
        return replaced(words, rows, pa.array(results, pa.string()))

    def _digit_words(self, country: str | None) -> list[str]:
        return [word for word in self.table.address_words(country) if word.isdigit()]

    def _word_results(self, words: list[str], country: str | None) -> list[str]:
        known = self._words.setdefault(country, {})
        if len(known) > CACHE_SIZE:
            known.clear()
        results = []
        for word in words:
            result = known.get(word)
            if result is None:
                result = reference.standardise_once(self.table, "address", word, country) or ""
                if len(word) < HASH_LENGTH:
                    known[word] = result
            results.append(result)
        return results


def _dictionary(values: pa.StringArray) -> tuple[pa.StringArray, npt.NDArray[np.int32]]:
    encoded = values.dictionary_encode()
    return encoded.dictionary, _index(encoded)


def _index(encoded: pa.DictionaryArray) -> npt.NDArray[np.int32]:
    """A dictionary array's indices; -1 for null."""
    indices = encoded.indices
    return np.array((pc.fill_null(indices, -1) if indices.null_count else indices).to_numpy(), np.int32)


def encoded(values: pa.Array, as_dictionary: bool) -> Column:
    """A column of an Arrow string array, empty strings as null, as a dictionary if asked."""
    text = text_array(values)
    return Column(*_dictionary(text)) if as_dictionary else Column(text)


def few_values(values: pa.Array) -> bool:
    """Whether a column's first thousands of rows repeat themselves enough for a dictionary to pay."""
    head = values.slice(0, SAMPLE)
    filled = len(head) - head.null_count
    return bool(filled == 0 or pc.count_distinct(head).as_py() < filled * DICTIONARY_SHARE)


def hashed_already(values: pa.StringArray) -> Bools:
    """Per row, whether the value is 64 hexadecimal digits, blanks around it aside."""
    data, offsets = buffers(values)
    candidates = np.flatnonzero(np.diff(offsets) >= HASH_LENGTH)
    result = np.zeros(len(values), bool)
    if len(candidates) == 0:
        return result
    if len(candidates) > len(values) // 2 and (np.diff(offsets)[candidates] == HASH_LENGTH).all():
        other = ~byte_set(b"0123456789abcdefABCDEF")[data]
        result[candidates] = ~marked(other, offsets)[candidates]
        return result
    chosen = values.take(pa.array(candidates)).to_pylist()
    result[candidates] = [value is not None and reference.is_hash(value) for value in chosen]
    return result


def sha256(values: pa.StringArray) -> pa.StringArray:
    """SHA-256 of each value in lower-case hex; null stays null."""
    frame = pl.DataFrame({"value": pl.from_arrow(values)}, schema={"value": pl.String})
    result = frame.select(polars_hash.col("value").chash.sha2_256())["value"]
    return result.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())


def hashed(original: Column, standard: Column) -> Column:
    """The hashes of a standardised column; values that came as hashes stay as they are in ``standard``."""
    if original.index is not None and standard.index is not None and len(original.values) != len(standard.values):
        # One value under several countries has several standard forms; a hash has the same one under all.
        kept = np.isin(np.arange(len(standard.values)), standard.index[hashed_already(original.values)[original.index]])
    else:
        kept = hashed_already(original.values)
    if kept.all():
        return standard
    result = sha256(standard.values)
    if kept.any():
        result = pc.if_else(pa.array(kept), standard.values, result)
    return Column(text_array(result), standard.index)
