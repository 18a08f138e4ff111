/* Draws every canvas[data-chart] with Chart.js, which is fetched only when there is one; a table holds the same numbers. */
(() => {
  "use strict";

  const library = document.currentScript.dataset.library;
  const TONES = { "": "--accent", good: "--good", busy: "--busy", wait: "--wait", amazon: "--amazon", bad: "--bad" };
  const drawn = new Map();
  let loading = null;

  const load = () => {
    loading ||= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = library;
      script.onload = resolve;
      script.onerror = reject;
      document.head.append(script);
    });
    return loading;
  };

  // A colour of ours as it is now, light or dark: only a property, not a variable, is resolved.
  const colour = (name) => {
    const probe = document.createElement("span");
    probe.hidden = true;
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };

  const draw = (canvas) => {
    const data = JSON.parse(canvas.dataset.chart);
    const text = colour("--text-2");
    const line = colour("--line");
    const family = getComputedStyle(document.body).fontFamily;
    canvas.parentElement.hidden = false;
    const chart = new window.Chart(canvas, {
      type: data.kind,
      data: {
        labels: data.labels,
        datasets: data.series.map((one) => {
          const tone = colour(TONES[one.tone] || TONES[""]);
          return {
            label: one.name, data: one.values, borderColor: tone, backgroundColor: tone, borderRadius: 3,
            borderWidth: data.kind === "line" ? 2 : 0, pointRadius: 2.5, tension: 0.25, maxBarThickness: 28, spanGaps: true,
          };
        }),
      },
      options: {
        animation: false,
        responsive: true,
        maintainAspectRatio: false,
        interaction: { mode: "index", intersect: false },
        scales: {
          x: { grid: { display: false }, border: { color: line }, ticks: { color: text, font: { family, size: 11 }, maxRotation: 0, autoSkipPadding: 12 } },
          y: { beginAtZero: true, border: { display: false }, grid: { color: line }, ticks: { color: text, font: { family, size: 11 }, precision: 0, maxTicksLimit: 5 } },
        },
        plugins: {
          legend: { display: data.series.length > 1, position: "bottom", labels: { color: text, boxWidth: 12, boxHeight: 12, font: { family, size: 12 } } },
          tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${item.formattedValue}${data.unit ? ` ${data.unit}` : ""}` } },
        },
      },
    });
    drawn.set(canvas, chart);
  };

  const drawAll = async () => {
    const wanted = [...document.querySelectorAll("canvas[data-chart]")];
    if (!wanted.length) return;
    try {
      await load();
    } catch {
      return; // The tables are there.
    }
    for (const [canvas, chart] of drawn) {
      if (canvas.isConnected) continue;
      chart.destroy();
      drawn.delete(canvas);
    }
    for (const canvas of wanted) if (canvas.isConnected && !drawn.has(canvas)) draw(canvas);
  };
  const again = () => {
    for (const chart of drawn.values()) chart.destroy();
    drawn.clear();
    drawAll();
  };

  document.addEventListener("htmx:afterSettle", drawAll);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", drawAll);
  else drawAll();
})();
