"""Renders a rule table as SQL, for files too large for one machine: Athena prepares them in the customer's account.

The statement is a ``CREATE TABLE AS`` for Athena (Trino). The same rendering in DuckDB's dialect, the twin, exists so
that the golden vectors can be run through it. Telephone numbers follow libphonenumber's published shapes of nine
countries; what needs the library itself (extensions, letters, numbers of other countries without plus) becomes null.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onboarding.identity import reference, rules
from onboarding.identity.columns import MEANINGS, VALUE_KINDS, Kind
from onboarding.identity.errors import BadMapping
from onboarding.identity.phones import NANP, STRUCTURED, shape
from onboarding.identity.rules import Operation, RuleTable

BLANKS = r"[\x{09}-\x{0d}\x{1c}-\x{20}\x{85}\p{Z}]"
DELIMITERS = rf"\bC/O\b|(?:{BLANKS}|[,!.\[\]{{}}()])+"
KEPT = {**reference.KEPT, "email-unicode": r"\p{L}\p{N}_.@\-"}
FULL_WIDTH = "０１２３４５６７８９"
NUMBER_AND_LETTER = r"^([0-9]+)-([^-0-9][^-]*|[0-9]+[^-0-9])$"
HASH = r"^[0-9a-fA-F]{64}$"


def quoted(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


class Dialect:
    """How Athena (Trino) writes what the rules need."""

    name = "trino"

    def replace_all(self, value: str, pattern: str, by: str) -> str:
        """Every match of a pattern replaced; ``\\1`` in ``by`` is a group."""
        groups = re.sub(r"\\(\d)", r"$\1", by)
        return f"regexp_replace({value}, {quoted(pattern)}, {quoted(groups)})"

    def like(self, value: str, pattern: str) -> str:
        """Whether the pattern is found."""
        return f"regexp_like({value}, {quoted(pattern)})"

    def normal(self, value: str, form: str) -> str:
        """Unicode normalisation, ``NFC`` or ``NFD``."""
        return f"normalize({value}, {form})"

    def mapping(self, entries: Mapping[str, str]) -> str:
        """A map of strings."""
        keys, values = ", ".join(map(quoted, entries)), ", ".join(map(quoted, entries.values()))
        return f"map(ARRAY[{keys}], ARRAY[{values}])"

    def found(self, mapping: str, key: str) -> str:
        """What a map has for a key, or null."""
        return f"element_at({mapping}, {key})"

    def words(self, value: str, each: str) -> str:
        """The blank-separated words, each (``w``) replaced, as an array."""
        return f"transform(split({value}, ' '), w -> {each})"

    def joined(self, words: str, by: str) -> str:
        """An array of words as one string."""
        return f"array_join({words}, {quoted(by)})"

    def sha256(self, value: str) -> str:
        """The digest in lower-case hex."""
        return f"lower(to_hex(sha256(to_utf8({value}))))"

    def values(self, value: str) -> str:
        """The different values of a group, in order."""
        return f"array_sort(array_agg(DISTINCT {value}) FILTER (WHERE {value} IS NOT NULL))"


class DuckDb(Dialect):
    """The twin. ``nfc`` and ``nfd`` are functions that whoever runs it registers: DuckDB has no NFD."""

    name = "duckdb"

    def replace_all(self, value: str, pattern: str, by: str) -> str:
        return f"regexp_replace({value}, {quoted(pattern)}, {quoted(by)}, 'g')"

    def like(self, value: str, pattern: str) -> str:
        return f"regexp_matches({value}, {quoted(pattern)})"

    def normal(self, value: str, form: str) -> str:
        return f"{form.lower()}({value})"

    def mapping(self, entries: Mapping[str, str]) -> str:
        keys, values = ", ".join(map(quoted, entries)), ", ".join(map(quoted, entries.values()))
        return f"map([{keys}], [{values}])"

    def found(self, mapping: str, key: str) -> str:
        return f"{mapping}[{key}]"

    def words(self, value: str, each: str) -> str:
        return f"list_transform(string_split({value}, ' '), lambda w: {each})"

    def joined(self, words: str, by: str) -> str:
        return f"array_to_string({words}, {quoted(by)})"

    def sha256(self, value: str) -> str:
        return f"sha256({value})"

    def values(self, value: str) -> str:
        return f"list_sort(list_distinct(list({value}) FILTER (WHERE {value} IS NOT NULL)))"


@dataclass(frozen=True)
class Plan:
    """A statement for Athena, and what it makes. ``widths`` says how many columns each kind gets."""

    statement: str
    table: str
    location: str
    widths: Mapping[Kind, int]


class Renderer:
    """Renders one rule table in one dialect. Maps become columns of a one-row table ``m``."""

    def __init__(self, table: RuleTable, dialect: Dialect) -> None:
        self._table, self._sql = table, dialect
        self.maps: dict[str, str] = {}

    def standard(self, rule: str, value: str, country: str) -> str:
        """The standard form of a value under a rule; null where there is none. ``value`` and ``country`` are SQL."""
        trimmed = self._trimmed(value)
        result = value
        for operation in self._table.fields[rule]:
            settles = operation[0] == "settle"
            result = self._settled(rule, result, country) if settles else self._operation(result, operation, country)
        return f"CASE WHEN {self._sql.like(trimmed, HASH)} THEN lower({trimmed}) ELSE nullif({result}, '') END"

    def hashed(self, standard: str, value: str) -> str:
        """The hash of a standard form, or the hash that the value was."""
        ready = self._sql.like(self._trimmed(value), HASH)
        return f"CASE WHEN {ready} THEN {standard} ELSE {self._sql.sha256(standard)} END"

    def country(self, value: str, default: str | None) -> str:
        """The row's country as an upper-case code."""
        code = self.standard("country", value, "NULL")
        fallback = quoted(default) if default else "NULL"
        return f"coalesce(upper(CASE WHEN length({code}) = 2 THEN {code} END), {fallback})"

    def _trimmed(self, value: str) -> str:
        return self._sql.replace_all(value, f"^{BLANKS}+|{BLANKS}+$", "")

    def _map(self, name: str, entries: Mapping[str, str]) -> str:
        column = re.sub(r"\W", "_", name)
        self.maps[column] = self._sql.mapping(entries)
        return f"m.{column}"

    def _of_countries(self, name: str, by_country: Mapping[str, Mapping[str, str]]) -> str:
        return self._map(name, {f"{c}|{k}": v for c, entries in by_country.items() for k, v in entries.items()})

    def _each_word(self, value: str, mapping: str, country: str | None = None) -> str:
        key = f"{country} || '|' || w" if country else "w"
        return self._sql.joined(self._sql.words(value, f"coalesce({self._sql.found(mapping, key)}, w)"), " ")

    def _operation(self, value: str, operation: Operation, country: str) -> str:
        sql, maps = self._sql, self._table.maps
        name = operation[0]
        argument = operation[1] if len(operation) > 1 else ""
        if name == "trim":
            return self._trimmed(value)
        if name == "lower":
            return f"lower({value})"
        if name == "upper":
            # SQL leaves the sharp s as it is.
            return f"upper(replace({value}, 'ß', 'SS'))"
        if name == "nfc":
            return sql.normal(value, "NFC")
        if name == "decompose":
            return sql.normal(value, "NFD")
        if name == "keep":
            return sql.replace_all(value, f"[^{KEPT[argument]}]+", "")
        if name == "remove-blanks":
            return sql.replace_all(value, f"{BLANKS}+", "")
        if name == "digits-half-width":
            return f"translate({value}, '{FULL_WIDTH}', '0123456789')"
        if name == "cut":
            return sql.replace_all(value, f"{re.escape(argument)}[\\s\\S]*$", "")
        if name == "strip-zeros":
            return sql.replace_all(value, "^0+", "")
        if name == "between":
            inner = f"[\\s\\S]*?{operation[1]}([^{operation[2]}]*){operation[2]}[\\s\\S]*"
            return sql.replace_all(value, f"^{inner}$", r"\1")
        if name == "require":
            return f"CASE WHEN {sql.like(value, f'^(?:{reference.REQUIRED[argument]})$')} THEN {value} END"
        if name == "replace":
            for old, new in maps[argument].items():
                value = f"replace({value}, {quoted(old)}, {quoted(new)})"
            return value
        if name == "replace-words":
            return self._each_word(value, self._map(argument, maps[argument]))
        if name == "replace-words-of-country":
            return self._each_word(value, self._of_countries(argument, maps[argument]), f"coalesce({country}, '')")
        if name == "whole":
            return f"coalesce({sql.found(self._map(argument, maps[argument]), value)}, {value})"
        if name == "prefix":
            known = sql.found(self._map(argument, maps[argument]), f"coalesce({country}, '')")
            prefix = f"coalesce({known}, '')"
            has_it = f"{value} = '' OR substr({value}, 1, length({prefix})) = {prefix}"
            return f"CASE WHEN {has_it} THEN {value} ELSE {prefix} || {value} END"
        return self._special(value, operation, country)

    def _special(self, value: str, operation: Operation, country: str) -> str:
        sql, maps = self._sql, self._table.maps
        name = operation[0]
        if name == "tokens":
            return sql.replace_all(value, DELIMITERS, " ")
        if name == "split-number-and-letter":
            return sql.joined(sql.words(value, sql.replace_all("w", NUMBER_AND_LETTER, r"\1 \2")), " ")
        if name == "split-hash":
            return f"replace({value}, '#', ' # ')"
        if name == "words":
            words = self._of_countries("address_words", {c: dict(self._table.words(c)) for c in maps["address-words"]})
            return self._each_word(value, words, self._own_words(country))
        if name == "join":
            return f"replace({value}, ' ', '')"
        if name == "country":
            countries = self._map("countries", maps["countries"])
            return sql.found(countries, sql.replace_all(sql.normal(value, "NFD"), "[^a-z0-9]+", ""))
        if name == "state":
            return self._state(value, country)
        if name == "postal":
            return self._postal(value, country)
        if name == "phone-e164":
            return self._phone(value, country)
        if name == "phone-national":
            # A ten-digit number is the national one whether it is valid or not; the prefix rule adds the rest.
            short = sql.replace_all(value, "^1([2-9][0-9]{9})$", r"\1")
            return f"CASE WHEN {country} = 'US' OR {country} IS NULL THEN {short} ELSE {value} END"
        raise BadMapping(f"the rule {name} has no form in SQL")

    def _settled(self, rule: str, value: str, country: str) -> str:
        """What repeating the operations gives, without a loop: an address has no blanks any more, so only what splits
        one word and the maps, each word with its last replacement, can change it."""
        sql = self._sql
        if rule == "phone":
            again = sql.replace_all(value, "^1([2-9][0-9]{9})$", r"\1")
            return f"CASE WHEN {country} IS NULL THEN {again} ELSE {value} END"
        if any(operation[0] == "tokens" for operation in self._table.fields[rule]):
            apart = sql.words(sql.replace_all(value, r"\bc/o\b", " "), sql.replace_all("w", NUMBER_AND_LETTER, r"\1\2"))
            value = sql.replace_all(sql.joined(apart, ""), NUMBER_AND_LETTER, r"\1\2")
        words = {code: self._last_words(code) for code in self._countries_of_addresses()}
        which = self._own_words(country)
        found = sql.found(self._of_countries("settled_words", words), f"{which} || '|' || {value}")
        return f"coalesce({found}, {value})"

    def _last_words(self, country: str) -> dict[str, str]:
        known = sorted({word.lower() for word in self._table.address_words(country or None)})
        last = {word: reference.standardise(self._table, "address", word, country or None) for word in known}
        return {word: found for word, found in last.items() if found is not None and found != word}

    def _countries_of_addresses(self) -> list[str]:
        maps = self._table.maps
        return list(maps["address-words"]) if "address-words" in maps else [*maps["country-street-words"], ""]

    def _own_words(self, country: str) -> str:
        known = [code for code in self._countries_of_addresses() if code]
        return f"CASE WHEN {country} IN ({', '.join(map(quoted, known))}) THEN {country} ELSE '' END"

    def _state(self, value: str, country: str) -> str:
        sql = self._sql
        states = self._of_countries("states", self._table.maps["states"])
        lowered = sql.normal(f"lower({value})", "NFC")
        spelt_out = lowered
        for old, new in self._table.maps["germanic"].items():
            spelt_out = f"replace({spelt_out}, {quoted(old)}, {quoted(new)})"
        codes = [
            sql.found(states, f"{country} || '|' || " + sql.replace_all(sql.normal(spelling, "NFD"), "[^a-z0-9]+", ""))
            for spelling in (spelt_out, lowered)
        ]
        known = ", ".join(map(quoted, self._table.maps["states"]))
        letters = f"substr({sql.replace_all(lowered, '[^a-z]+', '')}, 1, 2)"
        return f"CASE WHEN {country} IN ({known}) THEN coalesce({', '.join(codes)}) ELSE {letters} END"

    def _postal(self, value: str, country: str) -> str:
        sql = self._sql
        cases, other = [], "NULL"
        for code, rule in self._table.maps["postal-codes"].items():
            kept = sql.replace_all(value, f"[^{KEPT[rule['keep']]}]+", "")
            cut = f"substr({kept}, 1, {rule['length']})" if rule["keep"] == "digits" else kept
            if rule.get("pad"):
                sizes = ", ".join(map(str, rule["pad"]))
                plus = ""
                if rule.get("pad-plus-four"):
                    plus = f"WHEN length({kept}) IN (7, 8) THEN substr(lpad({kept}, 9, '0'), 1, 5) "
                padded = f"WHEN length({kept}) IN ({sizes}) THEN lpad({kept}, {rule['length']}, '0')"
                cut = f"CASE {padded} {plus}ELSE {cut} END"
            checked = f"CASE WHEN {sql.like(cut, '^(?:' + rule['match'] + ')$')} THEN {cut} END"
            if code:
                cases.append(f"WHEN {country} = {quoted(code)} THEN {checked}")
            else:
                other = checked
        return f"CASE {' '.join(cases)} ELSE {other} END"

    def _phone(self, value: str, country: str) -> str:
        sql = self._sql
        half = f"translate({value}, '{FULL_WIDTH}', '0123456789')"
        plain = sql.like(half, rf"^{BLANKS}*[+]?[0-9()\-./ ]{{1,40}}{BLANKS}*$")
        plus = sql.like(half, rf"^{BLANKS}*[+]")
        digits = sql.replace_all(half, "[^0-9]+", "")
        nanp = "^1?[2-9][0-9]{9}$"
        cases = [
            f"WHEN {country} IN ({', '.join(map(quoted, NANP))}) AND NOT {plus} AND {sql.like(digits, nanp)} "
            f"THEN '1' || substr({digits}, -10)",
            f"WHEN {country} IN ({', '.join(map(quoted, NANP))}) AND {sql.like(digits, '^011[1-9][0-9]{7,14}$')} "
            f"THEN substr({digits}, 4)",
        ]
        for region in STRUCTURED:
            about = shape(region)
            trunk = "0?" if about.trunk else ""
            code = about.code
            digit = f"{trunk}(?:{about.pattern})"
            kept = f"{trunk}((?:{about.pattern}))"
            whole = f"(?:{about.abroad})?{code}"
            national = sql.replace_all(digits, f"^{kept}$", code + r"\1")
            abroad = sql.replace_all(digits, f"^{whole}{kept}$", code + r"\1")
            own = f"{country} = {quoted(region)} AND NOT {plus} AND"
            is_national = f"({sql.like(digits, f'^{digit}$')} AND NOT {sql.like(digits, f'^(?:{about.abroad})')})"
            is_valid = sql.like(digits, f"^{code}{trunk}(?:{about.valid})$")
            is_abroad = f"{sql.like(digits, f'^{whole}{digit}$')} AND (NOT {is_national} OR {is_valid})"
            cases.append(f"WHEN {own} {is_abroad} THEN {abroad}")
            cases.append(f"WHEN {own} {is_national} THEN {national}")
            cases.append(f"WHEN {plus} AND {sql.like(digits, f'^{code}{digit}$')} THEN {abroad}")
        # Digits alone that are no North American number are one of E.164 without its plus.
        bare = (
            f"({country} IN ({', '.join(map(quoted, NANP))}) AND {sql.like(value, '^[1-9][0-9]{7,14}$')} "
            f"AND NOT {sql.like(digits, '^(?:1?[0-9]{10})$')})"
        )
        for region in STRUCTURED:
            about = shape(region)
            kept = f"{'0?' if about.trunk else ''}((?:{about.pattern}))"
            is_it = sql.like(digits, f"^{about.code}{kept}$")
            cases.append(
                f"WHEN {bare} AND {is_it} THEN " + sql.replace_all(digits, f"^{about.code}{kept}$", about.code + r"\1")
            )
        cases.append(f"WHEN {plus} AND {sql.like(digits, '^1[2-9][0-9]{9}$')} THEN {digits}")
        others = "|".join(shape(region).code for region in ("US", *STRUCTURED))
        foreign = f"NOT {sql.like(digits, f'^(?:{others})')} AND {sql.like(digits, '^[1-9][0-9]{7,14}$')}"
        cases.append(f"WHEN ({plus} OR {country} IS NULL) AND {foreign} THEN {digits}")
        return f"CASE WHEN NOT {plain} THEN NULL {' '.join(cases)} END"


def plan(
    source: str,
    table: str,
    location: str,
    mapping: Mapping[str, Kind],
    *,
    country: str | None = None,
    rule_table: str = rules.AMAZON_ADS,
    widths: Mapping[Kind, int] | None = None,
    key: str = "customerid",
) -> Plan:
    """The Athena statement that prepares a Glue table.

    ``source`` and ``table`` are ``database.table`` names, ``location`` an empty ``s3://`` folder, ``mapping`` the
    source's columns, all strings. ``widths`` collapses the rows of one key into that many columns of each kind; without
    it every row stays a row, so use it unless keys are unique. Raises BadMapping.
    """
    body = select(source, mapping, Dialect(), country=country, rule_table=rule_table, widths=widths, key=key)
    name = ".".join(identifier(part) for part in table.split("."))
    options = f"format = 'PARQUET', write_compression = 'ZSTD', external_location = {quoted(location)}"
    statement = f"CREATE TABLE {name}\nWITH ({options})\nAS\n{body}"
    return Plan(statement, table, location, _widths(mapping, widths))


def select(
    source: str,
    mapping: Mapping[str, Kind],
    dialect: Dialect,
    *,
    country: str | None = None,
    rule_table: str = rules.AMAZON_ADS,
    widths: Mapping[Kind, int] | None = None,
    key: str = "customerid",
) -> str:
    """The query of :func:`plan` in a dialect."""
    keys = [column for column, kind in mapping.items() if kind is Kind.KEY]
    if len(keys) != 1:
        raise BadMapping("name exactly one column as the key")
    renderer = Renderer(rules.load(rule_table), dialect)
    by_kind: dict[Kind, list[str]] = {}
    for kind in VALUE_KINDS:
        named = [column for column, given in mapping.items() if given is kind]
        if named:
            by_kind[kind] = named
    countries = by_kind.get(Kind.COUNTRY, [])
    code = renderer.country(identifier(countries[0]), country) if countries else quoted(country) if country else "NULL"
    standard, final = [], []
    for kind, columns in by_kind.items():
        rule = MEANINGS[kind].rule
        for number, column in enumerate(columns, 1):
            value, alias = identifier(column), f"{kind.value}_{number}"
            standard.append(f"{value} AS raw_{alias}")
            made = renderer.standard(rule, value, "country_code") if rule else f"nullif({value}, '')"
            standard.append(f"{made} AS std_{alias}")
            hashed = renderer.hashed(f"std_{alias}", f"raw_{alias}") if rule else f"std_{alias}"
            final.append((kind, number, hashed))
    names = ".".join(identifier(part) for part in source.split("."))
    key_column = identifier(keys[0])
    consent = [identifier(column) for column, kind in mapping.items() if kind is Kind.CONSENT]
    carried = "".join(f", {column}" for column in consent)
    hashes = [f"{sql} AS {_output(kind, number)}" for kind, number, sql in final]
    maps = [f"{sql} AS {name}" for name, sql in renderer.maps.items()] or ["1 AS nothing"]
    usable = f"{key_column} <> '' AND length({key_column}) <= 38"
    last = [f"key_column AS {identifier(key)}{carried}", *_selected(by_kind, dialect, widths)]
    steps = {
        "m": _query(maps),
        "coded": _query(["s.*", f"{code} AS country_code"], f"{names} AS s CROSS JOIN m", usable),
        "standard": _query([f"{key_column} AS key_column{carried}", *standard], "coded CROSS JOIN m"),
        "hashed": _query([f"key_column{carried}", *hashes], "standard"),
    }
    query = ",\n".join(f"{name} AS ({step})" for name, step in steps.items())
    group = f"\nGROUP BY key_column{carried}" if widths else ""
    return f"WITH {query}\n{_query(last, 'hashed')}{group}"


def _query(columns: Sequence[str], source: str | None = None, where: str | None = None) -> str:
    """A query's text from parts that are SQL already; names and literals in them are quoted where they are made."""
    words = ["SELECT", ", ".join(columns)]
    words += ["FROM", source] if source else []
    words += ["WHERE", where] if where else []
    return " ".join(words)


def _output(kind: Kind, number: int) -> str:
    name = MEANINGS[kind].column
    return identifier(name if number == 1 else f"{name}_{number}")


def _widths(mapping: Mapping[str, Kind], widths: Mapping[Kind, int] | None) -> dict[Kind, int]:
    counts = {kind: sum(k is kind for k in mapping.values()) for kind in MEANINGS if kind is not Kind.KEY}
    return {kind: max(count, (widths or {}).get(kind, 1)) for kind, count in counts.items() if count}


def _selected(by_kind: Mapping[Kind, Sequence[str]], dialect: Dialect, widths: Mapping[Kind, int] | None) -> list[str]:
    selected = []
    for kind, columns in by_kind.items():
        if not widths:
            selected += [_output(kind, number) for number in range(1, len(columns) + 1)]
            continue
        lists = " || ".join(
            f"coalesce({dialect.values(_output(kind, number))}, {_empty(dialect)})"
            for number in range(1, len(columns) + 1)
        )
        for number in range(1, max(len(columns), widths.get(kind, 1)) + 1):
            element = f"({lists})[{number}]" if dialect.name == "duckdb" else f"element_at({lists}, {number})"
            selected.append(f"{element} AS {_output(kind, number)}")
    return selected


def _empty(dialect: Dialect) -> str:
    return "[]::VARCHAR[]" if dialect.name == "duckdb" else "CAST(ARRAY[] AS array(varchar))"
