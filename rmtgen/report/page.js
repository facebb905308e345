// The page's script: draws the charts that stand in the page as data, and lets a reader ask them.
// Everything that comes from a run is set as text, never as markup. Nothing is fetched.
(() => {
"use strict";

const DATA = decoded(JSON.parse(document.getElementById("data").textContent));
const SVG = "http://www.w3.org/2000/svg";
const DASHES = {"-": "", "--": "6 4", ":": "1.5 3.5", "-.": "7 3 1.5 3"};
const NEAR = 26;          // pixels from the pointer within which a point is told
const ROWS = 100;         // rows of a table's page
const MOST_MARKS = 24;    // markers along a line that is drawn through: more would hide it
const LETTER = 6.4;       // width of a tick's letter, in pixels
const MARKERS = 8;

const element = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const shape = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

// Columns of text come as their words, each once, and where each stands.
function decoded(data) {
  for (const chart of data.charts) for (const panel of chart.panels) for (const line of panel.lines) {
    for (const [name, column] of Object.entries(line.columns)) if (column.words) line.columns[name] = column.at.map(place => column.words[place]);
  }
  return data;
}

// ---------------------------------------------------------------------------------------------------------------- numbers

const SUPERSCRIPTS = {"-": "⁻", "0": "⁰", "1": "¹", "2": "²", "3": "³", "4": "⁴", "5": "⁵", "6": "⁶", "7": "⁷", "8": "⁸", "9": "⁹"};
const superscript = power => [...String(power)].map(sign => SUPERSCRIPTS[sign]).join("");

function told(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value;
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return value.toLocaleString("en");
  if (size >= 1e-3 && size < 1e5) return String(Number(value.toPrecision(4)));
  const [digits, power] = value.toExponential(2).split("e");
  return `${Number(digits)}×10${superscript(Number(power))}`;
}

const place = (value, scale) => typeof value === "number" && Number.isFinite(value) && (scale !== "log" || value > 0);

function logTicks([low, high]) {
  const decades = Math.log10(high / low), ticks = [];
  const factors = decades > 2.2 ? (decades > 3.5 ? [1] : [1, 3]) : decades > 0.8 ? [1, 2, 5] : null;
  if (!factors) return linearTicks([low, high]);
  const step = Math.max(1, Math.ceil(decades / 7));
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    if (power % step === 0) for (const factor of factors) ticks.push(factor * 10 ** power);
  }
  return ticks.filter(tick => tick >= low * 0.999 && tick <= high * 1.001);
}

function linearTicks([low, high]) {
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find(factor => factor * power >= rough) * power, ticks = [];
  for (let count = Math.ceil(low / step); count * step <= high * (1 + 1e-9); count++) ticks.push(Number((count * step).toPrecision(12)));
  return ticks;
}

function tickLabel(value, ticks) {
  const far = ticks.some(tick => tick !== 0 && (Math.abs(tick) >= 1e6 || Math.abs(tick) < 1e-3));
  if (!far || value === 0) return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(6)));
  const power = Math.floor(Math.log10(Math.abs(value)) + 1e-9), digits = Number((value / 10 ** power).toPrecision(3));
  return `${digits === 1 ? "" : `${digits}×`}10${superscript(power)}`;
}

// ------------------------------------------------------------------------------------------------------------------- axes

class Scale {
  constructor(axis, kind, lines, column, [from, to]) {
    this.kind = kind;
    this.view = kind === axis.scale ? axis.view : otherView(axis, kind, lines, column);
    this.map = kind === "log" ? Math.log : value => value;
    const [low, high] = this.view.map(this.map);
    this.at = value => from + (this.map(value) - low) / (high - low || 1) * (to - from);
    const given = kind === axis.scale && axis.ticks.length ? axis.ticks : null;
    this.ticks = (given || (kind === "log" ? logTicks(this.view) : linearTicks(this.view)));
    this.labels = this.ticks.map((tick, rank) => (given && axis.names[rank]) || tickLabel(tick, this.ticks));
  }
}

// What a switched axis shows: from 0 to where the view ended, or from the smallest positive value.
function otherView(axis, kind, lines, column) {
  const [low, high] = axis.view;
  let least = Infinity, most = -Infinity;
  for (const line of lines) for (const value of line.columns[column]) {
    if (value > 0 && value < least) least = value;
    if (value <= high && value > most) most = value;
  }
  if (kind === "linear") return [low > 0.5 * high ? low : 0, most > 0 ? Math.min(high, 1.05 * most) : high];
  return [Math.min(least, high / 10) / 1.1, high];
}

// Names on a linear axis are its categories; on a log axis they are only how ticks are written.
const named = axis => axis.scale === "linear" && axis.names.length > 0;

function category(axis, value) {
  return named(axis) ? axis.names[axis.ticks.findIndex(tick => Math.abs(tick - value) < 0.5)] : undefined;
}

const canSwitch = (axis, lines, column) => !named(axis) && lines.every(line => line.columns[column].every(value => value === null || value > 0));

// ---------------------------------------------------------------------------------------------------------------- markers

function markerPath(kind, x, y, size) {
  const r = size * 0.62, d = r * 1.25, n = value => value.toFixed(1);
  switch (kind % MARKERS) {
    case 0: return `M${n(x - r)} ${n(y)}a${n(r)} ${n(r)} 0 1 0 ${n(2 * r)} 0a${n(r)} ${n(r)} 0 1 0 ${n(-2 * r)} 0z`;
    case 1: return `M${n(x - r)} ${n(y - r)}h${n(2 * r)}v${n(2 * r)}h${n(-2 * r)}z`;
    case 2: return `M${n(x)} ${n(y - d)}l${n(d)} ${n(2 * r)}h${n(-2 * d)}z`;
    case 3: return `M${n(x)} ${n(y - d)}l${n(d)} ${n(d)}l${n(-d)} ${n(d)}l${n(-d)} ${n(-d)}z`;
    case 4: return `M${n(x)} ${n(y + d)}l${n(d)} ${n(-2 * r)}h${n(-2 * d)}z`;
    case 5: return `M${n(x - r / 2.5)} ${n(y - d)}h${n(r / 1.25)}v${n(d - r / 2.5)}h${n(d - r / 2.5)}v${n(r / 1.25)}h${n(r / 2.5 - d)}v${n(d - r / 2.5)}h${n(-r / 1.25)}v${n(r / 2.5 - d)}h${n(r / 2.5 - d)}v${n(-r / 1.25)}h${n(d - r / 2.5)}z`;
    case 6: return `M${n(x - d)} ${n(y - r / 2)}l${n(r / 2)} ${n(-r / 2)}l${n(d - r / 2)} ${n(r / 2)}l${n(d - r / 2)} ${n(-r / 2)}l${n(r / 2)} ${n(r / 2)}l${n(-d + r / 2)} ${n(r / 2)}l${n(d - r / 2)} ${n(r / 2)}l${n(-r / 2)} ${n(r / 2)}l${n(-d + r / 2)} ${n(-r / 2)}l${n(-d + r / 2)} ${n(r / 2)}l${n(-r / 2)} ${n(-r / 2)}l${n(d - r / 2)} ${n(-r / 2)}z`;
    default: return `M${n(x)} ${n(y - d)}l${n(r * 0.4)} ${n(d * 0.65)}h${n(r * 0.8)}l${n(-r * 0.65)} ${n(r * 0.6)}l${n(r * 0.3)} ${n(r * 0.85)}l${n(-r * 0.85)} ${n(-r * 0.5)}l${n(-r * 0.85)} ${n(r * 0.5)}l${n(r * 0.3)} ${n(-r * 0.85)}l${n(-r * 0.65)} ${n(-r * 0.6)}h${n(r * 0.8)}z`;
  }
}

const colour = group => group < 0 ? "grey" : `c${group % 7}`;

function swatch(group, line) {
  const drawn = shape("svg", {class: `swatch ${colour(group)}${line.pale ? " pale" : ""}`, viewBox: "0 0 26 14", width: 26, height: 14, "aria-hidden": "true"});
  if (line.dash) drawn.append(shape("path", {class: "line", d: "M1 7H25", "stroke-dasharray": DASHES[line.dash]}));
  if (line.marked) drawn.append(shape("path", {class: line.hollow ? "mark hollow" : "mark", d: markerPath(Math.max(group, 0), 13, 7, 6)}));
  return drawn;
}

// ----------------------------------------------------------------------------------------------------------------- panels

class PanelView {
  constructor(chart, panel, hidden) {
    Object.assign(this, {chart, panel, hidden, scales: {x: panel.x.scale, y: panel.y.scale}, points: [], current: null});
    this.tip = element("div", {class: "tip", hidden: true});
    this.live = element("p", {class: "unseen", "aria-live": "polite"});
    this.canvas = element("div", {
      class: "canvas", tabindex: 0, role: "group", "aria-label": `${panel.title}. Arrow keys move from point to point.`,
      on: {pointermove: event => this.point(event), pointerdown: event => this.point(event), pointerleave: () => this.tell(null),
        keydown: event => this.walk(event), blur: () => this.tell(null)},
    });
    this.root = element("div", {class: "panel"},
      element("div", {class: "panel-head"}, element("h3", {}, panel.title), element("span", {class: "switches"}, ...this.switches())),
      this.canvas, this.tip, this.live);
  }

  switches() {
    return ["x", "y"].filter(name => canSwitch(this.panel[name], this.panel.lines, name)).map(name => {
      const label = () => `${name}: ${this.scales[name]}`;
      const button = element("button", {type: "button", class: "switch", title: `Switch the ${name} axis between log and linear`, on: {click: () => {
        this.scales[name] = this.scales[name] === "log" ? "linear" : "log";
        button.textContent = label();
        this.draw();
      }}}, label());
      return button;
    });
  }

  visible() {
    return this.panel.lines.filter(line => !this.hidden.groups.has(line.group) && !this.hidden.kinds.has(line.kind));
  }

  draw() {
    const width = this.canvas.clientWidth, {x, y} = this.panel;
    if (!width) return;
    const height = Math.round(Math.min(400, Math.max(230, width * 0.68)));
    const box = {left: 0, right: width - 12, top: 8, bottom: height - 46};
    const up = new Scale(y, this.scales.y, this.panel.lines, "y", [box.bottom, box.top]);
    box.left = Math.min(0.42 * width, LETTER * Math.max(4, ...up.labels.map(label => label.length)) + (y.label ? 30 : 12));
    const across = new Scale(x, this.scales.x, this.panel.lines, "x", [box.left, box.right]);
    const clip = `clip-${this.chart.stem}-${this.chart.panels.indexOf(this.panel)}`;
    const marks = shape("g", {"clip-path": `url(#${clip})`});
    this.points = [];
    for (const line of [...this.visible()].sort((one, other) => other.pale - one.pale)) this.drawLine(marks, line, across, up, box);
    this.halo = shape("circle", {class: "halo", r: 7, visibility: "hidden"});
    this.canvas.replaceChildren(shape("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${this.chart.title}: ${this.panel.title}. ${this.chart.alt}`},
      shape("clipPath", {id: clip}, shape("rect", {x: box.left - 4, y: box.top - 4, width: box.right - box.left + 8, height: box.bottom - box.top + 8})),
      ...this.frame(across, up, box, width), marks, this.halo));
    this.tell(null);
  }

  frame(across, up, box, width) {
    const parts = [], narrow = this.spaced(across, box);
    for (const [tick, label] of narrow) {
      const x = across.at(tick);
      parts.push(shape("path", {class: "grid", d: `M${x} ${box.top}V${box.bottom}`}));
      parts.push(shape("text", {class: "tick", x, y: box.bottom + 17, "text-anchor": "middle"}, label));
    }
    up.ticks.forEach((tick, rank) => {
      const y = up.at(tick);
      if (y < box.top - 1 || y > box.bottom + 1) return;
      parts.push(shape("path", {class: "grid", d: `M${box.left} ${y}H${box.right}`}));
      parts.push(shape("text", {class: "tick", x: box.left - 7, y: y + 4, "text-anchor": "end"}, up.labels[rank]));
    });
    parts.push(shape("path", {class: "axis", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}`}));
    parts.push(shape("text", {class: "label", x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle"}, this.panel.x.label));
    if (this.panel.y.label) parts.push(shape("text", {class: "label", transform: `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle"}, this.panel.y.label));
    return parts;
  }

  // Ticks that have room for their labels, from the largest down.
  spaced(scale, box) {
    const kept = [];
    let edge = Infinity;
    for (let rank = scale.ticks.length - 1; rank >= 0; rank--) {
      const x = scale.at(scale.ticks[rank]), half = (LETTER / 2) * scale.labels[rank].length + 5;
      if (x < box.left - 1 || x > box.right + 1 || x + half > edge) continue;
      kept.push([scale.ticks[rank], scale.labels[rank]]);
      edge = x - half;
    }
    return kept;
  }

  drawLine(parent, line, across, up, box) {
    const {x, y, low, high, left, right} = line.columns, placed = [];
    const group = shape("g", {class: `${colour(line.group)}${line.pale ? " pale" : ""}`});
    let path = "", joined = false;
    const at = x.map((value, rank) => {
      if (!place(value, across.kind) || !place(y[rank], up.kind)) { joined = false; return null; }
      const point = {line, rank, x: across.at(value), y: up.at(y[rank])};
      path += `${joined ? "L" : "M"}${point.x.toFixed(1)} ${point.y.toFixed(1)}`;
      joined = true;
      placed.push(point);
      return point;
    });
    if (low && line.band) group.append(...this.band(at, low, high, up));
    else if (low) group.append(shape("path", {class: "bar", d: placed.map(point => this.bar(point, low, high, up, box)).join("")}));
    if (left) group.append(shape("path", {class: "bar", d: placed.map(point => this.bar(point, left, right, across, box, true)).join("")}));
    if (line.dash) group.append(shape("path", {class: "line", d: path, "stroke-dasharray": DASHES[line.dash]}));
    if (line.marked) {
      const every = line.dash ? Math.ceil(placed.length / MOST_MARKS) : 1;
      const marked = placed.filter((_, rank) => rank % every === 0);
      group.append(shape("path", {class: `mark${line.hollow ? " hollow" : ""}${line.dash || line.hollow ? "" : " many"}`, d: marked.map(point => markerPath(Math.max(line.group, 0), point.x, point.y, line.size)).join("")}));
    }
    parent.append(group);
    const inside = point => point.x > box.left - 5 && point.x < box.right + 5 && point.y > box.top - 5 && point.y < box.bottom + 5;
    this.points.push(...placed.filter(inside));
  }

  bar(point, from, to, scale, box, flat = false) {
    const ends = [from[point.rank], to[point.rank]];
    if (ends.some(end => typeof end !== "number")) return "";
    const floor = flat ? box.left : box.bottom;
    const [start, stop] = ends.map(end => place(end, scale.kind) ? scale.at(end) : floor);
    return flat ? `M${start} ${point.y - 3}v6m0-3H${stop}m0-3v6` : `M${point.x - 3} ${start}h6m-3 0V${stop}m-3 0h6`;
  }

  band(at, low, high, up) {
    const runs = [[]];
    at.forEach((point, rank) => {
      if (point && place(low[rank], up.kind) && place(high[rank], up.kind)) runs[runs.length - 1].push([point.x, up.at(low[rank]), up.at(high[rank])]);
      else if (runs[runs.length - 1].length) runs.push([]);
    });
    return runs.filter(run => run.length > 1).map(run => shape("path", {class: "band", d:
      `M${run.map(([x, lowest]) => `${x} ${lowest}`).join("L")}L${run.reverse().map(([x, , highest]) => `${x} ${highest}`).join("L")}z`}));
  }

  // --- asking a point ---

  point(event) {
    const {left, top} = this.canvas.getBoundingClientRect(), x = event.clientX - left, y = event.clientY - top;
    let best = null, least = NEAR ** 2;
    for (const point of this.points) {
      const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (distance <= least) [best, least] = [point, distance];
    }
    this.tell(best);
  }

  walk(event) {
    const steps = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1]};
    if (event.key === "Escape") return this.tell(null);
    if (!(event.key in steps) || !this.points.length) return undefined;
    event.preventDefault();
    const [along, over] = steps[event.key], lines = [...new Set(this.points.map(point => point.line))];
    if (!this.current) return this.tell(this.points[0], true);
    const line = lines[(lines.indexOf(this.current.line) + over + lines.length) % lines.length];
    const own = this.points.filter(point => point.line === line);
    const now = over ? own.reduce((best, point) => Math.abs(point.x - this.current.x) < Math.abs(best.x - this.current.x) ? point : best)
      : own[Math.min(own.length - 1, Math.max(0, own.findIndex(point => point.rank === this.current.rank) + along))];
    return this.tell(now, true);
  }

  tell(point, aloud = false) {
    this.current = point;
    this.tip.hidden = !point;
    this.halo?.setAttribute("visibility", point ? "visible" : "hidden");
    if (!point) return;
    this.halo.setAttribute("cx", point.x);
    this.halo.setAttribute("cy", point.y);
    const rows = tellings(this.chart, this.panel, point.line, point.rank);
    this.tip.replaceChildren(...rows.map(([name, value], rank) => rank ? element("div", {}, element("span", {}, `${name} `), element("b", {}, value)) : element("strong", {}, value)));
    const offset = this.canvas.offsetTop, room = this.root.clientWidth;
    this.tip.style.top = `${offset + point.y + 14}px`;
    this.tip.style.left = `${Math.max(0, Math.min(point.x + 12, room - this.tip.offsetWidth - 4))}px`;
    if (aloud) this.live.textContent = rows.map(row => row.filter(Boolean).join(" ")).join(", ");
  }
}

const PLACING = ["x", "y", "low", "high", "left", "right"];

function tellings(chart, panel, line, rank) {
  const at = name => line.columns[name]?.[rank];
  const rows = [["", [chart.groups[line.group], line.kind].filter(Boolean).join(" · ") || panel.title]];
  for (const name of ["x", "y"]) rows.push([panel[name].label, category(panel[name], at(name)) ?? told(at(name))]);
  for (const [from, to] of [["low", "high"], ["left", "right"]]) {
    if (typeof at(from) === "number" && typeof at(to) === "number") rows.push(["from", `${told(at(from))} to ${told(at(to))}`]);
  }
  for (const name of Object.keys(line.columns)) if (!PLACING.includes(name)) rows.push([name, told(at(name))]);
  return rows;
}

// ----------------------------------------------------------------------------------------------------------------- charts

class ChartView {
  constructor(root, chart) {
    Object.assign(this, {root, chart, hidden: {groups: new Set(), kinds: new Set()}, drawn: false});
    this.panels = chart.panels.map(panel => new PanelView(chart, panel, this.hidden));
    root.querySelector(".panels").replaceChildren(...this.panels.map(view => view.root));
    root.querySelector(".controls").replaceChildren(...this.toggles());
    dataTable(root.querySelector(".data"), () => chartTable(chart), chart.stem);
    new ResizeObserver(() => { if (this.drawn) this.draw(); }).observe(root);
  }

  toggles() {
    const lines = this.chart.panels.flatMap(panel => panel.lines);
    const groups = [...new Set(lines.map(line => line.group))].filter(group => group >= 0).sort((one, other) => one - other);
    const kinds = [...new Set(lines.map(line => line.kind))].filter(Boolean);
    const first = (name, value) => lines.find(line => line[name] === value);
    const buttons = groups.map(group => this.toggle("groups", group, this.chart.groups[group], swatch(group, {dash: "-", marked: true, hollow: false})));
    const shown = [element("div", {class: "legend", role: "group", "aria-label": "Show or hide"}, ...buttons)];
    if (buttons.length > 3) shown[0].prepend(this.every("all", buttons, true), this.every("none", buttons, false));
    if (kinds.length > 1) shown.push(element("div", {class: "legend", role: "group", "aria-label": "Show or hide a kind of line"}, ...kinds.map(kind => this.toggle("kinds", kind, kind, swatch(-1, first("kind", kind))))));
    return shown;
  }

  toggle(which, value, label, picture) {
    const button = element("button", {type: "button", class: "toggle", "aria-pressed": "true", on: {click: () => this.set(button, which, value, this.hidden[which].has(value))}}, picture, element("span", {}, label));
    button.set = on => this.set(button, which, value, on);
    return button;
  }

  every(label, buttons, on) {
    return element("button", {type: "button", class: "switch", on: {click: () => buttons.forEach(button => button.set(on))}}, label);
  }

  set(button, which, value, on) {
    this.hidden[which][on ? "delete" : "add"](value);
    button.setAttribute("aria-pressed", String(on));
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.drawn = true;
    for (const panel of this.panels) panel.draw();
  }
}

// ----------------------------------------------------------------------------------------------------------------- tables

function chartTable(chart) {
  const extra = [...new Set(chart.panels.flatMap(panel => panel.lines.flatMap(line => Object.keys(line.columns))))].filter(name => !PLACING.includes(name));
  const intervals = PLACING.slice(2).filter(name => chart.panels.some(panel => panel.lines.some(line => line.columns[name])));
  const rows = [];
  for (const panel of chart.panels) for (const line of panel.lines) line.columns.x.forEach((_, rank) => {
    const at = name => line.columns[name]?.[rank] ?? null;
    const placed = ["x", "y"].flatMap(name => [panel[name].label, category(panel[name], at(name)) ?? at(name)]);
    rows.push([panel.title, chart.groups[line.group] ?? "", line.kind, ...placed, ...intervals.map(at), ...extra.map(at)]);
  });
  return {headings: ["panel", "line", "kind", "x is", "x", "y is", "y", ...intervals, ...extra], rows};
}

// A table that is built when its fold is opened, a page of rows at a time, with the whole as CSV.
function dataTable(fold, make, stem) {
  fold.addEventListener("toggle", () => {
    const target = fold.querySelector(".folded");
    if (!fold.open || target.childElementCount) return;
    const table = make(), body = element("tbody"), where = element("span", {class: "quiet", "aria-live": "polite"});
    let first = 0;
    const turn = step => {
      first = Math.max(0, Math.min(first + step, Math.floor((table.rows.length - 1) / ROWS) * ROWS));
      body.replaceChildren(...table.rows.slice(first, first + ROWS).map(row => element("tr", {}, ...row.map(value => element("td", {class: typeof value === "string" ? "word" : null}, told(value))))));
      where.textContent = table.rows.length ? `rows ${first + 1} to ${Math.min(first + ROWS, table.rows.length)} of ${table.rows.length.toLocaleString("en")}` : "no rows";
    };
    const button = (label, act) => element("button", {type: "button", class: "switch", on: {click: act}}, label);
    const tools = element("p", {class: "tools"}, button("Download CSV", () => download(table, stem)), where);
    if (table.rows.length > ROWS) tools.append(button("previous", () => turn(-ROWS)), button("next", () => turn(ROWS)));
    target.append(tools, element("div", {class: "scroll", role: "region", tabindex: 0, "aria-label": `Table of ${stem}`},
      element("table", {}, element("thead", {}, element("tr", {}, ...table.headings.map(name => element("th", {scope: "col"}, name)))), body)));
    turn(0);
  });
}

function csv({headings, rows}) {
  const cell = value => value === null || value === undefined ? "" : /[",\n\r]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
  return [headings, ...rows].map(row => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function download(table, stem) {
  const link = element("a", {href: URL.createObjectURL(new Blob([csv(table)], {type: "text/csv"})), download: `${stem}.csv`});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ------------------------------------------------------------------------------------------------------------------ theme

const THEMES = ["auto", "light", "dark"];

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = `theme: ${theme}`;
}

function nextTheme() {
  const now = document.documentElement.dataset.theme ?? "auto";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
}

// ------------------------------------------------------------------------------------------------------------------ start

const views = [...document.querySelectorAll("figure.chart")].map((root, rank) => new ChartView(root, DATA.charts[rank]));
const seen = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) {
    seen.unobserve(entry.target);
    views.find(view => view.root === entry.target).draw();
  }
}, {rootMargin: "800px"});
for (const view of views) seen.observe(view.root);
addEventListener("beforeprint", () => views.forEach(view => view.draw()));
document.querySelectorAll("details.run").forEach((fold, rank) => dataTable(fold, () => DATA.runs[rank], DATA.runs[rank].stem));
document.getElementById("theme").addEventListener("click", nextTheme);
setTheme("auto");
document.documentElement.classList.add("ready");
})();
