"""The interface itself: its operations, its schema, and what exceptions become."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.openapi.schema import OpenAPISchema
from ninja.renderers import BaseRenderer
from pydantic_core import to_json

from onboarding.api import accounts, identity, instances, me, records, requests, results, runs
from onboarding.api.auth import PersonalToken
from onboarding.api.openapi import completed
from onboarding.api.problems import FieldError, Problem, answer, code_for, pointer
from onboarding.services.errors import NotAllowed, Refused

ABOUT = """What the pages of the portal do, for programs. Every request carries a personal token and sees and does what
its person may, never more. Changes that need an approval need it here, too."""


class _Json(BaseRenderer):
    media_type = "application/json"

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> bytes:
        """The same rendering of times and numbers for every answer."""
        return to_json(data)


class PortalApi(NinjaAPI):
    """The interface with a schema that says everything that is common to all operations."""

    def get_openapi_schema(self, **kwargs: Any) -> OpenAPISchema:
        """The OpenAPI 3.1 document."""
        return completed(super().get_openapi_schema(**kwargs))

    def get_root_path(self, path_params: dict[str, Any]) -> str:
        """Below which address the operations are: ninja's own route for that is not among ours (urls.py)."""
        return reverse(f"{self.urls_namespace}:openapi-json").removesuffix("openapi.json")

    def get_openapi_operation_id(self, operation: Any) -> str:
        """The function's name: short, and the same whatever file it stands in."""
        return str(operation.view_func.__name__)


api = PortalApi(
    title="AMC onboarding portal",
    version="1",
    description=ABOUT,
    urls_namespace="api",
    docs_url=None,
    auth=PersonalToken(),
    renderer=_Json(),
)
_ROUTERS = (
    ("/me", me.router),
    ("/accounts", accounts.accounts),
    ("/instances", instances.router),
    ("/runs", runs.router),
    ("/requests", requests.router),
    ("/datasets", identity.datasets),
    ("/mapping-tables", identity.mapping_tables),
    ("/results", results.router),
    ("/connections", accounts.connections),
    ("/people", accounts.people),
    ("/audit", records.audit),
    ("/notices", records.notices),
)
for _prefix, _router in _ROUTERS:
    api.add_router(_prefix, _router)


def parameters_of(url_name: str) -> dict[str, frozenset[str]]:
    """Method → the names that the query of a route may have. What is misspelt would else be as if it were not there."""
    found: dict[str, frozenset[str]] = {}
    for _, router in _ROUTERS:
        for view in router.path_operations.values():
            for operation in view.operations:
                if operation.url_name == url_name:
                    names = frozenset(name for model in operation.models for name in _query_names(model))
                    found |= dict.fromkeys(operation.methods, names)
    return found


def _query_names(model: Any) -> list[str]:
    if model.__ninja_param_source__ != "query":
        return []
    return [name.rsplit(".", 1)[-1] for name in model.__ninja_flatten_map__]


@api.exception_handler(Problem)
def _problem(request: HttpRequest, problem: Problem) -> HttpResponse:
    return answer(request, problem)


@api.exception_handler(NotAllowed)
def _not_allowed(request: HttpRequest, refusal: NotAllowed) -> HttpResponse:
    return answer(request, Problem("not-allowed", str(refusal)))


@api.exception_handler(Refused)
def _refused(request: HttpRequest, refusal: Refused) -> HttpResponse:
    return answer(request, Problem("refused", str(refusal)))


@api.exception_handler(PermissionDenied)
def _denied(request: HttpRequest, denied: PermissionDenied) -> HttpResponse:
    return answer(request, Problem("not-allowed", str(denied) or "Your roles do not allow it."))


@api.exception_handler(Http404)
def _not_found(request: HttpRequest, missing: Http404) -> HttpResponse:
    return answer(request, Problem("not-found"))


@api.exception_handler(HttpError)
def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    return answer(request, Problem(code_for(error.status_code), error.message))


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return answer(request, Problem("invalid", errors=[_field_error(one) for one in error.errors]))


@api.exception_handler(Exception)
def _fault(request: HttpRequest, fault: Exception) -> HttpResponse:
    # To Django, which logs it and answers by portal.errors.
    raise fault


def _field_error(error: dict[str, Any]) -> FieldError:
    source, *path = (str(part) for part in error["loc"])
    if source == "body":
        return FieldError(detail=error["msg"], pointer=pointer(*path[1:]))
    return FieldError(detail=error["msg"], parameter=path[-1] if path else source)
