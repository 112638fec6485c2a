// Small helpers: elements, numbers, axes. Text is always a text node, never markup.

const SVG = "http://www.w3.org/2000/svg";
const STAGES = ["ENC", "LLM"];
const KINDS = ["enc", "llm"]; // classes of the stages in the style sheet
const STATES = ["deferred", "served", "rejected", "infeasible"]; // by status, as in the record
const [DEFERRED, SERVED, REJECTED, INFEASIBLE] = [0, 1, 2, 3];
const TOLERANCE = 1e-9; // sums of real demands carry rounding

/** Make an SVG element. Strings among the children become text. */
function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

/** Make an HTML element. Strings among the children become text. */
function html(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

/** Write a number with fixed decimals, a real minus sign and no negative zero. */
function fixed(value, digits, signed = false) {
  const text = Math.abs(value).toFixed(digits);
  if (value < 0 && Number(text) !== 0) return `−${text}`;
  return signed && Number(text) !== 0 ? `+${text}` : text;
}

/** Write a demand or a load: a few significant digits, none that say nothing. */
function short(value, digits = 4) {
  return String(Number(value.toPrecision(digits)));
}

/** Round a coordinate; pages with thousands of lines need no more. */
function px(value) {
  return Math.round(value * 10) / 10;
}

/** Choose round numbers from low to high, about `count` of them, and the decimals they need. */
function ticks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough * 0.9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const marks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) {
    marks.push(k * step);
  }
  return { marks, digits };
}

/** List the tasks of slot `t` of a run, counted from 0 in the page. */
function tasksOf(page, run, t) {
  const size = page.providers * 2;
  return Array.from({ length: size }, (_, i) => ({
    m: i >> 1,
    s: i & 1,
    at: t * size + i,
    n: run.worker[t * size + i],
    status: run.status[t * size + i],
    demand: page.demand[i >> 1],
  }));
}

/** Draw a piece of a legend: a small picture and what it means. */
function legendEntry(words, width, ...shapes) {
  const box = { class: "swatch", viewBox: `0 0 ${width} 16`, width, height: 16 };
  return html("li", {}, svg("svg", { ...box, "aria-hidden": "true" }, ...shapes), words);
}

// Marks of tasks that did not run, centred at (x, y).

function cross(x, y, kind) {
  const d = `M${px(x - 4)} ${px(y - 4)}l8 8m0 -8l-8 8`;
  return svg("path", { class: `cross ${kind}`, d });
}

function barred(x, y, kind) {
  const [left, top] = [px(x - 5), px(y - 5)];
  const d = `M${left} ${top}h10v10h-10zM${left} ${top}l10 10m0 -10l-10 10`;
  return svg("path", { class: `barred ${kind}`, d });
}

function held(x, y, kind) {
  return svg("circle", { class: `held ${kind}`, cx: px(x), cy: px(y), r: 4 });
}
