// Curves over all slots, one above the other on one axis, with a cursor at the slot on show.

const MARGIN = { left: 52, right: 20 };

class Timeline {
  /** `onPick(t)` is called with a slot, counted from 0 in the page. */
  constructor(page, counts, onPick) {
    Object.assign(this, { page, counts, t: 0 });
    const label = "Profit, regret and rejected tasks over slots; the values are in the readout";
    this.root = svg("svg", { class: "timeline", role: "img", "aria-label": label });
    const pick = (event) => {
      const frame = this.root.getBoundingClientRect();
      const x = ((event.clientX - frame.left) * this.width) / frame.width - MARGIN.left;
      const t = Math.floor((x / this.wide) * page.slots);
      onPick(Math.min(Math.max(t, 0), page.slots - 1));
    };
    this.root.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.root.setPointerCapture(event.pointerId);
      pick(event);
    });
    this.root.addEventListener("pointermove", (event) => {
      if (this.root.hasPointerCapture(event.pointerId)) pick(event);
    });
  }

  x(t) {
    return MARGIN.left + ((t + 0.5) / this.page.slots) * this.wide;
  }

  /** Draw everything for a width in pixels. */
  layout(width) {
    this.width = width;
    this.wide = width - MARGIN.left - MARGIN.right;
    this.dots = [];
    this.titles = [];
    this.top = 4;
    this.root.replaceChildren();
    const { runs, best } = this.page;
    const own = (name) => runs.map((run, k) => ({ values: run[name], look: `run${k}` }));
    const faint = runs.length === 1 ? [{ values: runs[0].profit, look: "each" }] : [];
    const optimum = { values: runs[0].average.map(() => best), look: "best" };
    this.panel("profit per slot, averaged up to t", 120, [...faint, optimum, ...own("average")]);
    this.panel("pseudo-regret R(t)", 84, own("regret"), 0);
    this.strips();
    this.phases();
    this.axis();
    const bottom = this.top + 34;
    this.cursor = svg("line", { class: "cursor", y1: 20, y2: px(this.top + 4) });
    this.root.append(this.cursor, ...this.dots.map(({ dot }) => dot), ...this.titles);
    this.root.setAttribute("viewBox", `0 0 ${px(width)} ${px(bottom)}`);
    this.show(this.t);
  }

  /** Draw a panel of curves; `floor` is a value that its axis must reach. */
  panel(words, height, lines, floor = null) {
    const top = this.top + 20;
    const known = lines.flatMap(({ values }) => spread(values)).concat(floor ?? []);
    let [low, high] = spread(known);
    const air = (high - low || Math.abs(high) || 1) * 0.06;
    low -= low === floor ? 0 : air;
    high += air;
    const y = (value) => top + ((high - value) / (high - low)) * height;
    this.title(words);
    const { marks, digits } = ticks(low, high, height / 27);
    for (const mark of marks) this.gridline(y(mark), fixed(mark, digits));
    for (const { values, look } of lines) {
      const points = values.map((value, t) => `${px(this.x(t))} ${px(y(value))}`);
      const level = `M${MARGIN.left} ${px(y(values[0]))}h${px(this.wide)}`;
      const d = look === "best" ? level : `M${points.join("L")}`;
      this.root.append(svg("path", { class: `curve ${look}`, d }));
      if (look === "best" || look === "each") continue;
      const dot = svg("circle", { class: `dot ${look}`, r: 4 });
      this.dots.push({ dot, y: (t) => y(values[t]) });
    }
    this.top = top + height + 6;
  }

  title(words) {
    const place = { x: MARGIN.left, y: px(this.top + 10) };
    this.titles.push(svg("text", { class: "head", ...place }, words));
  }

  gridline(y, words) {
    const ends = { x1: MARGIN.left, x2: px(MARGIN.left + this.wide), y1: px(y), y2: px(y) };
    this.root.append(svg("line", { class: "grid", ...ends }));
    this.root.append(svg("text", { class: "tick end", x: MARGIN.left - 7, y: px(y) }, words));
  }

  /** Draw how many tasks were rejected in each slot, a strip for every run. */
  strips() {
    const { runs } = this.page;
    this.top += 8;
    this.title("rejected tasks per slot");
    this.top += 18;
    const rejected = this.counts.map((count) => count.map((byStatus) => byStatus[REJECTED]));
    const most = Math.max(1, ...rejected.flatMap(spread));
    runs.forEach((_, k) => {
      const height = 30;
      const ground = this.top + height;
      const step = this.wide / this.page.slots;
      const wide = Math.max(step * (step > 4 ? 0.8 : 1), 0.7); // too thin, and it fades away
      const spikes = rejected[k].map((count, t) => {
        const high = (count / most) * height;
        const left = px(this.x(t) - wide / 2);
        return high ? `M${left} ${ground}v${px(-high)}h${px(wide)}V${ground}z` : "";
      });
      this.gridline(this.top, String(most));
      this.gridline(ground, "0");
      this.root.append(svg("path", { class: `spikes run${k}`, d: spikes.join("") || "M0 0" }));
      this.name(k, this.top + height / 2);
      this.top = ground + (k + 1 < runs.length ? 16 : 0);
    });
  }

  /** Draw the phases of every run that has them. */
  phases() {
    this.page.runs.forEach((run, k) => {
      if (run.exploring === null) return;
      const y = this.top + 12;
      const place = { y, height: 10 };
      const all = { x: MARGIN.left, width: px(this.wide) };
      const band = svg("g", { class: "phases", "data-run": k });
      band.append(svg("rect", { class: "exploit", ...place, ...all }));
      for (const [from, length] of run.exploring) {
        const x = px(MARGIN.left + (from / this.page.slots) * this.wide);
        const width = px((length / this.page.slots) * this.wide);
        const span = { "data-from": from + this.page.first, "data-length": length };
        band.append(svg("rect", { class: "explore", ...place, x, width, ...span }));
      }
      const words = this.page.runs.length === 2 ? `phase ${"AB"[k]}` : "phase";
      const label = { class: "tick end", x: MARGIN.left - 7, y: px(y + 5) };
      this.root.append(band, svg("text", label, words));
      this.top = y + 10;
    });
  }

  /** Say whose strip this is, where there are two. */
  name(k, y) {
    if (this.page.runs.length === 1) return;
    this.root.append(svg("text", { class: `whose run${k}`, x: 4, y: px(y) }, "AB"[k]));
  }

  axis() {
    const { first, slots } = this.page;
    const y = this.top + 6;
    const { marks } = ticks(first, first + slots - 1, Math.min(this.wide / 70, slots));
    const apart = (mark) => this.x(mark - first) - this.x(0) > 40; // room for the first label
    const later = marks.filter((mark) => Number.isInteger(mark) && apart(mark));
    const whole = new Set([first, ...later]);
    for (const mark of whole) {
      const x = px(this.x(mark - first));
      this.root.append(svg("line", { class: "tickmark", x1: x, x2: x, y1: y, y2: y + 4 }));
      this.root.append(svg("text", { class: "tick middle", x, y: y + 13 }, String(mark)));
    }
    const end = { x: px(MARGIN.left + this.wide), y: y + 26 };
    this.root.append(svg("text", { class: "head end", ...end }, "slot t"));
  }

  /** Move the cursor to slot `t`. */
  show(t) {
    this.t = t;
    const x = px(this.x(t));
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    for (const { dot, y } of this.dots) {
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", px(y(t)));
    }
  }
}

/** Smallest and largest value. */
function spread(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}
