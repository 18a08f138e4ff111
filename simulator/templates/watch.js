// Renews what exists now every three seconds, until told to pause, and marks the rows that are new since the last time.
(() => {
  const button = document.getElementById('pause'), renewal = document.getElementById('renewal');
  let paused = false;
  const say = (text) => { if (renewal.textContent !== text) renewal.textContent = text; };
  const told = () => { say(paused ? 'paused' : 'renews itself'); button.textContent = paused ? 'Go on' : 'Pause'; };

  const renew = async () => {
    const answer = await fetch('/', { cache: 'no-store' });
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html').getElementById('now');
    const old = document.getElementById('now');
    if (paused || !fresh) return;
    const known = new Set([...old.querySelectorAll('[data-key]')].map((row) => row.dataset.key));
    for (const row of fresh.querySelectorAll('[data-key]')) row.classList.toggle('new', !known.has(row.dataset.key));
    for (const open of old.querySelectorAll('details[open]')) {
      const again = fresh.querySelector(`#${open.id}`);
      if (again) again.open = true;
    }
    const focused = old.contains(document.activeElement) && document.activeElement.closest('details');
    old.replaceWith(fresh);
    if (focused) fresh.querySelector(`#${focused.id} summary`)?.focus({ preventScroll: true });
  };

  const tick = async () => {
    // What somebody is marking, to copy it, stays.
    if (!paused && !document.hidden && getSelection().isCollapsed) {
      try { await renew(); told(); } catch { say('The local Amazon does not answer; this page tries again'); }
    }
    setTimeout(tick, 3000);
  };
  button.addEventListener('click', () => { paused = !paused; told(); });
  button.hidden = false;
  told();
  setTimeout(tick, 3000);
})();
