# One image for web, workers and clock. BASE is any Debian-like image with Python 3.11 or newer and its venv.
# Where packages come from an index of your own, three optional secrets say so while installing, and no image keeps them:
# pip.conf, npmrc, and ca.pem (authorities, for those two to name as /run/secrets/ca.pem). docs/operations.md shows how.
ARG BASE=python:3.11-slim-bookworm

# --- the packages and the front-end files, built where compilers and npm may be
FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/portal
COPY requirements/production.txt requirements/assets.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem \
    python3 -m venv /opt/venv && /opt/venv/bin/pip install --quiet --require-hashes -r requirements/production.txt
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem \
    python3 -m venv /opt/npm && /opt/npm/bin/pip install --quiet --require-hashes -r requirements/assets.txt
COPY package.json package-lock.json .npmrc ./
COPY scripts/assets.py scripts/assets.py
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc --mount=type=secret,id=ca.pem \
    /opt/npm/bin/python scripts/assets.py --install-only
COPY manage.py gunicorn.conf.py ./
COPY portal portal
COPY onboarding onboarding
COPY templates templates
COPY static static
RUN /opt/npm/bin/python scripts/assets.py
# Settings that collecting files asks for and nothing keeps; the real ones come when the container starts.
RUN SECRET_KEY=build-only-build-only-build-only-build-only-build-only \
    FIELD_KEYS=YnVpbGQtb25seS1idWlsZC1vbmx5LWJ1aWxkLW9ubHk= PORTAL_URL=https://build.invalid \
    LOGIN_CLIENT_ID=build LOGIN_CLIENT_SECRET=build \
    /opt/venv/bin/python manage.py collectstatic --noinput \
    && rm -rf node_modules build/static/* package.json package-lock.json .npmrc requirements scripts/assets.py \
    && /opt/venv/bin/python -m compileall -q portal onboarding manage.py
COPY scripts/healthcheck.py scripts/healthcheck.py

# --- the local Amazon's packages, apart from it for the same reason
FROM ${BASE} AS simulator-build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
COPY requirements/simulator.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem \
    python3 -m venv /opt/venv && /opt/venv/bin/pip install --quiet --require-hashes -r requirements/simulator.txt

# --- the local Amazon, for trying out: `docker build --target simulator`
FROM ${BASE} AS simulator
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/portal --create-home portal
WORKDIR /srv/portal
COPY --from=simulator-build /opt/venv /opt/venv
COPY simulator simulator
USER 10001:10001
EXPOSE 9000
CMD ["/opt/venv/bin/python", "-m", "simulator", "--host", "0.0.0.0", "--port", "9000", "--data", "/var/lib/portal"]

# --- what runs: web, worker, clock
FROM ${BASE} AS runtime
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 VAR_DIR=/var/lib/portal
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/portal --create-home portal
WORKDIR /srv/portal
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/portal /srv/portal
USER 10001:10001
EXPOSE 8000
# Workers and clock serve no address: compose.yaml switches this off for them.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "scripts/healthcheck.py"]
CMD ["gunicorn", "portal.wsgi"]
