// Marks, and a panel that draws its lines and shows the point that a reader asks for.

const NEAR = 26;          // pixels from the pointer within which a point is shown
const APART = 44;         // pixels between two markers of a dense line; more markers would hide it
const LETTER = 0.74 * STYLE.chart_text.tick;    // width of a letter of a tick, in pixels
const PLACING = ["x", "y", "low", "high", "left", "right"];

const colour = group => `--c: var(--${group < 0 ? "neutral" : `series-${group % STYLE.colours}`})`;

function markerPath(group, x, y, size) {
  const outline = STYLE.markers[Math.max(group, 0) % STYLE.markers.length];
  const r = size * STYLE.marker_scale, n = value => value.toFixed(1);
  if (outline) return `M${outline.map(([u, v]) => `${n(x + r * u)} ${n(y + r * v)}`).join("L")}z`;
  const half = sign => `a${n(r)} ${n(r)} 0 1 0 ${n(sign * 2 * r)} 0`;
  return `M${n(x - r)} ${n(y)}${half(1)}${half(-1)}z`;
}

const strokePath = (d, dash) =>
  shape("path", { class: "line", d, "stroke-dasharray": STYLE.dashes[dash].join(" ") || null });

// A sample of a line for a legend.
function swatch(group, line) {
  const drawn = shape("svg", {
    class: line.pale ? "pale" : null, style: colour(group), viewBox: "0 0 26 14", width: 26,
    height: 14, "aria-hidden": "true",
  });
  if (line.dash) drawn.append(strokePath("M1 7H25", line.dash));
  if (line.marked) {
    const d = markerPath(group, 13, 7, 6);
    drawn.append(shape("path", { class: line.hollow ? "mark hollow" : "mark", d }));
  }
  return drawn;
}

class PanelView {
  constructor(chart, panel, hidden) {
    Object.assign(this, { chart, panel, hidden, points: [], current: null });
    this.scales = { x: panel.x.scale, y: panel.y.scale };
    this.tip = element("div", { class: "tip", hidden: true });
    this.live = element("p", { class: "unseen", "aria-live": "polite" });
    this.canvas = element("div", {
      class: "canvas", tabindex: 0, role: "group",
      "aria-label": `${panel.title}. Arrow keys move from point to point.`,
      on: {
        pointermove: event => this.point(event), pointerdown: event => this.point(event),
        pointerleave: () => this.show(null), blur: () => this.show(null),
        keydown: event => this.walk(event),
      },
    });
    const head = element("div", { class: "panel-head" }, element("h3", {}, panel.title),
      element("span", { class: "switches" }, ...this.switches()));
    this.root = element("div", { class: "panel" }, head, this.canvas, this.tip, this.live);
  }

  switches() {
    const names = ["x", "y"].filter(name => canSwitch(this.panel[name], this.panel.lines, name));
    return names.map(name => {
      const label = () => `${name}: ${this.scales[name]}`;
      const click = () => {
        this.scales[name] = this.scales[name] === "log" ? "linear" : "log";
        button.textContent = label();
        this.draw();
      };
      const title = `Switch the ${name} axis between log and linear`;
      const button = element("button", { type: "button", class: "switch", title, on: { click } },
        label());
      return button;
    });
  }

  visible() {
    const { groups, kinds } = this.hidden;
    const lines = this.panel.lines.filter(line => !groups.has(line.group) && !kinds.has(line.kind));
    return lines.sort((one, other) => other.pale - one.pale);
  }

  draw() {
    const width = this.canvas.clientWidth, { x, y, lines } = this.panel;
    if (!width) return;
    const height = Math.round(Math.min(400, Math.max(230, width * 0.68)));
    const box = { left: 0, right: width - 12, top: 8, bottom: height - 46 };
    const up = new Scale(y, this.scales.y, lines, "y", [box.bottom, box.top]);
    const letters = Math.max(4, ...up.labels.map(label => label.length));
    box.left = Math.min(0.42 * width, LETTER * letters + (y.label ? 30 : 12));
    const across = new Scale(x, this.scales.x, lines, "x", [box.left, box.right]);
    const clip = `clip-${this.chart.stem}-${this.chart.panels.indexOf(this.panel)}`;
    const marks = shape("g", { "clip-path": `url(#${clip})` });
    this.points = [];
    for (const line of this.visible()) this.drawLine(marks, line, across, up, box);
    this.halo = shape("circle", { class: "halo", r: 7, visibility: "hidden" });
    const inside = shape("rect", {
      x: box.left - 4, y: box.top - 4,
      width: box.right - box.left + 8, height: box.bottom - box.top + 8,
    });
    const label = `${this.chart.title}: ${this.panel.title}. ${this.chart.alt}`;
    const size = { viewBox: `0 0 ${width} ${height}`, width, height };
    this.canvas.replaceChildren(shape("svg", { ...size, role: "img", "aria-label": label },
      shape("clipPath", { id: clip }, inside), ...this.frame(across, up, box), marks, this.halo));
    this.show(null);
  }

  // Grid, ticks, axes and their labels.
  frame(across, up, box) {
    const grid = d => shape("path", { class: "grid", d });
    const text = (name, attributes, words) => shape("text", { class: name, ...attributes }, words);
    const parts = [];
    for (const [tick, label] of this.spaced(across, box)) {
      const x = across.at(tick);
      parts.push(grid(`M${x} ${box.top}V${box.bottom}`));
      parts.push(text("tick", { x, y: box.bottom + 17, "text-anchor": "middle" }, label));
    }
    up.ticks.forEach((tick, rank) => {
      const y = up.at(tick);
      if (y < box.top - 1 || y > box.bottom + 1) return;
      parts.push(grid(`M${box.left} ${y}H${box.right}`));
      const at = { x: box.left - 7, y: y + 4, "text-anchor": "end" };
      parts.push(text("tick", at, up.labels[rank]));
    });
    const axes = `M${box.left} ${box.top}V${box.bottom}H${box.right}`;
    parts.push(shape("path", { class: "axis", d: axes }));
    const middle = { x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle" };
    parts.push(text("label", middle, this.panel.x.label));
    if (this.panel.y.label) {
      const transform = `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)`;
      parts.push(text("label", { transform, "text-anchor": "middle" }, this.panel.y.label));
    }
    return parts;
  }

  // Ticks whose labels have room, from the largest down.
  spaced(scale, box) {
    const kept = [];
    let edge = Infinity;
    for (let rank = scale.ticks.length - 1; rank >= 0; rank--) {
      const x = scale.at(scale.ticks[rank]);
      const half = (LETTER / 2) * scale.labels[rank].length + 5;
      if (x < box.left - 1 || x > box.right + 1 || x + half > edge) continue;
      kept.push([scale.ticks[rank], scale.labels[rank]]);
      edge = x - half;
    }
    return kept;
  }

  drawLine(parent, line, across, up, box) {
    const { low, high, left, right } = line.columns;
    const points = this.placed(line, across, up), known = points.filter(Boolean);
    const group = shape("g", { class: line.pale ? "pale" : null, style: colour(line.group) });
    const bars = shaped => shape("path", { class: "bar", d: known.map(shaped).join("") });
    if (low && line.band) group.append(...this.band(points, low, high, up));
    else if (low) group.append(bars(point => this.bar(point, low, high, up, box)));
    if (left) group.append(bars(point => this.bar(point, left, right, across, box, true)));
    if (line.dash) group.append(strokePath(pathThrough(points), line.dash));
    if (line.marked) group.append(this.marks(line, known));
    parent.append(group);
    const inside = ({ x, y }) =>
      x > box.left - 5 && x < box.right + 5 && y > box.top - 5 && y < box.bottom + 5;
    this.points.push(...known.filter(inside));
  }

  // The points of a line in pixels, null for a point without a place.
  placed(line, across, up) {
    const { x, y } = line.columns;
    return x.map((value, rank) =>
      hasPlace(value, across.kind) && hasPlace(y[rank], up.kind)
        ? { line, rank, x: across.at(value), y: up.at(y[rank]) } : null);
  }

  marks(line, points) {
    const cloud = !line.dash && !line.hollow && points.length > STYLE.cloud_points;
    const dense = line.dash && points.length > STYLE.dense_points;
    const marked = dense ? thinned(points) : points;
    return shape("path", {
      class: `mark${line.hollow ? " hollow" : ""}${cloud ? " cloud" : ""}`,
      d: marked.map(({ x, y }) => markerPath(line.group, x, y, line.size)).join(""),
    });
  }

  bar(point, from, to, scale, box, flat = false) {
    const ends = [from[point.rank], to[point.rank]];
    if (ends.some(end => typeof end !== "number")) return "";
    const floor = flat ? box.left : box.bottom;
    const [start, stop] = ends.map(end => hasPlace(end, scale.kind) ? scale.at(end) : floor);
    return flat ? `M${start} ${point.y - 3}v6m0-3H${stop}m0-3v6`
      : `M${point.x - 3} ${start}h6m-3 0V${stop}m-3 0h6`;
  }

  band(points, low, high, up) {
    const known = (point, rank) =>
      point && hasPlace(low[rank], up.kind) && hasPlace(high[rank], up.kind);
    const stretches = [[]];
    points.forEach((point, rank) => {
      if (known(point, rank)) stretches.at(-1).push([point.x, up.at(low[rank]), up.at(high[rank])]);
      else if (stretches.at(-1).length) stretches.push([]);
    });
    return stretches.filter(stretch => stretch.length > 1).map(stretch => {
      const lower = stretch.map(([x, from]) => `${x} ${from}`).join("L");
      const upper = stretch.reverse().map(([x, , to]) => `${x} ${to}`).join("L");
      return shape("path", { class: "band", d: `M${lower}L${upper}z` });
    });
  }

  // --- the point that a reader asks for ---

  point(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    const x = event.clientX - left, y = event.clientY - top;
    let best = null, least = NEAR ** 2;
    for (const point of this.points) {
      const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (distance <= least) [best, least] = [point, distance];
    }
    this.show(best);
  }

  walk(event) {
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (event.key === "Escape") this.show(null);
    if (!(event.key in steps) || !this.points.length) return;
    event.preventDefault();
    this.show(this.current ? this.neighbour(...steps[event.key]) : this.points[0], true);
  }

  // The next point of the same line, or the nearest point of the next line.
  neighbour(along, over) {
    const lines = [...new Set(this.points.map(point => point.line))];
    const { line, rank, x } = this.current;
    const next = lines[(lines.indexOf(line) + over + lines.length) % lines.length];
    const own = this.points.filter(point => point.line === next);
    if (!over) {
      const index = own.findIndex(point => point.rank === rank) + along;
      return own[Math.min(own.length - 1, Math.max(0, index))];
    }
    const distance = point => Math.abs(point.x - x);
    return own.reduce((best, point) => distance(point) < distance(best) ? point : best);
  }

  show(point, aloud = false) {
    this.current = point;
    this.tip.hidden = !point;
    this.halo?.setAttribute("visibility", point ? "visible" : "hidden");
    if (!point) return;
    this.halo.setAttribute("cx", point.x);
    this.halo.setAttribute("cy", point.y);
    const [title, ...rows] = described(this.chart, this.panel, point.line, point.rank);
    this.tip.replaceChildren(element("strong", {}, title[1]), ...rows.map(([name, value]) =>
      element("div", {}, element("span", {}, `${name} `), element("b", {}, value))));
    const room = this.root.clientWidth - this.tip.offsetWidth - 4;
    this.tip.style.top = `${this.canvas.offsetTop + point.y + 14}px`;
    this.tip.style.left = `${Math.max(0, Math.min(point.x + 12, room))}px`;
    if (aloud) {
      const said = [title, ...rows].map(row => row.filter(Boolean).join(" "));
      this.live.textContent = said.join(", ");
    }
  }
}

// Points of a line that are some distance apart, from its first one on.
function thinned(points) {
  let last = null;
  return points.filter(point => {
    if (last && Math.hypot(point.x - last.x, point.y - last.y) < APART) return false;
    last = point;
    return true;
  });
}

// A path through points, interrupted at each null.
function pathThrough(points) {
  return points.map((point, rank) =>
    point ? `${points[rank - 1] ? "L" : "M"}${point.x.toFixed(1)} ${point.y.toFixed(1)}` : ""
  ).join("");
}

// Names and values of a point: its line, coordinates, intervals, and the further columns.
function described(chart, panel, line, rank) {
  const at = name => line.columns[name]?.[rank];
  const names = [chart.groups[line.group], line.kind].filter(Boolean);
  const rows = [["", names.join(" · ") || panel.title]];
  for (const name of ["x", "y"]) {
    const value = category(panel[name], at(name)) ?? formatted(at(name));
    rows.push([panel[name].label, value]);
  }
  for (const [from, to] of [["low", "high"], ["left", "right"]]) {
    if (typeof at(from) !== "number" || typeof at(to) !== "number") continue;
    rows.push(["from", `${formatted(at(from))} to ${formatted(at(to))}`]);
  }
  const further = Object.keys(line.columns).filter(name => !PLACING.includes(name));
  return [...rows, ...further.map(name => [name, formatted(at(name))])];
}
