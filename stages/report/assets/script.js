// The page's behaviour: sortable tables, filters, the charts' controls, tracing in the lineage, copying digests.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const named = (name, simulated) => (simulated ? `${name} (simulated)` : name);

// Tables -------------------------------------------------------------------------------------------------------------
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const down = header.getAttribute("aria-sort") === "ascending";
      headers.forEach((h) => h.setAttribute("aria-sort", "none"));
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      const numeric = header.dataset.kind === "number";
      const key = (row) => { const cell = row.cells[column], text = cell.dataset.value ?? cell.textContent.trim(); return numeric ? (text === "" ? null : Number(text)) : text; };
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null); // rows without a figure stay last
        return (down ? -1 : 1) * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
      });
      const sorted = rows.map(([, row]) => row), below = {}; // variants stay below their base
      for (const row of sorted) if (row.dataset.of) (below[row.dataset.of] ??= []).push(row);
      body.append(...sorted.filter((row) => !row.dataset.of).flatMap((row) => [row, ...(below[row.dataset.row] ?? [])]));
    });
  });
}

// A search shows every row that has its words; without one, variants are folded away below their base.
const refresh = {};
for (const input of document.querySelectorAll("input[data-filter]")) {
  const table = document.getElementById(input.dataset.filter), rows = [...table.tBodies[0].rows], open = new Set();
  const count = document.querySelector(`[data-count="${input.dataset.filter}"]`);
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = words.length ? !words.every((word) => text.includes(word)) : Boolean(row.dataset.of) && !open.has(row.dataset.of);
      shown += !row.hidden;
    }
    const folded = rows.length - shown;
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows${folded ? `, ${folded} folded` : ""}`;
    for (const row of rows) row.querySelector("button.fold")?.setAttribute("aria-expanded", String(open.has(row.dataset.row)));
  };
  for (const row of rows) row.querySelector("button.fold")?.addEventListener("click", () => { open.delete(row.dataset.row) || open.add(row.dataset.row); show(); });
  refresh[table.id] = (base) => { open.add(base); show(); };
  input.addEventListener("input", show);
  show();
}

// A link to a row that is folded away unfolds it.
function reveal() {
  const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (row?.dataset.of) { refresh[row.closest("table").id](row.dataset.of); row.scrollIntoView(); }
}
addEventListener("hashchange", reveal);
reveal();

// Controls -----------------------------------------------------------------------------------------------------------
function select(title, options, changed) {
  const box = make("select", {}, ...options.map(([value, text]) => make("option", { value }, text)));
  box.addEventListener("change", () => changed(box.value));
  return make("label", {}, title, box);
}

const unique = (values) => [...new Set(values)];
const panel = (name) => document.querySelector(`[data-chart="${name}"]`);

// A variant has its base's colour, mixed with that of the text, and is dashed: a group is seen as one.
function styles(entries) {
  const bases = unique(entries.map((e) => e.base ?? e.name)), found = {};
  for (const [i, base] of bases.entries()) {
    const variants = entries.filter((e) => e.base === base && e.name !== base);
    found[base] = colour(i);
    variants.forEach((e, j) => { found[e.name] = `--mark: color-mix(in oklab, var(--c${i % COLOURS}) ${Math.round(85 - (50 * j) / variants.length)}%, var(--text)); --dash: ${7 - (j % 3) * 2} ${3 + (j % 3)}`; });
  }
  return found;
}
const figure = (caption) => make("figure", {}, caption ? make("figcaption", {}, caption) : null);

// Metric against label share -----------------------------------------------------------------------------------------
const words = (share) => (/^\d+$/.test(share) ? `${share} per class` : share);
const rank = (share) => (/^\d+$/.test(share) ? Number(share) : share.endsWith("%") ? 1e6 + parseFloat(share) : 2e6);

function drawShare(host) {
  const charts = unique(data.share.map((c) => JSON.stringify([c.system, c.metric])));
  const body = make("div");
  const show = (key) => {
    const [system, metric] = JSON.parse(key);
    const curves = data.share.filter((c) => c.system === system && c.metric === metric);
    const shares = unique(curves.flatMap((c) => c.points.map((p) => p.slice))).sort((a, b) => rank(a) - rank(b));
    const style = styles(curves.map((c) => ({ name: c.task, base: c.base })));
    const lines = curves.map((c) => ({
      name: c.task, label: named(c.task, c.simulated), style: style[c.task], seeds: [],
      mean: c.points.map((p) => [shares.indexOf(p.slice), p.mean, p.low ?? (p.std === null ? null : p.mean - p.std), p.high ?? (p.std === null ? null : p.mean + p.std)]).sort((a, b) => a[0] - b[0]),
    }));
    const hidden = new Set(), chart = figure(metric);
    body.replaceChildren(legend(lines, hidden, () => draw()), chart);
    const draw = lineChart(chart, { lines, hidden, labels: shares.map(words), xTitle: "labels", dots: true, height: 300 });
  };
  const options = charts.map((key) => [key, JSON.parse(key).join(" · ")]);
  host.replaceChildren(make("div", { class: "controls" }, select("System and metric", options, show)), body);
  show(charts[0]);
}

// Sweeps: a chart for each figure, over the values; over the numbers of the rows where values are too many to write -----
function drawSweep(host, sweep) {
  const short = sweep.keys.length === 1 && sweep.points.length <= 8 && sweep.points.every(([v]) => v.length <= 8);
  const labels = sweep.points.map((values, i) => (short ? values[0] : String(i + 1)));
  const grid = make("div", { class: "grid" });
  host.replaceChildren(grid);
  sweep.columns.forEach((column, i) => {
    const chart = figure(column.name);
    grid.append(chart);
    const mean = column.figures.map((f, x) => f && [x, f.mean, f.std === null ? null : f.mean - f.std, f.std === null ? null : f.mean + f.std]).filter(Boolean);
    const line = { name: column.name, label: column.name, style: colour(i), seeds: [], mean };
    lineChart(chart, { lines: [line], hidden: new Set(), labels, xTitle: short ? sweep.keys[0] : "row of the table", dots: true, height: 200 });
  });
}

// Learning curves ----------------------------------------------------------------------------------------------------
function drawLearning(host) {
  const encoders = unique(data.learning.flatMap((m) => m.encoders.map((e) => e.encoder)));
  const simulated = new Set(data.learning.flatMap((m) => m.encoders.filter((e) => e.simulated).map((e) => e.encoder)));
  const bases = Object.fromEntries(data.learning.flatMap((m) => m.encoders.map((e) => [e.encoder, e.base])));
  const style = styles(encoders.map((name) => ({ name, base: bases[name] })));
  const hidden = new Set(), redraw = [];
  const entry = (name) => ({ name, label: named(name, simulated.has(name)), style: style[name] });
  const grid = (measures) => make("div", { class: "grid" }, ...measures.map((measure) => {
    const chart = figure(measure.name);
    const lines = measure.encoders.map((e) => ({ ...entry(e.encoder), mean: e.mean, seeds: Object.keys(e.seeds).length > 1 ? Object.values(e.seeds) : [] }));
    redraw.push(lineChart(chart, { lines, hidden, xTitle: "step" }));
    return chart;
  }));
  host.replaceChildren(legend(encoders.map(entry), hidden, () => redraw.forEach((draw) => draw())));
  const first = data.learning.filter((m) => m.headline), rest = data.learning.filter((m) => !m.headline);
  host.append(grid(first.length ? first : rest));
  if (first.length && rest.length) host.append(make("details", { class: "more" }, make("summary", {}, `${rest.length} more logged by step`), grid(rest)));
}

// Maps ---------------------------------------------------------------------------------------------------------------
const MANY = 20; // labels, above which numbers become a scale and names become "other"

// The legend of the labels, and the entry under which a label is shown.
function labelEntries(labels) {
  const plain = (name, style) => ({ name, label: name, style });
  const grey = plain("not labelled", "--mark: var(--muted)");
  const known = unique(labels).filter((label) => label !== null);
  const withGrey = (entries) => (labels.includes(null) ? [...entries, grey] : entries);
  if (known.length <= MANY) {
    known.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const entries = new Map(known.map((label, i) => [label, plain(label, colour(i))]));
    return [withGrey([...entries.values()]), (label) => entries.get(label) ?? grey];
  }
  if (known.every((label) => Number.isFinite(Number(label)))) {
    const bins = 6, numbers = known.map(Number), low = Math.min(...numbers), step = (Math.max(...numbers) - low) / bins;
    const entries = Array.from({ length: bins }, (_, i) => plain(`${format(low + i * step)} to ${format(low + (i + 1) * step)}`, `--mark: color-mix(in oklab, var(--c0) ${(100 * i) / (bins - 1)}%, var(--c4))`));
    return [withGrey(entries), (label) => (label === null ? grey : entries[Math.min(bins - 1, Math.floor((Number(label) - low) / step))])];
  }
  const count = (label) => labels.filter((l) => l === label).length, other = plain("other", "--mark: var(--muted)");
  const often = new Map(known.map((label) => [label, count(label)]).sort((a, b) => b[1] - a[1]).slice(0, COLOURS - 1).map(([label], i) => [label, plain(label, colour(i))]));
  return [[...often.values(), other], (label) => often.get(label) ?? other];
}

function drawMaps(host) {
  const body = make("div");
  const show = (index) => {
    const map = data.maps[index], [entries, entryOf] = labelEntries(map.seeds.flatMap((s) => s.label));
    const hidden = new Set(), redraw = [], grid = make("div", { class: "grid" });
    body.replaceChildren(legend(entries, hidden, () => redraw.forEach((draw) => draw())), grid);
    for (const seed of map.seeds) {
      const chart = figure(`seed ${seed.seed}`);
      grid.append(chart);
      const points = seed.id.map((id, i) => ({ ...entryOf(seed.label[i]), id, label: seed.label[i] ?? "not labelled", x: seed.x[i], y: seed.y[i] }));
      redraw.push(scatterChart(chart, { points, hidden }));
    }
  };
  const options = data.maps.map((m, i) => [i, named(m.task, m.simulated)]);
  host.replaceChildren(make("div", { class: "controls" }, select("Task", options, show)), body);
  show(0);
}

for (const host of document.querySelectorAll("[data-sweep]")) drawSweep(host, data.sweeps[Number(host.dataset.sweep)]);
if (data.share.length) drawShare(panel("share"));
if (data.learning.length) drawLearning(panel("learning"));
if (data.maps.length) drawMaps(panel("maps"));

// Lineage ------------------------------------------------------------------------------------------------------------
const dag = document.querySelector(".dag svg");
if (dag) {
  const paths = [...dag.querySelectorAll("path")], nodes = [...dag.querySelectorAll(".node")];
  const reach = (id, from, to) => {
    const found = new Set([id]);
    for (const at of found) for (const path of paths) if (path.dataset[from] === at) { found.add(path.dataset[to]); path.classList.add("on"); }
    return found;
  };
  const clear = () => { dag.classList.remove("tracing"); [...paths, ...nodes].forEach((n) => n.classList.remove("on")); };
  const trace = (node) => {
    clear();
    const on = new Set([...reach(node.dataset.id, "from", "to"), ...reach(node.dataset.id, "to", "from")]);
    nodes.forEach((n) => n.classList.toggle("on", on.has(n.dataset.id)));
    dag.classList.add("tracing");
  };
  for (const node of nodes) {
    for (const event of ["pointerenter", "focus"]) node.addEventListener(event, () => trace(node));
    for (const event of ["pointerleave", "blur"]) node.addEventListener(event, clear);
  }
}

// Digests ------------------------------------------------------------------------------------------------------------
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const code = button.querySelector("code"), text = code.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      code.textContent = "copied";
    } catch {
      window.prompt("Search in MLflow", button.dataset.copy);
      return;
    }
    setTimeout(() => { code.textContent = text; }, 1200);
  });
}
