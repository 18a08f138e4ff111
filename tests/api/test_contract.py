"""What the API answers is what its OpenAPI description says: Schemathesis asks every operation, as every role."""

from __future__ import annotations

import copy
import functools
import json

import pytest
import schemathesis
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings, strategies
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi

from onboarding.api.interface import api
from onboarding.models import Person
from onboarding.services import tokens
from portal.wsgi import application
from tests.access.api_world import more_objects
from tests.access.test_routes import objects, person_of_kind
from tests.simulated import amazon, connected

__all__ = ["amazon", "connected", "objects"]
# Of each operation, with what fits its description and with what does not.
EXAMPLES = {"superuser": 3, "analyst": 2, "foreign admin": 2}


@functools.cache
def document() -> dict:
    """The description as it is served."""
    return json.loads(json.dumps(api.get_openapi_schema()))


def test_the_description_is_openapi_3_1():
    found = document()
    assert found["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(found).validate()
    names = [operation["operationId"] for path in found["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names)) > 30


def test_every_post_takes_an_idempotency_key():
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            headers = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
            assert ("Idempotency-Key" in headers) is (method == "post"), path


CHECKS = [
    checks.not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
    openapi.response_headers_conformance,
    openapi.missing_required_header,
    openapi.negative_data_rejection,
    openapi.unsupported_method,
]
SETTINGS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def own(made, path: str) -> dict[str, object]:
    """Path parameters that name what is really there, on the account "Own"."""
    first = path.removeprefix("/api/v1/").split("/")[0]
    named = {
        "accounts": "account",
        "instances": "there",
        "datasets": "api_dataset",
        "mapping-tables": "api_mapping_table",
        "connections": "aws",
        "people": "person",
        "requests": "request",
        "runs": "onboarding",
    }
    found: dict[str, object] = {"pk": made[named[first]].pk} if first in named else {}
    return {**found, "key": "requirements", "question": "eligibility"}


class Caller:
    """Asks operations with one token; what is done is undone after each request."""

    def __init__(self, kind: str, made: dict) -> None:
        self.kind, self.made = kind, made
        person: Person = person_of_kind(kind, made["account"])
        _, token = tokens.make(person, name="fuzz", may_act=True, may_approve=True, days=1, now=timezone.now())
        self.headers = {"Authorization": f"Bearer {token}"}
        self.seen: dict[str, set[int]] = {}

    def ask(self, case, really: int) -> None:
        there = bool(case.path_parameters) and really > 0
        if there:
            values = own(self.made, case.operation.path)
            case.path_parameters = {name: str(values[name]) for name in case.path_parameters}
        cache.clear()
        with transaction.atomic():
            answer = case.call(headers=self.headers)
            transaction.set_rollback(True)
        case.validate_response(answer, checks=CHECKS)
        self.seen.setdefault(case.operation.label, set()).add(answer.status_code)
        if there and self.kind == "foreign admin":
            assert answer.status_code in (403, 404, 422), "what belongs to others is not there"


def explore(operation, mode, caller: Caller) -> None:
    @settings(SETTINGS, max_examples=EXAMPLES[caller.kind])
    @given(case=operation.as_strategy(generation_mode=mode), really=strategies.integers(0, 3))
    def examples(case, really):
        caller.ask(case, really)

    examples()


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_answer_is_as_described(kind, objects):
    caller = Caller(kind, more_objects(objects))
    described = copy.deepcopy(document())
    for operations in described["paths"].values():
        for operation in operations.values():
            # The token comes with every request; what is without one is tested elsewhere.
            operation.pop("security", None)
    schema = schemathesis.openapi.from_dict(described)
    schema.app = application
    for result in schema.get_all_operations():
        operation = result.ok()
        explore(operation, GenerationMode.POSITIVE, caller)
        if operation.query or operation.headers or operation.body:
            explore(operation, GenerationMode.NEGATIVE, caller)
    assert len(caller.seen) > 30
    if kind == "superuser":
        # It was not all refused: most operations were carried out at least once.
        assert sum(any(status < 300 for status in found) for found in caller.seen.values()) > 20, caller.seen
