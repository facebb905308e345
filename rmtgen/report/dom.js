// The data of the page, and builders of elements. All text of a run is set as text, never as
// markup. Nothing is fetched.

const DATA = decoded(JSON.parse(document.getElementById("data").textContent));
const STYLE = DATA.style;
const SVG = "http://www.w3.org/2000/svg";

const element = (name, attributes = {}, ...children) =>
  fill(document.createElement(name), attributes, children);
const shape = (name, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, name), attributes, children);

// Attributes that are null, undefined or false are left out; `on` holds listeners by event.
function fill(node, attributes, children) {
  const { on = {}, ...others } = attributes;
  for (const [event, act] of Object.entries(on)) node.addEventListener(event, act);
  for (const [name, value] of Object.entries(others)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

// A column of text is stored as its distinct words and the index of each row's word.
function decoded(data) {
  const lines = data.charts.flatMap(chart => chart.panels.flatMap(panel => panel.lines));
  for (const line of lines) {
    for (const [name, column] of Object.entries(line.columns)) {
      if (column.words) line.columns[name] = column.at.map(index => column.words[index]);
    }
  }
  return data;
}
