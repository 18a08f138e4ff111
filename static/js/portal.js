/* Small helps that pages do without: menus that close, copying, focus after a swap, polling that gives up politely. */
(() => {
  "use strict";

  const FAILURES = 4;
  const SLOWEST = 60;

  const say = (text) => {
    const live = document.getElementById("live");
    if (live) live.textContent = text;
  };

  // --- menus: one open at a time; Escape and a click elsewhere close them
  const menus = () => document.querySelectorAll("details.menu[open]");
  document.addEventListener("click", (event) => {
    for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of menus()) {
      const held = menu.contains(document.activeElement);
      menu.open = false;
      if (held) menu.querySelector("summary").focus();
    }
  });
  document.addEventListener("focusin", (event) => {
    for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
  });

  // --- a long menu gets a box to narrow it
  const narrow = (form) => {
    const box = document.createElement("input");
    box.type = "search";
    box.className = "form-control menu-filter";
    box.placeholder = "Find an account";
    box.setAttribute("aria-label", "Find an account");
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault();
    });
    box.addEventListener("input", () => {
      const wanted = box.value.trim().toLowerCase();
      for (const item of form.querySelectorAll(".menu-item")) item.hidden = !item.textContent.toLowerCase().includes(wanted);
    });
    form.querySelector(".menu-heading").after(box);
  };

  // --- copying
  const canCopy = () => Boolean(navigator.clipboard && window.isSecureContext);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    const source = button.dataset.copyFrom && document.getElementById(button.dataset.copyFrom);
    const label = button.querySelector("span");
    const before = label.textContent;
    try {
      await navigator.clipboard.writeText(source ? source.textContent : button.dataset.copy);
      label.textContent = "Copied";
    } catch {
      label.textContent = "Could not copy";
    }
    say(label.textContent);
    setTimeout(() => { label.textContent = before; }, 2000);
  });

  // --- what every new piece of page needs, at load and after a swap
  const prepare = (root) => {
    if (canCopy()) for (const button of root.querySelectorAll("[data-copy], [data-copy-from]")) button.hidden = false;
    for (const button of root.querySelectorAll("[data-print]")) button.hidden = false;
    for (const form of root.querySelectorAll("[data-filter-list]")) {
      if (!form.querySelector(".menu-filter")) narrow(form);
    }
    for (const log of root.querySelectorAll(".log-lines")) log.scrollTop = log.scrollHeight;
    // On a narrow screen the tab of this page may lie beyond the edge.
    for (const tab of root.querySelectorAll(".tabs [aria-current]")) {
      const bar = tab.closest(".tabs");
      bar.scrollLeft = tab.offsetLeft - (bar.clientWidth - tab.offsetWidth) / 2;
    }
    const summary = root.querySelector(".error-summary");
    if (summary) summary.focus();
  };

  // --- printing
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-print]")) window.print();
  });

  // --- a button that is held until its exact words are typed
  document.addEventListener("input", (event) => {
    const field = event.target.closest("[data-must-equal]");
    if (!field) return;
    const button = field.form && field.form.querySelector("[data-held]");
    if (button) button.classList.toggle("is-held", field.value.trim() !== field.dataset.mustEqual);
  });

  // --- a form is sent once
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || form.hasAttribute("hx-post")) return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "1";
    form.setAttribute("aria-busy", "true");
    // The page stays when the answer is a download, or when the browser gives up.
    setTimeout(release, 10000, form);
  });
  const release = (form) => {
    delete form.dataset.sent;
    form.removeAttribute("aria-busy");
  };
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) document.querySelectorAll("form[data-sent]").forEach(release);
  });

  // --- htmx: busy marks, focus, polling
  const missed = new Map();
  document.addEventListener("htmx:beforeRequest", (event) => {
    event.detail.target.setAttribute("aria-busy", "true");
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    event.detail.target.removeAttribute("aria-busy");
    const poller = event.detail.elt;
    if (!poller.matches("[data-poll]")) return;
    if (event.detail.successful) {
      missed.delete(poller.id);
      return;
    }
    const failures = (missed.get(poller.id) || 0) + 1;
    missed.set(poller.id, failures);
    if (failures < FAILURES) {
      const wait = Math.min(Number(poller.dataset.poll) * 2 ** failures, SLOWEST);
      setTimeout(() => { if (poller.isConnected) window.htmx.trigger(poller, "poll-again"); }, wait * 1000);
    } else {
      pause(poller);
    }
  });
  const pause = (poller) => {
    const line = document.createElement("p");
    line.className = "poll-paused";
    line.append("Updates paused: ");
    const again = document.createElement("a");
    again.href = window.location.href;
    again.textContent = "refresh";
    line.append(again);
    poller.prepend(line);
    say("Updates paused");
  };
  // What was opened in a live part stays open when the part is replaced; htmx itself keeps the focus by id.
  let opened = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (!event.detail.target.matches("[data-poll]")) return;
    opened = [...event.detail.target.querySelectorAll("details[id][open]")].map((more) => more.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of opened.splice(0)) {
      const more = document.getElementById(id);
      if (more) more.open = true;
    }
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    const part = event.detail.elt;
    prepare(part);
    const heading = part.matches("h1") ? part : part.querySelector("h1");
    if (heading && !part.querySelector(".error-summary")) {
      heading.tabIndex = -1;
      heading.focus();
    }
  });

  const start = () => prepare(document);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
