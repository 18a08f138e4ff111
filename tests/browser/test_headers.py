"""In a real browser: what the headers forbid is forbidden; and the first page is small."""

from __future__ import annotations

import re

import httpx
import pytest

MOST_BYTES = 150_000
INJECT = """() => {
    const found = {ran: false, refused: []};
    document.addEventListener("securitypolicyviolation", (event) => found.refused.push(event.effectiveDirective));
    window.injected = () => { found.ran = true; };
    const script = document.createElement("script");
    script.textContent = "window.injected()";
    document.body.append(script);
    const button = document.createElement("button");
    button.setAttribute("onclick", "window.injected()");
    document.body.append(button);
    button.click();
    const style = document.createElement("style");
    style.textContent = "body { display: none }";
    document.head.append(style);
    const base = document.createElement("base");
    base.href = "https://evil.example/";
    document.head.append(base);
    const image = new Image();
    image.src = "https://evil.example/i.png";
    document.body.append(image);
    const frame = document.createElement("iframe");
    frame.src = "https://evil.example/";
    document.body.append(frame);
    const form = document.createElement("form");
    form.action = "https://evil.example/";
    form.method = "post";
    document.body.append(form);
    form.submit();
    const result = () => ({...found, shown: getComputedStyle(document.body).display});
    fetch("https://evil.example/", {mode: "no-cors"}).catch(() => {});
    // Until the last of them was refused; five seconds at most.
    return new Promise((done) => {
        const end = () => { clearInterval(timer); clearTimeout(limit); done(result()); };
        const timer = setInterval(() => found.refused.includes("form-action") && end(), 20);
        const limit = setTimeout(end, 5000);
    });
}"""
PAGES = ("/sign-in", "/nowhere", "/", "/instances/", "/dashboard/", "/audit/", "/tokens/", "/queues/", "/healthz")


@pytest.fixture(scope="module")
def stack(empty_stack):
    """The first page is that of whoever comes first: what others have done in a portal makes it longer."""
    return empty_stack


def test_what_is_injected_does_not_run_and_sends_nothing(sign_in):
    admin = sign_in("admin")
    page = admin.go("/instances/")
    found = page.evaluate(INJECT)
    assert not found["ran"] and found["shown"] != "none"
    wanted = {"script-src-elem", "script-src-attr", "style-src-elem", "img-src", "frame-src", "connect-src", "base-uri"}
    assert wanted <= set(found["refused"])
    assert "form-action" in found["refused"]
    assert page.url.endswith("/instances/")


def test_every_kind_of_answer_carries_the_headers(sign_in):
    admin = sign_in("admin")
    for path in PAGES:
        headers = admin.page.goto(admin.stack.url + path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "*" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "server" not in headers or "gunicorn/" not in headers["server"]
    cookies = {one["name"]: one for one in admin.context.cookies(admin.stack.url)}
    assert cookies["sessionid"]["httpOnly"] and cookies["sessionid"]["sameSite"] == "Lax"
    assert cookies["csrftoken"]["httpOnly"]


@pytest.mark.parametrize("path", ["/sign-in", "/"])
def test_the_first_page_is_small_and_its_files_are_kept_for_ever(browser, stack, sign_in, path):
    context = browser.new_context(storage_state=sign_in("admin").context.storage_state()) if path == "/" else None
    page = (context or browser.new_context()).new_page()
    asked: list[str] = []
    page.on("response", lambda response: asked.append(response.url))
    page.goto(stack.url + path, wait_until="networkidle")
    size = len(page.content().encode())
    page.context.close()
    files = sorted({url for url in asked if "/static/" in url})
    assert any(url.endswith(".css") for url in files) and any(url.endswith(".js") for url in files)
    for url in files:
        with httpx.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as answer:
            size += sum(map(len, answer.iter_raw()))
            assert re.search(r"\.[0-9a-f]{12}\.\w+$", url), url
            assert (
                "immutable" in answer.headers["Cache-Control"]
                and "max-age=315360000" in answer.headers["Cache-Control"]
            )
            squeezed = answer.headers.get("Content-Encoding") == "gzip"
            assert squeezed or not url.endswith((".css", ".js", ".svg")) or int(answer.headers["Content-Length"]) < 400
    print(f"{path}: {size} bytes")
    assert size < MOST_BYTES
