"""Pages for people: the consent page of Login with Amazon, and what exists now."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from simulator.amc.context import Amc

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; base-uri 'none'"


@cache
def _templates() -> Environment:
    folder = Path(__file__).parent / "templates"
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, status: int = 200, **values: Any) -> Response:
    """The page made from `template` and `values`, never to be cached."""
    response = Response(
        _templates().get_template(template).render(**values), status=status, content_type="text/html; charset=utf-8"
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def script(name: str) -> Response:
    """A script that the pages load; it has no values."""
    return Response(_templates().get_template(name).render(), content_type="text/javascript; charset=utf-8")


def world_of(amc: Amc) -> dict[str, list[dict[str, Any]]]:
    """What exists now: `amc` accounts with their instances, `aws` accounts with their resources."""
    from simulator.amc import advertisers, collaborations, instances, mapping

    tables, jobs, updates = (amc.table(name) for name in ("mapping_tables", "mapping_jobs", "advertiser_updates"))
    shown: dict[str, list[dict[str, Any]]] = {}
    for key in amc.table("instances").under(""):
        instance = amc.table("instances")[key]
        mine = tables.under(f"{key}/")
        shown.setdefault(instance["account"], []).append(
            {
                **instances.shown(amc, instance),
                "collaboration": collaborations.status(amc, instance) if instance["acr"] else None,
                "advertisers": len(instance["advertisers"]),
                "advertiserUpdates": [
                    {"updateId": updates[one]["id"], "status": advertisers.status(updates[one], amc.now)}
                    for one in updates.under(f"{key}/")
                ],
                "mappingTables": [
                    {
                        "name": tables[one]["name"],
                        "id": tables[one]["id"],
                        "jobs": [
                            {"id": jobs[job]["id"], "status": mapping.status(jobs[job], amc.now)}
                            for job in jobs.under(f"{one}/")
                        ],
                    }
                    for one in mine
                ],
            }
        )
    return {
        "amc": [{**account, "instances": shown.get(account["id"], [])} for account in amc.table("accounts").values()],
        "aws": [
            {"id": account, "owner": collaborations.OWN.get(account), "resources": found}
            for account, found in sorted(amc.aws().inventory().items())
        ],
    }
