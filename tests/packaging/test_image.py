"""What goes into the image, and how compose.yaml runs it: without building it, which takes another machine's tools."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import packages_distributions

import pytest
import yaml
from django.core.management import get_commands
from packaging.utils import canonicalize_name

from scripts.lint import PRODUCTION
from scripts.stack import ROOT, known_settings, settings_for

DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGES = {
    name: text for text in re.split(r"(?m)^FROM ", DOCKERFILE)[1:] for name in re.findall(r"\A\S+ AS ([\w-]+)", text)
}
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if "portal" in service["image"]}


def copied(stage: str) -> list[str]:
    """What a stage copies from the checkout."""
    lines = re.findall(r"(?m)^COPY (?!--from)(.+)$", STAGES[stage])
    return [source for line in lines for source in line.split()[:-1]]


@pytest.fixture
def image(tmp_path):
    """The files that the image has, elsewhere."""
    for name in copied("build"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def start(image, *command: str) -> subprocess.CompletedProcess[str]:
    settings = {**PRODUCTION, "PATH": "/usr/bin:/bin", "VAR_DIR": str(image / "var"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *command], cwd=image, env=settings, capture_output=True, text=True)


def test_what_the_image_holds_is_enough_for_the_portal(image):
    checked = start(image, "manage.py", "check")
    assert checked.returncode == 0, checked.stderr
    served = start(image, "-m", "gunicorn", "portal.wsgi", "--config", "gunicorn.conf.py", "--check-config")
    assert served.returncode == 0, served.stderr
    commands = [service["command"] for service in OURS.values() if "command" in service]
    for name in {command[2] for command in commands if command[:2] == ["python", "manage.py"]}:
        said = start(image, "manage.py", name, "--help")
        assert said.returncode == 0, said.stderr


def test_the_build_may_see_what_it_copies_and_nothing_of_ones_own():
    allowed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    for stage in ("build", "simulator-build", "simulator"):
        for name in copied(stage):
            assert (ROOT / name).exists(), name
            assert name in allowed or re.sub(r"/[^/]+\.txt$", "/*.txt", name) in allowed, name
    assert not allowed & {".", ".env", "var", ".git"}


@pytest.mark.parametrize("stage", ["runtime", "simulator"])
def test_nothing_runs_as_root(stage):
    users = re.findall(r"(?m)^USER (\S+)$", STAGES[stage])
    assert users == ["10001:10001"]
    assert STAGES[stage].index("\nUSER ") > STAGES[stage].rindex("\nCOPY ")


def test_every_package_is_installed_with_its_hash():
    installs = re.findall(r"pip install .*", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in line for line in installs)


def imported(folder: str) -> set[str]:
    """The modules of others that the code below `folder` imports when it runs, wherever in a module that stands."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        waiting: list[ast.AST] = [ast.parse(path.read_text())]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                waiting += node.orelse
                continue
            waiting += ast.iter_child_nodes(node)
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return {name for name in found if name not in sys.stdlib_module_names and not (ROOT / name).exists()}


@pytest.mark.parametrize(("lock", "folders"), [("production", ["portal", "onboarding"]), ("simulator", ["simulator"])])
def test_what_an_image_imports_is_among_the_packages_that_it_has(lock, folders):
    # The tests run where everything is installed: there a package that the image lacks is not missed.
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    locked = {canonicalize_name(name) for name in re.findall(r"(?m)^([\w.-]+)(?:\[.*\])?==", text)}
    brought = packages_distributions()
    modules = set().union(*map(imported, folders))
    lacking = {name for name in modules if not {canonicalize_name(one) for one in brought.get(name, [name])} & locked}
    assert "pyarrow" in modules and not lacking


SECRETS = {"pip install": ["pip.conf", "ca.pem"], "assets.py --install-only": ["npmrc", "ca.pem"]}
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def test_where_packages_come_from_is_a_secret_of_the_build_and_stays_outside_the_image():
    runs = re.findall(r"(?m)^RUN (?:.*\\\n)*.*$", DOCKERFILE)
    for words, wanted in SECRETS.items():
        installing = [run for run in runs if words in run]
        assert installing
        for run in installing:
            assert re.findall(r"--mount=type=secret,id=([^, ]+)", run) == wanted
    named = {name for names in SECRETS.values() for name in names}
    assert set(re.findall(r"--secret id=([^,]+),", OPERATIONS)) == named
    # Nothing is fetched where a mount could leave a trace: what runs copies what was built.
    for stage in ("runtime", "simulator"):
        assert "--mount" not in STAGES[stage] and "install" not in STAGES[stage], stage
    assert not re.search(r"(?i)index.url|registry=|_auth|https?://(?!build\.invalid)", DOCKERFILE)


def test_the_settings_for_trying_the_images_are_those_of_the_local_stack():
    block = OPERATIONS.split("cat >.env <<END\n")[1].split("\nEND\n")[0]
    given = dict(line.split("=", 1) for line in block.splitlines())
    made = {"POSTGRES_PASSWORD", "SECRET_KEY", "FIELD_KEYS", "PORTAL_URL", "ALLOWED_HOSTS"}
    assert made <= set(given) and all("$(openssl" in given[name] for name in ("SECRET_KEY", "FIELD_KEYS"))
    # The browser reaches it at the port that compose opens, the containers by its name.
    ports, name = OURS["simulator"]["ports"][0], "http://simulator:9000"
    outside = f"http://{ports.rpartition(':')[0]}"
    expected = settings_for(name) | {"LOGIN_AUTHORIZE_URL": f"{outside}/ap/oa"}
    assert {name: value for name, value in given.items() if name not in made} == expected
    assert re.search(r'"--port", "(\d+)"', STAGES["simulator"])[1] == ports.rpartition(":")[2] == "9000"


def test_compose_runs_each_process_and_the_local_amazon_only_when_asked():
    assert set(OURS) == {"web", "worker", "identity", "clock", "migrate", "simulator"}
    assert OURS["simulator"]["profiles"] == ["simulator"]
    assert [name for name, service in OURS.items() if service.get("profiles")] == ["simulator"]
    assert all(OURS[name]["deploy"]["replicas"] >= 2 for name in ("web", "worker"))
    for name, service in OURS.items():
        # Only web has an address that could be asked.
        assert (service.get("healthcheck") == {"disable": True}) == (name not in ("web", "simulator")), name
        if command := service.get("command"):
            assert command[:2] == ["python", "manage.py"] and command[2] in get_commands(), name
        for other in service.get("depends_on", {}):
            assert other in COMPOSE["services"]
    assert OURS["web"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert {"read_only", "cap_drop", "security_opt"} <= set(OURS["worker"])
    volumes = [volume for service in COMPOSE["services"].values() for volume in service.get("volumes", [])]
    assert {volume.split(":")[0] for volume in volumes} == set(COMPOSE["volumes"])


def test_compose_sets_known_settings_and_holds_no_secret():
    text = (ROOT / "compose.yaml").read_text()
    for service in OURS.values():
        assert set(service.get("environment", {})) <= known_settings()
    assert "POSTGRES_PASSWORD:?" in text
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET|KEY", name) or value.startswith("${"), name


@pytest.fixture
def web(monkeypatch):
    """Something in the place of the web server; `answer` and `asked` say what it does and was asked."""

    class Web(BaseHTTPRequestHandler):
        answer = 200
        asked: list[tuple[str, str | None]] = []

        def do_GET(self) -> None:
            self.asked.append((self.path, self.headers["Host"]))
            self.send_response(self.answer)
            self.end_headers()

        def log_message(self, *args) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("BIND", f"0.0.0.0:{server.server_port}")
    monkeypatch.setenv("ALLOWED_HOSTS", ".portal.example.com, other.example.com")
    yield Web
    server.shutdown()
    server.server_close()


def test_the_health_check_asks_by_a_host_that_is_allowed(web, capsys, monkeypatch):
    from scripts import healthcheck

    assert healthcheck.main() == 0
    assert web.asked == [("/healthz", "portal.example.com")]
    web.answer = 500
    assert healthcheck.main() == 1
    monkeypatch.setenv("BIND", "0.0.0.0:9")
    assert healthcheck.main() == 1
    assert "refused" in capsys.readouterr().err
