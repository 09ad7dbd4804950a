// Charts in plain SVG: lines with bands, and scatter. Each draws into a <figure> and redraws when its width changes.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 10;
const colour = (i) => `--mark: var(--c${i % COLOURS})`;

function make(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "circle", "text", "title", "rect"].includes(name);
  const node = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

function format(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (Number.isInteger(value)) return String(value);
  if (size >= 10) return value.toFixed(1);
  return size >= 0.001 ? value.toFixed(3) : value.toExponential(1);
}

// About `count` round numbers that span [low, high].
function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// Ticks written with as many decimals as their distance needs, the same for all.
function formatTicks(values) {
  const step = values.length > 1 ? Math.abs(values[1] - values[0]) : Math.abs(values[0]) || 1;
  const decimals = [0, 1, 2, 3, 4, 5, 6].find((d) => Math.abs(step * 10 ** d - Math.round(step * 10 ** d)) < 1e-6) ?? 6;
  return values.map((v) => v.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }));
}

// Draws now and whenever the host's width changes; `draw(width)` returns an <svg>.
function responsive(figure, draw) {
  let drawn = 0;
  const redraw = (force) => {
    const width = Math.floor(figure.clientWidth);
    if (!width || (!force && width === drawn)) return;
    drawn = width;
    figure.querySelector("svg")?.remove();
    figure.append(draw(width));
  };
  new ResizeObserver(() => redraw(false)).observe(figure);
  redraw(true);
  return () => redraw(true);
}

// A box beside the point (x, y) of the figure's <svg>.
function tooltip(figure) {
  const tip = make("div", { class: "tip", hidden: "" });
  figure.append(tip);
  return {
    show(x, y, ...lines) {
      tip.replaceChildren(...lines);
      tip.hidden = false;
      const left = x + 16 + tip.offsetWidth > figure.clientWidth ? x - 14 - tip.offsetWidth : x + 14;
      tip.style.left = `${Math.max(0, Math.min(left, figure.clientWidth - tip.offsetWidth))}px`;
      const above = figure.querySelector("svg").getBoundingClientRect().top - figure.getBoundingClientRect().top;
      tip.style.top = `${Math.max(0, above + y - tip.offsetHeight / 2)}px`;
    },
    hide() { tip.hidden = true; },
  };
}

const tipLine = (style, name, value) =>
  make("div", {}, make("span", { class: "swatch", style }), make("span", {}, name), make("b", {}, value));

// Buttons that switch names on and off; `hidden` is the set of those off. Shift or double click shows one alone.
function legend(entries, hidden, changed) {
  const box = make("div", { class: "legend", role: "group", "aria-label": "Shown" });
  const sync = () => {
    [...box.children].forEach((button, i) => button.setAttribute("aria-pressed", String(!hidden.has(entries[i].name))));
    changed();
  };
  for (const { name, label, style } of entries) {
    const button = make("button", { type: "button", "aria-pressed": String(!hidden.has(name)), title: "Click: show or hide. Double click: only this one." }, make("span", { class: "swatch", style }), label);
    button.addEventListener("click", () => { hidden.has(name) ? hidden.delete(name) : hidden.add(name); sync(); });
    button.addEventListener("dblclick", () => { entries.forEach((e) => hidden.add(e.name)); hidden.delete(name); sync(); });
    box.append(button);
  }
  return box;
}

// lines: [{name, label, style, mean: [[x, y, low, high]], seeds: [[[x, y]]]}]; labels: names of x = 0, 1, ... or null.
// Returns a function that draws again (after the legend changed).
function lineChart(figure, { lines, hidden, labels = null, xTitle, dots = false, height = 230 }) {
  const tip = tooltip(figure);
  return responsive(figure, (width) => {
    const shown = lines.filter((line) => !hidden.has(line.name) && line.mean.length);
    const all = shown.flatMap((line) => [...line.mean.flatMap((p) => [p[1], p[2] ?? p[1], p[3] ?? p[1]]), ...line.seeds.flatMap((s) => s.map((p) => p[1]))]);
    const xs = labels ? labels.map((_, i) => i) : [...new Set(shown.flatMap((line) => line.mean.map((p) => p[0])))].sort((a, b) => a - b);
    let [low, high] = [Math.min(...all), Math.max(...all)];
    if (!all.length) [low, high] = [0, 1];
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    [low, high] = [low - room, high + room];
    const yTicks = ticks(low, high, 4), yNames = formatTicks(yTicks), left = 12 + 7 * Math.max(...yNames.map((t) => t.length)), inset = labels ? 26 : 0;
    const [right, top, bottom] = [width - 14, 10, height - 40];
    const [xLow, xHigh] = [xs[0] ?? 0, xs[xs.length - 1] ?? 1];
    const x = (v) => (xHigh > xLow ? left + inset + ((v - xLow) / (xHigh - xLow)) * (right - left - 2 * inset) : (left + right) / 2);
    const y = (v) => bottom - ((v - low) / (high - low)) * (bottom - top);
    const path = (points) => points.map((p, i) => `${i ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join("");
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `${figure.querySelector("figcaption")?.textContent ?? ""}: ${shown.map((l) => l.label).join(", ")}` });
    yTicks.forEach((t, i) => svg.append(make("line", { class: "gridline", x1: left, x2: right, y1: y(t), y2: y(t) }), make("text", { x: left - 8, y: y(t) + 4, "text-anchor": "end" }, yNames[i])));
    for (const t of labels ? xs : ticks(xLow, xHigh, Math.max(2, Math.floor(width / 80)))) {
      svg.append(make("text", { x: x(t), y: bottom + 18, "text-anchor": "middle" }, labels ? labels[t] : format(t)));
    }
    svg.append(make("text", { x: (left + right) / 2, y: height - 4, "text-anchor": "middle" }, xTitle));
    for (const line of shown) {
      const banded = line.mean.filter((p) => p[2] !== null && p[2] !== undefined);
      const group = make("g", { style: line.style });
      if (banded.length > 1) group.append(make("path", { class: "band", d: `${path(banded.map((p) => [p[0], p[3]]))}${path(banded.map((p) => [p[0], p[2]]).reverse()).replace("M", "L")}Z` }));
      for (const seed of line.seeds) group.append(make("path", { class: "line seed", d: path(seed) }));
      group.append(make("path", { class: "line", d: path(line.mean) }));
      if (dots || line.mean.length === 1) for (const p of line.mean) group.append(make("circle", { class: "dot", cx: x(p[0]), cy: y(p[1]), r: 4.5 }));
      svg.append(group);
    }
    const cursor = make("line", { class: "cursor", y1: top, y2: bottom, visibility: "hidden" });
    svg.append(cursor);
    const leave = () => { cursor.setAttribute("visibility", "hidden"); tip.hide(); };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), at = event.clientX - box.left;
      if (!xs.length || !shown.length) return;
      const near = xs.reduce((a, b) => (Math.abs(x(b) - at) < Math.abs(x(a) - at) ? b : a));
      cursor.setAttribute("x1", x(near)); cursor.setAttribute("x2", x(near)); cursor.setAttribute("visibility", "visible");
      const rows = shown.map((line) => [line, line.mean.find((p) => p[0] === near)]).filter((r) => r[1]).sort((a, b) => b[1][1] - a[1][1]);
      const head = make("div", {}, make("strong", {}, labels ? labels[near] : `${xTitle} ${format(near)}`));
      tip.show(x(near), event.clientY - box.top, head, ...rows.map(([line, p]) => tipLine(line.style, line.label, dots && p[3] > p[2] ? `${format(p[1])} [${format(p[2])}, ${format(p[3])}]` : format(p[1]))));
    });
    svg.addEventListener("pointerleave", leave);
    return svg;
  });
}

// points: [{x, y, id, name, label, style}], drawn square to scale. Returns a function that draws again.
function scatterChart(figure, { points, hidden }) {
  const tip = tooltip(figure);
  return responsive(figure, (width) => {
    const height = Math.min(width, 460), pad = 14;
    const shown = points.filter((p) => !hidden.has(p.name));
    const [xs, ys] = [points.map((p) => p.x), points.map((p) => p.y)];
    const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const scale = Math.min((width - 2 * pad) / (x1 - x0 || 1), (height - 2 * pad) / (y1 - y0 || 1));
    const x = (v) => width / 2 + (v - (x0 + x1) / 2) * scale, y = (v) => height / 2 - (v - (y0 + y1) / 2) * scale;
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `Map of ${shown.length} items` });
    const marks = shown.map((p) => make("circle", { class: "point", style: p.style, cx: x(p.x).toFixed(1), cy: y(p.y).toFixed(1), r: 3.2 }));
    svg.append(...marks);
    let near = null;
    const leave = () => { near?.classList.remove("near"); near = null; tip.hide(); };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), [px, py] = [event.clientX - box.left, event.clientY - box.top];
      let best = -1, distance = 18 ** 2;
      shown.forEach((p, i) => { const d = (x(p.x) - px) ** 2 + (y(p.y) - py) ** 2; if (d < distance) [best, distance] = [i, d]; });
      leave();
      if (best < 0) return;
      near = marks[best];
      near.classList.add("near");
      tip.show(x(shown[best].x), y(shown[best].y), tipLine(shown[best].style, shown[best].label, ""), make("div", {}, make("code", {}, shown[best].id)));
    });
    svg.addEventListener("pointerleave", leave);
    return svg;
  });
}
