"""What others are measured against: 50 instances as Django's tutorial would list them; a Redis of one's own;
and where figures are kept."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template import Context, Engine

from scripts.stack import free_port, redis_ping, redis_server

TEMPLATE = (
    "<table>{% for i in page %}<tr>"
    "<td><a href=\"{% url 'instance' i.pk %}\">{{ i.name }}</a> {{ i.instance_id }}</td>"
    "<td>{{ i.account }}</td><td>{{ i.get_status_display }} {{ i.status_detail }}</td><td>{{ i.waiting_on }}</td>"
    "<td>{{ i.steps_done }} of {{ i.steps_all }}</td><td>{{ i.owner }}</td>"
    "<td>{{ i.status_since|timesince }} ago</td></tr>{% endfor %}</table>"
    "Page {{ page.number }} of {{ page.paginator.num_pages }}"
)


def add_bare_list() -> None:
    """Give the portal one address more, `/bare`: a paginator and a table, nothing around it. Django is set up."""
    from django.urls import path

    from onboarding.models import Instance
    from portal import urls

    template = Engine.get_default().from_string(TEMPLATE)

    def bare(request: HttpRequest) -> HttpResponse:
        rows = Instance.objects.select_related("account", "owner").order_by("-status_since")
        page = Paginator(rows, 50).get_page(request.GET.get("page"))
        return HttpResponse(template.render(Context({"page": page})))

    urls.urlpatterns.append(path("bare", bare, name="bare"))


@contextmanager
def redis(folder: str) -> Iterator[str]:
    """The address of a Redis of one's own, until the end."""
    port = free_port()
    command = [redis_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            while not redis_ping(port):
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def report(name: str, figures: Mapping[str, Any]) -> None:
    """Keep the figures in the folder that BENCH_OUT names, for bench.plot; nowhere without it."""
    if os.environ.get("BENCH_OUT"):
        folder = Path(os.environ["BENCH_OUT"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
