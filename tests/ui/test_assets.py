"""The front-end files: put in place once, light enough, and every name they mention exists."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from whitenoise.compress import Compressor

from onboarding.models import Person
from onboarding.templatetags import ui
from onboarding.views.gallery import MADE_UP_PAGES
from scripts import assets

BUDGET = 150_000  # bytes over the wire for the first page's styles and scripts


def test_a_second_time_there_is_nothing_to_do(monkeypatch):
    assert assets.main() == 0
    monkeypatch.setattr(assets, "run", lambda command: pytest.fail(f"{command} ran again"))
    assert assets.main() == 0


def test_npm_that_fails_gives_one_line(tmp_path):
    fake = tmp_path / "npm"
    fake.write_text(
        "#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\necho 'npm error network request failed' >&2\nexit 1\n"
    )
    fake.chmod(0o755)
    project = tmp_path / "project"
    (project / "scripts").mkdir(parents=True)
    shutil.copy(assets.__file__, project / "scripts" / "assets.py")
    (project / "package-lock.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "scripts/assets.py"],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.returncode == 1
    assert done.stderr == (
        "assets: npm could not install the front-end files: the package registry cannot be reached: "
        "connect this machine, or set HTTPS_PROXY, and run it again\n"
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("npm error code EAI_AGAIN\nnpm error syscall getaddrinfo\nnpm error errno EAI_AGAIN", "cannot be reached"),
        ("npm error errno SELF_SIGNED_CERT_IN_CHAIN", "NODE_EXTRA_CA_CERTS"),
        ("npm ERR! code ENOSPC", "the disk is full"),
        ("npm error code EINTEGRITY\nnpm error sha512-x integrity checksum failed", "not the one that was locked"),
        ("npm error code EWHATEVER\nnpm error something odd", "something odd"),
        ("", "no reason given"),
    ],
)
def test_what_npm_says_in_plain_words(said, words):
    assert words in assets.because(said)


def classes(text: str) -> set[str]:
    return {name for value in re.findall(r'class="([^"]*)"', text) for name in value.split()}


@pytest.mark.django_db
def test_no_rule_that_a_page_needs_is_left_out(settings):
    """What stands in the whole stylesheet for a class that pages have stands in the served one too."""
    assert assets.main() == 0
    known, served = (
        set(re.findall(r"\.(-?[a-zA-Z][\w-]*)", path.read_text()))
        for path in (assets.MODULES / "@tabler/core/dist/css/tabler.min.css", assets.VENDOR / "tabler.css")
    )
    settings.DEBUG = True  # shows the gallery
    client = Client()
    client.force_login(Person.objects.create(email="looks@example.com", is_superuser=True))
    gallery = ("/gallery/", *(f"/gallery/{page}/" for page in MADE_UP_PAGES))
    shown = set[str]()
    for path in (*gallery, "/", "/instances/", "/requests/", "/people/", "/queues/", "/audit/", "/tokens/"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        shown |= classes(answer.content.decode())
    needed = shown & known
    assert {"btn", "btn-primary", "form-control", "visually-hidden"} <= needed
    assert needed <= served, needed - served
    assert len(served) < len(known) / 4


def test_a_changed_template_has_the_stylesheet_made_anew(monkeypatch, tmp_path):
    (tmp_path / "templates").mkdir()
    page = tmp_path / "templates" / "page.html"
    page.write_text('<p class="card">')
    (tmp_path / "package-lock.json").write_text("{}")
    monkeypatch.setattr(assets, "ROOT", tmp_path)
    monkeypatch.setattr(assets, "__file__", str(tmp_path / "package-lock.json"))
    before = assets.fingerprint()
    assert assets.fingerprint() == before
    page.write_text('<p class="card btn">')
    assert assets.fingerprint() != before


def test_the_lock_names_no_host():
    assert "resolved" not in (assets.ROOT / "package-lock.json").read_text()


def test_every_icon_that_is_used_exists(settings):
    known = set(re.findall(r'<symbol id="([^"]+)"', (settings.BASE_DIR / "static/icons.svg").read_text()))
    from onboarding.templatetags import ui

    used = (
        {look[1] for look in ui.LOOKS.values()} | {look[1] for look in ui.EFFECTS.values()} | set(ui.NOTICES.values())
    )
    for path in (settings.BASE_DIR / "templates").rglob("*.html"):
        used |= set(re.findall(r"""{% icon ["']([^"']+)["']""", path.read_text()))
        used |= set(re.findall(r"""picture=["']([^"']+)["']""", path.read_text()))
    assert used <= known, used - known


@pytest.mark.django_db
def test_the_first_page_is_light(settings, tmp_path):
    assert assets.main() == 0
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
    }
    call_command("collectstatic", interactive=False, verbosity=0, stdout=io.StringIO())
    # Addresses of files are kept once they are known; a test before this one has asked for them by their plain names.
    kept = (ui.icon, ui.status, ui.progress)
    for tag in kept:
        tag.cache_clear()
    page = Client().get("/sign-in").content.decode()
    for tag in kept:
        tag.cache_clear()
    files = re.findall(r'(?:href|src)="/static/([^"#]+\.(?:css|js|svg))', page)
    assert any(name.endswith(".css") for name in files)
    assert any(name.endswith(".js") for name in files)
    # As WhiteNoise compresses them; without brotli, which not every browser takes.
    compressor = Compressor(use_brotli=False, quiet=True)
    weights = {}
    for name in set(files):
        made = compressor.compress(str(tmp_path / name))
        weights[name] = min(Path(path).stat().st_size for path in made)
    assert all(re.search(r"\.[0-9a-f]{12}\.", name) for name in files)
    assert sum(weights.values()) < BUDGET, weights
