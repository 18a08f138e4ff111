"""Which column holds what: guessed from header and content, or given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onboarding.identity import rules
from onboarding.identity.columns import CONSENT_COLUMNS, MEANINGS, Kind
from onboarding.identity.errors import BadMapping
from onboarding.identity.reference import country_code, is_hash

SAMPLE_ROWS = 500
NAMES: Mapping[Kind, str] = {
    Kind.EMAIL: (
        r"e?mail(address|addr|id)?\d*|(work|home|personal|private|primary|secondary|contact|"
        r"customer|billing)e?mail(address)?|hashede?mail|e?mail(sha256|hash|hashed)"
    ),
    Kind.PHONE: (
        r"(tele)?phone(number|no|num|nr)?\d*|mobile(phone|number|no)?|cell(phone)?|tel|telefon|"
        r"telefono|(home|work|day|evening|contact|primary)phone(number)?|msisdn|phone(sha256|hash|"
        r"hashed)"
    ),
    Kind.FIRST_NAME: (
        r"f(irst)?name|first|givenname|forename|vorname|prenom|nombre|nome|fname|firstname(sha256|"
        r"hash|hashed)"
    ),
    Kind.LAST_NAME: (
        r"l(ast)?name|last|surname|familyname|nachname|nomdefamille|apellidos?|cognome|"
        r"lastname(sha256|hash|hashed)"
    ),
    Kind.ADDRESS: (
        r"(street|home|mailing|postal|shipping|billing|delivery)?(address|addr|adresse)(line)?\d*|"
        r"street(name|line)?\d*|strasse|calle|rue|indirizzo|direccion"
    ),
    Kind.CITY: r"(billing|shipping|home)?city(name)?|town|ort|stadt|ville|ciudad|citta|locality|municipality",
    Kind.STATE: (
        r"(billing|shipping|home)?state(code|name)?|province|region|county|bundesland|provincia|"
        r"stateprovince|prefecture"
    ),
    Kind.ZIP: (
        r"(billing|shipping|home)?(zip|postal|post)(code)?\d?|postcode|plz|postleitzahl|codepostal|"
        r"cap|codigopostal|pincode|zip5|zip4|zipplus4"
    ),
    Kind.COUNTRY: r"(billing|shipping|home)?country(code|name|iso2?)?|land|pays|pais|paese|nation|isocountry",
    Kind.MAID: r"maid|mobilead(vertising)?id|idfa|gaid|aaid|adid|advertisingid|deviceid|rida|tifa|afai|lgudid|ifa",
    Kind.LIVERAMP: r"liveramp(id)?|lrp|rampid|identitylink|idl",
    Kind.EXPERIAN: r"experian(id)?|exp(id)?|experianluid|luid",
    Kind.MERKLE: r"merkle(id)?|mkl|merkury(id)?|merkurypid",
    Kind.KEY: (
        r"(customer|user|person|member|record|row|unique|client|contact|household|profile|"
        r"subscriber|account|crm|external|loyalty)?(id|key|no|number|nr|uuid|guid)|userid|uid|pk|"
        r"primarykey|customer"
    ),
}
PERSONAL_NAME = re.compile(
    r"((full|middle|maiden|birth|nick|screen|login|user|customer|person|member|contact|recipient|(user|customer)full)?"
    r"name|birth|birthda(te|y)|dateofbirth|dob|geburts(datum|tag|name)|datedenaissance|fechadenacimiento|"
    r"(user|customer|client|remote|visitor)?ip(v[46])?(addr(ess)?)?|ssn|socialsecurity(number|no)?|"
    r"passport(number|no|id)?|(drivers?|driving)licen[cs]e(number|no)?|nationalid|iban|(credit|debit)card(number|no)?)"
    r"\d{0,2}"
)
"""Names of columns that are about a person, though no kind takes them."""
HASH_OF_A_THING = re.compile(
    r"(order|transaction|purchase|session|event|request|product|item|sku|campaign|creative|file|page|url|row|batch)"
    r"(id|key|hash(ed)?|sha256|checksum|digest)?|checksum|etag"
)
"""Names of columns whose hashes are not a person's."""
NUMBERED = re.compile(r"(.*[a-z])([1-9]|1\d|2[0-5])")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
PHONE = re.compile(r"\+?[\d\s().\-/]{7,20}")
MAID_VALUE = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
ZIP = re.compile(
    r"\d{5}(-\d{4})?|[A-Za-z]\d[A-Za-z] ?\d[A-Za-z]\d|[A-Za-z]{1,2}\d[A-Za-z\d]? ?\d[A-Za-z]{2}|\d{3}-?\d{4}|\d{6}"
)
STREET = re.compile(r"(\d+[\w-]*\s+\S+.*)|(\D+\s\d+\w*)")
COUNTRY = re.compile(r"[A-Za-z]{2,3}|united.+|deutschland|germany|france|canada|spain|italy|japan|india", re.IGNORECASE)
WORD = re.compile(r"[^\W\d_][^\d@]{0,39}")
KEY = re.compile(r"[\w.:-]{1,38}")
CONTENT: Mapping[Kind, re.Pattern[str]] = {
    Kind.EMAIL: EMAIL,
    Kind.PHONE: PHONE,
    Kind.MAID: MAID_VALUE,
    Kind.ZIP: ZIP,
    Kind.ADDRESS: STREET,
    Kind.COUNTRY: COUNTRY,
    Kind.FIRST_NAME: WORD,
    Kind.LAST_NAME: WORD,
    Kind.CITY: WORD,
    Kind.STATE: WORD,
    Kind.KEY: KEY,
}
TELLING = (Kind.EMAIL, Kind.MAID)
"""Kinds that values alone give away."""


@dataclass(frozen=True)
class Guess:
    """What a column probably holds. ``confidence`` runs from 0 to 1; ``reason`` is ``header``, ``content``, ``both``
    or ``none``; ``fits`` the share of sampled values that look like that kind; ``hashed`` whether they are hashes."""

    column: str
    kind: Kind
    confidence: float
    reason: str
    fits: float | None
    hashed: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "kind": self.kind.value}


def guess(header: Sequence[str], samples: Sequence[Sequence[str | None]]) -> list[Guess]:
    """What each column probably holds, from its name and some of its values (``samples``: one list a column).

    At most one column becomes the key: the likeliest whose sampled values differ from one another.
    """
    guesses = [_guess_one(name, [v for v in values if v]) for name, values in zip(header, samples, strict=True)]
    keys = [(i, g) for i, g in enumerate(guesses) if g.kind is Kind.KEY]
    best = max(keys, key=lambda entry: (entry[1].confidence, -entry[0]), default=None)
    for position, found in keys:
        if best is None or position != best[0]:
            guesses[position] = Guess(found.column, Kind.IGNORE, 0.5, "none", None, found.hashed)
    return guesses


def personal_beside(entry: Guess, is_key: bool) -> bool:
    """Whether a column of no kind still looks like personal data: by its name, or because it holds hashes. A key may
    be a hash."""
    plain = _plain(entry.column)
    if entry.kind is Kind.CONSENT or (is_key and entry.hashed):
        return False
    return bool(PERSONAL_NAME.fullmatch(plain)) or (entry.hashed and not HASH_OF_A_THING.fullmatch(plain))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _guess_one(name: str, values: Sequence[str]) -> Guess:
    plain = _plain(name)
    if name.strip().lower() in CONSENT_COLUMNS:
        return Guess(name, Kind.CONSENT, 1.0, "header", None)
    hashes = sum(is_hash(value) for value in values)
    all_hashed = bool(values) and hashes * 2 > len(values)
    clear = [value.strip() for value in values if not is_hash(value)]
    by_name = _kind_named_so(plain) or _numbered(plain, clear)
    if by_name is None:
        for kind in TELLING:
            fits = _share(kind, clear)
            if clear and not all_hashed and fits > 0.8:
                return Guess(name, kind, round(0.7 * fits, 2), "content", round(fits, 2))
        if (
            clear
            and _share(Kind.PHONE, clear) > 0.9
            and sum(len(re.sub(r"\D", "", v)) in range(9, 15) for v in clear) > 0.9 * len(clear)
        ):
            punctuated = sum(not v.isdigit() for v in clear) > 0.3 * len(clear)
            if punctuated:
                return Guess(name, Kind.PHONE, 0.6, "content", round(_share(Kind.PHONE, clear), 2))
        return Guess(name, Kind.IGNORE, 0.5, "none", None, all_hashed)
    if not values or all_hashed:
        return Guess(name, by_name, 0.8 if values else 0.6, "header", None, all_hashed)
    fits = _share(by_name, clear)
    if by_name is Kind.KEY:
        repeats = 1 - len(set(values)) / len(values)
        fits *= 1 - repeats
    if fits < 0.5:
        for kind in TELLING:
            if kind is not by_name and _share(kind, clear) > 0.8:
                return Guess(name, kind, 0.6, "content", round(_share(kind, clear), 2))
    return Guess(name, by_name, round(0.5 + 0.5 * fits, 2), "both" if fits >= 0.5 else "header", round(fits, 2))


def _kind_named_so(plain: str) -> Kind | None:
    return next((kind for kind, pattern in NAMES.items() if re.fullmatch(pattern, plain)), None)


def _numbered(plain: str, clear: Sequence[str]) -> Kind | None:
    """The kind of a numbered column, such as ``lastname_2``, by its name without the number. Names other than those
    that preparing gives must have values that fit: ``last_7`` may be days. Addresses number their lines instead."""
    numbered = NUMBERED.fullmatch(plain)
    kind = _kind_named_so(numbered[1]) if numbered else None
    if numbered is None or kind is None or kind in (Kind.KEY, Kind.ADDRESS):
        return None
    ours = numbered[1] == MEANINGS[kind].column
    return kind if ours or (kind in CONTENT and (not clear or _share(kind, clear) >= 0.5)) else None


def _share(kind: Kind, values: Sequence[str]) -> float:
    """The share of values that look like the kind; 1 for kinds whose values look like anything."""
    pattern = CONTENT.get(kind)
    if pattern is None:
        return 1.0
    return sum(pattern.fullmatch(value) is not None for value in values) / len(values) if values else 0.0


def parse(text: str) -> dict[str, Kind]:
    """A mapping written as ``column=kind,column=kind``. Raises BadMapping."""
    mapping: dict[str, Kind] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        column, sign, kind = part.rpartition("=")
        if not sign:
            raise BadMapping("write the mapping as column=kind,column=kind")
        mapping[column.strip()] = kind_named(kind.strip())
    return mapping


def kind_named(word: str) -> Kind:
    """The kind of that name. Raises BadMapping with the known ones."""
    try:
        return Kind(word)
    except ValueError:
        raise BadMapping(f"unknown kind; known are {', '.join(Kind)}") from None


def country_named(word: str | None) -> str | None:
    """The upper-case code of the files' country, given as code or name; None where none is given. Raises BadMapping."""
    if word is None:
        return None
    code = country_code(rules.load(rules.AMAZON_ADS), word)
    if code is None:
        raise BadMapping("unknown country; give its two-letter ISO code")
    return code


def checked(mapping: Mapping[str, Kind], header: Sequence[str]) -> dict[str, Kind]:
    """The mapping, usable for a file with that header: columns exist, one key. Raises BadMapping."""
    unknown = [column for column in mapping if column not in header]
    if unknown:
        raise BadMapping(f"the files have no column named {', '.join(unknown)}")
    keys = [column for column, kind in mapping.items() if kind is Kind.KEY]
    if len(keys) != 1:
        raise BadMapping("name exactly one column as the key" if not keys else f"several keys: {', '.join(keys)}")
    each_once(mapping, header)
    if not any(kind not in (Kind.KEY, Kind.CONSENT, Kind.IGNORE) for kind in mapping.values()):
        raise BadMapping("no column holds anything to match by")
    return dict(mapping)


def each_once(mapping: Mapping[str, Kind], header: Sequence[str]) -> None:
    """Raises BadMapping unless each column of the mapping occurs once at most among those of a file."""
    repeated = sorted({column for column in mapping if header.count(column) > 1})
    if repeated:
        raise BadMapping(f"columns of the same name: {', '.join(repeated)}")
