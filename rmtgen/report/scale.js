// Numbers as text, ticks, and scales from values to pixels.

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const superscript = power =>
  [...String(power)].map(sign => sign === "-" ? "⁻" : RAISED[Number(sign)]).join("");

function formatted(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value;
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return value.toLocaleString("en");
  if (size >= 1e-3 && size < 1e5) return String(Number(value.toPrecision(4)));
  const [digits, power] = value.toExponential(2).split("e");
  return `${Number(digits)}×10${superscript(Number(power))}`;
}

// Whether a value has a place on an axis of this kind.
const hasPlace = (value, kind) =>
  typeof value === "number" && Number.isFinite(value) && (kind !== "log" || value > 0);

function logTicks([low, high]) {
  const decades = Math.log10(high / low);
  if (decades <= 0.8) return linearTicks([low, high]);
  const factors = decades > 3.5 ? [1] : decades > 2.2 ? [1, 3] : [1, 2, 5];
  const step = Math.max(1, Math.ceil(decades / 7)), ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    if (power % step === 0) ticks.push(...factors.map(factor => factor * 10 ** power));
  }
  return ticks.filter(tick => tick >= low * 0.999 && tick <= high * 1.001);
}

function linearTicks([low, high]) {
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find(factor => factor * power >= rough) * power, ticks = [];
  for (let count = Math.ceil(low / step); count * step <= high * (1 + 1e-9); count++) {
    ticks.push(Number((count * step).toPrecision(12)));
  }
  return ticks;
}

function tickLabel(value, ticks) {
  const isFar = tick => tick !== 0 && (Math.abs(tick) >= 1e6 || Math.abs(tick) < 1e-3);
  if (value === 0 || !ticks.some(isFar)) {
    const short = Number(value.toPrecision(6));
    return Number.isInteger(value) ? value.toLocaleString("en") : String(short);
  }
  const power = Math.floor(Math.log10(Math.abs(value)) + 1e-9);
  const digits = Number((value / 10 ** power).toPrecision(3));
  return `${digits === 1 ? "" : `${digits}×`}10${superscript(power)}`;
}

// An axis of a panel as a map from values to pixels, with its ticks.
class Scale {
  constructor(axis, kind, lines, column, [from, to]) {
    const own = kind === axis.scale;
    this.kind = kind;
    this.view = own ? axis.view : otherView(axis, kind, lines, column);
    const map = kind === "log" ? Math.log : value => value;
    const [low, high] = this.view.map(map);
    this.at = value => from + ((map(value) - low) / (high - low || 1)) * (to - from);
    const given = own && axis.ticks.length ? axis.ticks : null;
    this.ticks = given ?? (kind === "log" ? logTicks(this.view) : linearTicks(this.view));
    this.labels = this.ticks.map(
      (tick, rank) => (given && axis.names[rank]) || tickLabel(tick, this.ticks)
    );
  }
}

// The view of a switched axis: from 0 to the end of the view, or from the least positive value.
function otherView(axis, kind, lines, column) {
  const [low, high] = axis.view;
  let least = Infinity, most = -Infinity;
  for (const value of lines.flatMap(line => line.columns[column])) {
    if (value > 0 && value < least) least = value;
    if (value <= high && value > most) most = value;
  }
  if (kind === "log") return [Math.min(least, high / 10) / 1.1, high];
  return [low > 0.5 * high ? low : 0, most > 0 ? Math.min(high, 1.05 * most) : high];
}

// Names on a linear axis are categories; on a log axis they are only labels of the ticks.
const isCategorical = axis => axis.scale === "linear" && axis.names.length > 0;

function category(axis, value) {
  if (!isCategorical(axis)) return undefined;
  return axis.names[axis.ticks.findIndex(tick => Math.abs(tick - value) < 0.5)];
}

const canSwitch = (axis, lines, column) =>
  !isCategorical(axis) &&
  lines.every(line => line.columns[column].every(value => value === null || value > 0));
