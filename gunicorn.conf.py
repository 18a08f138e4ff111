"""How gunicorn serves the portal, here and in the image. Every value can be set by the environment (.env.example)."""

import gc
import os
from pathlib import Path
from typing import Any

bind = os.environ.get("BIND", "0.0.0.0:8000")
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = int(os.environ.get("WEB_THREADS", "4"))
worker_class = "gthread"
# The code is loaded once and shared by all workers, which halves what they take together. New code needs a restart.
preload_app = True
timeout = 60
graceful_timeout = 20
keepalive = 5
max_requests = 5000
max_requests_jitter = 500
# The heartbeat file of each worker, in memory where the machine has that: a busy disk must not look like a dead worker.
_memory = Path("/dev/shm")  # noqa: S108 - gunicorn makes its own unguessable file in it
worker_tmp_dir = str(_memory) if _memory.is_dir() else None
control_socket_disable = True
loglevel = "warning"


def when_ready(server: Any) -> None:
    """Before the first worker is forked: load the pages too, and keep the collector from touching what is shared."""
    from django.urls import resolve

    resolve("/healthz")
    gc.collect()
    gc.freeze()
