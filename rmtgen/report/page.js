// Charts with their legends, tables with their CSV files, the theme, and the start of the page.

const ROWS = 100;    // rows of a table per page

class ChartView {
  constructor(root, chart) {
    Object.assign(this, { root, chart, drawn: false });
    this.hidden = { groups: new Set(), kinds: new Set() };
    this.panels = chart.panels.map(panel => new PanelView(chart, panel, this.hidden));
    root.querySelector(".panels").replaceChildren(...this.panels.map(view => view.root));
    root.querySelector(".controls").replaceChildren(...this.legends());
    foldedTable(root.querySelector(".data"), () => chartTable(chart), chart.stem);
    new ResizeObserver(() => { if (this.drawn) this.draw(); }).observe(root);
  }

  // One legend of groups, and one of kinds where there are several.
  legends() {
    const lines = this.chart.panels.flatMap(panel => panel.lines);
    const groups = [...new Set(lines.map(line => line.group))].filter(group => group >= 0);
    const solid = { dash: "-", marked: true, hollow: false };
    const buttons = groups.sort((one, other) => one - other).map(group =>
      this.toggle("groups", group, this.chart.groups[group], swatch(group, solid)));
    const both = [this.every("all", buttons, true), this.every("none", buttons, false)];
    const shown = [legend("Show or hide", [...(buttons.length > 3 ? both : []), ...buttons])];
    const kinds = [...new Set(lines.map(line => line.kind))].filter(Boolean);
    if (kinds.length > 1) {
      const first = kind => lines.find(line => line.kind === kind);
      const toggles = kinds.map(kind => this.toggle("kinds", kind, kind, swatch(-1, first(kind))));
      shown.push(legend("Show or hide a kind of line", toggles));
    }
    return shown;
  }

  toggle(which, value, label, picture) {
    const click = () => this.set(button, which, value, this.hidden[which].has(value));
    const attributes = { type: "button", class: "toggle", "aria-pressed": "true", on: { click } };
    const button = element("button", attributes, picture, element("span", {}, label));
    button.set = on => this.set(button, which, value, on);
    return button;
  }

  every(label, buttons, on) {
    return switchButton(label, () => buttons.forEach(button => button.set(on)));
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

const legend = (label, buttons) =>
  element("div", { class: "legend", role: "group", "aria-label": label }, ...buttons);

const switchButton = (label, click) =>
  element("button", { type: "button", class: "switch", on: { click } }, label);

// --- tables ---

// All points of a chart, one row per point.
function chartTable(chart) {
  const lines = chart.panels.flatMap(panel => panel.lines.map(line => [panel, line]));
  const names = [...new Set(lines.flatMap(([, line]) => Object.keys(line.columns)))];
  const intervals = PLACING.slice(2).filter(name => names.includes(name));
  const further = [...intervals, ...names.filter(name => !PLACING.includes(name))];
  const rows = lines.flatMap(([panel, line]) => line.columns.x.map((_, rank) => {
    const at = name => line.columns[name]?.[rank] ?? null;
    const coordinates = ["x", "y"].flatMap(name =>
      [panel[name].label, category(panel[name], at(name)) ?? at(name)]);
    const group = chart.groups[line.group] ?? "";
    return [panel.title, group, line.kind, ...coordinates, ...further.map(at)];
  }));
  return { headings: ["panel", "line", "kind", "x is", "x", "y is", "y", ...further], rows };
}

// A table that is built when its fold opens, one page of rows at a time, with the whole as CSV.
function foldedTable(fold, make, stem) {
  fold.addEventListener("toggle", () => {
    const target = fold.querySelector(".folded");
    if (fold.open && !target.childElementCount) target.append(...pagedTable(make(), stem));
  });
}

function pagedTable(table, stem) {
  const body = element("tbody"), count = table.rows.length;
  const position = element("span", { class: "quiet", "aria-live": "polite" });
  let first = 0;
  const turn = step => {
    first = Math.max(0, Math.min(first + step, Math.floor((count - 1) / ROWS) * ROWS));
    const last = Math.min(first + ROWS, count);
    body.replaceChildren(...table.rows.slice(first, last).map(tableRow));
    position.textContent = count
      ? `rows ${first + 1} to ${last} of ${count.toLocaleString("en")}` : "no rows";
  };
  const save = switchButton("Download CSV", () => download(table, stem));
  const tools = element("p", { class: "tools" }, save, position);
  if (count > ROWS) {
    tools.append(switchButton("previous", () => turn(-ROWS)));
    tools.append(switchButton("next", () => turn(ROWS)));
  }
  const isWord = column => typeof table.rows[0]?.[column] === "string";
  const headings = table.headings.map((name, column) =>
    element("th", { scope: "col", class: isWord(column) ? "word" : null }, name));
  const head = element("thead", {}, element("tr", {}, ...headings));
  const label = { role: "region", tabindex: 0, "aria-label": `Table of ${stem}` };
  turn(0);
  return [tools, element("div", { class: "scroll", ...label }, element("table", {}, head, body))];
}

const tableRow = row => element("tr", {}, ...row.map(value =>
  element("td", { class: typeof value === "string" ? "word" : null }, formatted(value))));

function csv({ headings, rows }) {
  const quoted = text => /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const line = row => row.map(value => quoted(String(value ?? ""))).join(",");
  return `${[headings, ...rows].map(line).join("\r\n")}\r\n`;
}

function download(table, stem) {
  const href = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
  element("a", { href, download: `${stem}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}

// --- theme ---

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

// --- start ---

const views = [...document.querySelectorAll("figure.chart")].map(
  (root, rank) => new ChartView(root, DATA.charts[rank])
);
const observer = new IntersectionObserver(entries => {
  for (const { target } of entries.filter(entry => entry.isIntersecting)) {
    observer.unobserve(target);
    views.find(view => view.root === target).draw();
  }
}, { rootMargin: "800px" });
for (const view of views) observer.observe(view.root);
addEventListener("beforeprint", () => views.forEach(view => view.draw()));
document.querySelectorAll("details.run").forEach(
  (fold, rank) => foldedTable(fold, () => DATA.runs[rank], DATA.runs[rank].stem)
);
document.getElementById("theme").addEventListener("click", nextTheme);
setTheme("auto");
document.documentElement.classList.add("ready");
