/* Puts files into the data bucket part by part: hashed here, checked by S3, gone on with after any break. */

const LANES = 4;
const TRIES = 8;
const LONGEST_PAUSE = 30_000;
const HEAD = 1 << 20;

const form = document.getElementById("uploader");
const list = document.getElementById("uploads");
const row = document.getElementById("upload-row");

const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
const sha256 = (bytes) => crypto.subtle.digest("SHA-256", bytes);
const say = (text) => { document.getElementById("live").textContent = text; };
const wait = (time) => new Promise((resolve) => { setTimeout(resolve, time); });

const size = (bytes) => {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 1024 && unit < units.length - 1; unit += 1) bytes /= 1024;
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
};
const span = (seconds) => {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
};

/* Name, size, time of the last change and the first bytes: what tells the same file again. */
const fingerprint = async (file) => {
  const head = hex(await sha256(await file.slice(0, HEAD).arrayBuffer()));
  return hex(await sha256(new TextEncoder().encode(`${file.name}|${file.size}|${file.lastModified}|${head}`)));
};

class Refused extends Error {}

const ask = async (url, body) => {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": form.querySelector("[name=csrfmiddlewaretoken]").value },
    body: JSON.stringify(body),
    redirect: "error",
  });
  const json = (answer.headers.get("Content-Type") || "").includes("application/json");
  const said = json ? await answer.json() : {};
  if (answer.ok && json) return said;
  if (json && !said.again) throw new Refused(`${said.what} ${said.todo}`.trim());
  if (answer.status === 403 || answer.status === 404) throw new Refused("You may no longer upload here. Load the page again.");
  throw new Error(said.what || `The portal answered ${answer.status}.`);
};

class Upload {
  constructor(file) {
    this.file = file;
    this.item = row.content.firstElementChild.cloneNode(true);
    this.item.querySelector(".upload-name").textContent = file.name;
    this.bar = this.item.querySelector("progress");
    this.bar.setAttribute("aria-label", `Upload of ${file.name}`);
    this.words = this.item.querySelector(".upload-state");
    this.button = this.item.querySelector("[data-act=pause]");
    this.button.addEventListener("click", () => (this.paused ? this.resume() : this.pause()));
    this.item.querySelector("[data-act=cancel]").addEventListener("click", () => this.cancel());
    list.append(this.item);
    this.requests = new Set();
    this.flying = new Map();
    this.there = new Set();
    this.paused = false;
    this.ended = false;
    this.spoken = 0;
    this.show("Waiting for its turn");
  }

  show(text) { this.words.textContent = text; }

  /* Tries again with ever longer pauses; without a network it waits for one. Refusals end it. */
  async again(act) {
    for (let attempt = 1; ; attempt += 1) {
      await this.free();
      try {
        return await act();
      } catch (error) {
        if (this.ended || error instanceof Refused) throw error;
        if (this.paused) { attempt = 0; continue; }
        if (navigator.onLine && attempt >= TRIES) {
          this.pause(`Stopped: ${error.message} Choose “Go on” to try again.`);
          attempt = 0;
          continue;
        }
        this.show("The connection was lost. Trying again by itself.");
        const pause = Math.min(LONGEST_PAUSE, 500 * 2 ** attempt) * (0.5 + Math.random() / 2);
        await Promise.race([wait(pause), new Promise((resolve) => { addEventListener("online", resolve, { once: true }); })]);
      }
    }
  }

  /* Until it is neither paused nor offline. */
  async free() {
    while (this.paused && !this.ended) await new Promise((resolve) => { this.wake = resolve; });
    if (this.ended) throw new Refused("Cancelled");
    if (!navigator.onLine) {
      this.show("No network. It goes on by itself once there is one.");
      await Promise.race([wait(5000), new Promise((resolve) => { addEventListener("online", resolve, { once: true }); })]);
    }
  }

  pause(text = "Paused") {
    this.paused = true;
    this.button.textContent = "Go on";
    for (const request of this.requests) request.abort();
    this.flying.clear();
    if (this.plan) this.bar.value = Math.floor((100 * this.bytes()) / this.file.size);
    this.show(text);
    say(`${this.file.name}: ${text}`);
  }

  resume() {
    this.paused = false;
    this.button.textContent = "Pause";
    this.show("Going on");
    if (this.wake) this.wake();
  }

  async cancel() {
    this.ended = true;
    for (const request of this.requests) request.abort();
    if (this.wake) this.wake();
    if (this.plan) {
      const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
      await fetch(this.plan.remove, { method: "POST", headers: { "X-CSRFToken": token } });
    }
    this.end("Cancelled. Nothing of it is kept.");
  }

  end(text) {
    this.ended = true;
    this.item.querySelector(".upload-actions").remove();
    this.show(text);
    say(`${this.file.name}: ${text}`);
    document.body.dispatchEvent(new Event("uploads-changed"));
  }

  async run() {
    if (this.ended) return;
    try {
      this.show("Reading the file");
      const print = await fingerprint(this.file);
      await this.send({ name: this.file.name, size: this.file.size, fingerprint: print });
      this.bar.value = 100;
      this.end("In the bucket");
    } catch (error) {
      if (this.ended) return;
      const unreadable = error instanceof DOMException;
      this.end(unreadable ? "The file was changed or moved while it was read. Choose it again." : error.message);
    }
  }

  async send(about) {
    this.plan = await this.again(() => ask(form.dataset.begin, about));
    document.body.dispatchEvent(new Event("uploads-changed"));
    if (this.plan.done) return;
    this.there = new Set(this.plan.there);
    this.began = performance.now();
    this.before = this.bytes();
    let missing = this.missing();
    do {
      this.queue = missing;
      const lanes = Array.from({ length: LANES }, () => this.lane());
      const ended = await Promise.allSettled(lanes);
      const failed = ended.find((one) => one.status === "rejected");
      if (failed) throw failed.reason;
      this.show("S3 joins the parts");
      missing = (await this.again(() => ask(this.plan.complete, {}))).missing;
      for (const number of missing) this.there.delete(number);
    } while (missing.length);
  }

  missing() {
    const found = [];
    for (let number = 1; number <= this.plan.parts; number += 1) if (!this.there.has(number)) found.push(number);
    return found;
  }

  async lane() {
    while (this.queue.length) await this.part(this.queue.shift());
  }

  slice(number) {
    const from = (number - 1) * this.plan.part_size;
    return this.file.slice(from, Math.min(this.file.size, from + this.plan.part_size));
  }

  async part(number) {
    await this.free();
    const bytes = await this.slice(number).arrayBuffer();
    const checksum = base64(await sha256(bytes));
    await this.again(async () => {
      const { addresses } = await ask(this.plan.addresses, { checksums: { [number]: checksum } });
      await this.put(number, addresses[number], bytes, checksum);
    });
    this.there.add(number);
    this.flying.delete(number);
    this.tell();
  }

  put(number, url, bytes, checksum) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const fail = (text) => () => { this.requests.delete(request); this.flying.delete(number); reject(new Error(text)); };
      request.open("PUT", url);
      request.setRequestHeader("x-amz-checksum-sha256", checksum);
      request.upload.addEventListener("progress", (event) => { this.flying.set(number, event.loaded); this.tell(); });
      request.addEventListener("error", fail("S3 can’t be reached."));
      request.addEventListener("abort", fail("Stopped."));
      request.addEventListener("load", () => {
        if (request.status !== 200) { fail(`S3 answered ${request.status}.`)(); return; }
        this.requests.delete(request);
        resolve();
      });
      this.requests.add(request);
      request.send(bytes);
    });
  }

  bytes() {
    let done = 0;
    for (const number of this.there) done += this.slice(number).size;
    for (const loaded of this.flying.values()) done += loaded;
    return Math.min(done, this.file.size);
  }

  tell() {
    if (this.paused || this.ended) return;
    const done = this.bytes();
    const share = Math.floor((100 * done) / this.file.size);
    const rate = (done - this.before) / Math.max(0.5, (performance.now() - this.began) / 1000);
    const left = rate > 0 ? `, ${size(rate)} a second, ${span((this.file.size - done) / rate)} left` : "";
    this.bar.value = share;
    this.show(`${share} %: ${size(done)} of ${size(this.file.size)}${left}`);
    if (share >= this.spoken + 25) {
      this.spoken = share;
      say(`${this.file.name}: ${share} %`);
    }
  }
}

if (form) {
  const waiting = [];
  let busy = false;
  const work = async () => {
    if (busy) return;
    busy = true;
    while (waiting.length) await waiting.shift().run();
    busy = false;
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("input[type=file]").addEventListener("change", (event) => {
    for (const file of event.target.files) waiting.push(new Upload(file));
    event.target.value = "";
    work();
  });
  addEventListener("beforeunload", (event) => { if (busy) event.preventDefault(); });
}
