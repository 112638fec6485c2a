// The market in one slot: providers on the left, workers on the right, a line per placed task.

class Market {
  /**
   * `most` is the largest load to draw; `onLight(what, keep)` is called with {provider: m},
   * {worker: n} or null.
   */
  constructor(page, run, name, most, onLight) {
    Object.assign(this, { page, run, name, most, onLight, lit: null, t: 0 });
    this.root = svg("svg", { class: "market", role: "group" });
    this.whole = [...page.demand, ...page.capacity].every(Number.isInteger);
    this.hatch = `hatch-${name}`;
    const stripes = svg("path", { class: "stripes", d: "M-1 1l2 -2M0 6l6 -6M5 7l2 -2" });
    const look = { id: this.hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse" };
    const ground = svg("rect", { class: "ground", width: 6, height: 6 });
    this.patterns = svg("defs", {}, svg("pattern", look, ground, stripes));
    this.heads = svg("g", { class: "heads" });
    this.edges = svg("g");
    this.bars = svg("g");
    this.providers = page.demand.map((_, m) => this.makeProvider(m));
    this.workers = page.capacity.map((_, n) => this.makeWorker(n));
    const groups = [...this.workers, ...this.providers].map((part) => part.group);
    this.root.append(this.patterns, this.heads, this.edges, this.bars, ...groups);
  }

  makeProvider(m) {
    const part = {
      box: svg("rect", { class: "box", rx: 3 }),
      name: svg("text", { class: "name middle" }, `P${m}`),
      demand: svg("text", { class: "end" }, short(this.page.demand[m])),
      profit: svg("text", { class: "end profit" }),
      area: svg("rect", { class: "area" }), // so that the gaps between texts are clickable, too
    };
    const look = { class: "provider", role: "button", tabindex: 0, "data-provider": m };
    const { area, box, name, demand, profit } = part;
    part.group = svg("g", look, area, box, name, demand, profit);
    if (this.page.providerNotes[m]) {
      part.group.append(svg("title", {}, this.page.providerNotes[m]));
    }
    const here = { provider: m };
    const { group } = part;
    group.addEventListener("mouseenter", () => this.onLight(here, false));
    group.addEventListener("mouseleave", () => this.onLight(null, false));
    group.addEventListener("focus", () => this.onLight(here, false));
    group.addEventListener("blur", () => this.onLight(null, false));
    group.addEventListener("click", () => this.onLight(here, true));
    group.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation(); // the space bar would start the player
      this.onLight(here, true);
    });
    return part;
  }

  makeWorker(n) {
    const part = {
      box: svg("rect", { class: "box", rx: 3 }),
      name: svg("text", { class: "name middle" }, `W${n}`),
      load: svg("text", { class: "load" }),
      asked: svg("text", { class: "asked" }),
      note: svg("text", { class: "note" }, this.page.workerNotes[n]),
    };
    const { box, name, load, asked, note } = part;
    part.group = svg("g", { class: "worker", "data-worker": n }, box, name, load, asked, note);
    part.group.append(svg("title", {}, this.page.workerNotes[n]));
    part.group.addEventListener("mouseenter", () => this.onLight({ worker: n }, false));
    part.group.addEventListener("mouseleave", () => this.onLight(null, false));
    return part;
  }

  /** Lay everything out for a width in pixels, and draw the slot again. */
  layout(width) {
    const { providers, workers } = this.page;
    const narrow = width < 520;
    const high = Math.max(providers, workers);
    const height = high * Math.min(Math.max(300 / high, 23), 60);
    const top = 26;
    const middle = (i, count) => top + (height * (i + 0.5)) / count;
    const rows = (count) => Array.from({ length: count }, (_, i) => middle(i, count));
    const narrowBar = this.whole ? 64 : 44;
    const bar = narrow ? narrowBar : Math.min(Math.max(0.2 * width, 90), 190);
    const at = { demand: narrow ? 47 : 52, profit: narrow ? 93 : 112, p: narrow ? 100 : 130 };
    this.digits = narrow ? 3 : 4;
    const text = 7 * ((this.whole ? 8 : 2 * this.digits + 5) + (this.page.perStage ? 7 : 0));
    const least = at.p + 38 + 80 + 38 + bar + 12 + text;
    this.root.style.setProperty("min-width", width < least ? `${least}px` : "auto");
    width = Math.max(width, least); // the frame scrolls
    at.text = width - text;
    at.bar = at.text - 12 - bar;
    at.w = at.bar - (narrow ? 38 : 46);
    Object.assign(this, { at, bar, yP: rows(providers), yW: rows(workers), narrow });
    this.pitchP = height / providers;
    this.pitchW = height / workers;
    // One scale for all slots. A crowd may ask for far more than there is: cut off at 1.6 times.
    const capacity = Math.max(...this.page.capacity, TOLERANCE);
    this.scale = bar / Math.min(Math.max(this.most, capacity), 1.6 * capacity);
    this.barHeight = Math.min(this.pitchW * 0.6, 20);
    this.root.setAttribute("viewBox", `0 0 ${px(width)} ${px(top + height + 4)}`);
    this.placeParts();
    this.show(this.t);
  }

  placeParts() {
    const { at } = this;
    const put = (element, values) => filled(element, values, []);
    this.providers.forEach((part, m) => {
      const y = this.yP[m];
      const size = Math.min(28, this.pitchP - 3);
      put(part.box, { x: at.p, y: px(y - size / 2), width: 32, height: px(size) });
      put(part.area, { x: 4, y: px(y - size / 2), width: at.p + 28, height: px(size) });
      put(part.name, { x: at.p + 16, y: px(y) });
      put(part.demand, { x: at.demand, y: px(y) });
      put(part.profit, { x: at.profit, y: px(y) });
    });
    const roomy = this.pitchW >= 46;
    this.workers.forEach((part, n) => {
      const y = this.yW[n];
      put(part.box, { x: px(at.w), width: 32 });
      put(part.name, { x: px(at.w + 16), y: px(y) });
      put(part.load, { x: at.text, y: px(y) });
      put(part.asked, { x: at.text });
      put(part.note, { x: px(at.bar), y: px(y + 21) });
      part.note.classList.toggle("gone", !roomy);
    });
    const head = (x, words, side) => svg("text", { class: side, x: px(x), y: 10 }, words);
    this.heads.replaceChildren(
      head(at.demand, "demand", "end"),
      head(at.profit, "profit", "end"),
      head(at.bar, "load / capacity", ""),
    );
    if (!this.narrow) {
      this.heads.append(head(at.p + 16, "provider", "middle"));
      this.heads.append(head(at.w + 16, "worker", "middle"));
    }
  }

  /** Show slot `t`, counted from 0 in the page. */
  show(t) {
    this.t = t;
    const tasks = tasksOf(this.page, this.run, t);
    this.marks = [];
    const port = (m, s) => this.yP[m] + (s ? 1 : -1) * Math.min(0.2 * this.pitchP, 8);
    const guests = this.page.capacity.map(() => []);
    for (const task of tasks) {
      if (task.status !== DEFERRED) guests[task.n].push(task);
      else this.mark(task, held(this.at.p + 41, port(task.m, task.s), KINDS[task.s]));
    }
    guests.forEach((found, n) => {
      const room = this.pitchW - 5;
      const step = Math.min(room / Math.max(found.length, 1), 9);
      const size = Math.min(Math.max(28, step * found.length), room);
      this.workers[n].box.setAttribute("y", px(this.yW[n] - size / 2));
      this.workers[n].box.setAttribute("height", px(size));
      found.forEach((task, rank) => {
        const end = this.yW[n] + step * (rank - (found.length - 1) / 2);
        this.drawTask(task, port(task.m, task.s), end, rank);
      });
    });
    this.edges.replaceChildren(...this.marks.map((mark) => mark.element));
    this.bars.replaceChildren(...guests.flatMap((found, n) => this.drawLoad(found, n)));
    this.providers.forEach((part, m) => this.tell(part, m, tasks.slice(2 * m, 2 * m + 2)));
    this.root.setAttribute("aria-label", `${this.run.label}, slot ${this.page.first + t}`);
    this.light(this.lit, this.kept);
  }

  mark(task, element) {
    this.marks.push({ task, element });
  }

  drawTask(task, from, to, rank) {
    const kind = KINDS[task.s];
    const start = this.at.p + 38;
    // Neighbours' marks stand side by side, not on top of each other.
    const end = this.at.w - (task.status === SERVED ? 2 : 10 + 12 * (rank % 2));
    const middle = px((start + end) / 2);
    const bend = `C${middle} ${px(from)} ${middle} ${px(to)} ${px(end)} ${px(to)}`;
    const d = `M${start} ${px(from)}${bend}`;
    const look = { class: `edge ${kind} ${STATES[task.status]}`, d };
    this.mark(task, svg("path", { ...look, "data-provider": task.m, "data-worker": task.n }));
    this.mark(task, svg("circle", { class: `port ${kind}`, cx: start, cy: px(from), r: 2.5 }));
    if (task.status === REJECTED) this.mark(task, cross(end, to, kind));
    if (task.status === INFEASIBLE) this.mark(task, barred(end, to, kind));
  }

  /** Draw a worker's bar: what it admitted, what it was asked for beyond that, its capacity. */
  drawLoad(found, n) {
    const { page, at, scale } = this;
    const capacity = page.capacity[n];
    const pools = page.perStage ? [[0], [1]] : [[0, 1]];
    const high = this.barHeight / pools.length;
    const shapes = [];
    const loads = [];
    const wishes = [];
    pools.forEach((stages, k) => {
      const y = px(this.yW[n] - this.barHeight / 2 + k * high);
      const box = { x: px(at.bar), y, width: px(capacity * scale), height: px(high) };
      shapes.push(svg("rect", { class: "room", ...box }));
      let left = 0;
      for (const status of [SERVED, REJECTED]) {
        const mine = found.filter((task) => task.status === status && stages.includes(task.s));
        mine.sort((a, b) => a.s - b.s || a.m - b.m);
        for (const task of mine) {
          const x = Math.min(left * scale, this.bar);
          const width = Math.min((left + task.demand) * scale, this.bar) - x;
          const look = { class: `part ${KINDS[task.s]} ${STATES[status]}`, "data-worker": n };
          const place = { x: px(at.bar + x), y, width: px(width), height: px(high) };
          const part = svg("rect", { ...look, ...place });
          if (status === SERVED && task.s === 1) part.setAttribute("fill", `url(#${this.hatch})`);
          shapes.push(part);
          left += task.demand;
        }
        (status === SERVED ? loads : wishes).push(left);
      }
      const full = loads[k] >= capacity - TOLERANCE;
      shapes.push(svg("rect", { class: full ? "limit full" : "limit", ...box }));
      if (left * scale > this.bar + 1) {
        const half = px(high / 2 + 2);
        const d = `M${px(at.bar + this.bar - 4)} ${px(y - 2)}l5 ${half}l-5 ${half}`;
        shapes.push(svg("path", { class: "cut", d }));
      }
    });
    this.tellLoad(n, loads, wishes, capacity);
    return shapes;
  }

  tellLoad(n, loads, wishes, capacity) {
    const part = this.workers[n];
    const over = wishes.some((wish) => wish > capacity + TOLERANCE);
    const full = loads.some((load) => load >= capacity - TOLERANCE);
    const each = this.page.perStage ? " each" : "";
    const sum = (values) => values.map((value) => short(value, this.digits)).join(" + ");
    part.load.textContent = `${sum(loads)} / ${short(capacity, this.digits)}${each}`;
    part.load.classList.toggle("full", full);
    part.asked.textContent = over ? `asked ${sum(wishes)}` : "";
    const apart = Math.min(this.pitchW * 0.24, 7);
    part.load.setAttribute("y", px(this.yW[n] - (over ? apart : 0)));
    part.asked.setAttribute("y", px(this.yW[n] + apart));
    part.group.classList.toggle("over", over);
  }

  tell(part, m, tasks) {
    const { digits } = this.page;
    const profit = this.run.providerProfit[this.t * this.page.providers + m];
    part.profit.textContent = fixed(profit, digits.provider, true);
    const words = tasks.map((task) => {
      const where = task.status === DEFERRED ? "" : ` on worker ${task.n}`;
      return `${STAGES[task.s]}${where} ${STATES[task.status]}`;
    });
    const about = `demand ${short(this.page.demand[m])}, profit ${part.profit.textContent}`;
    part.group.setAttribute("aria-label", `Provider ${m}: ${about}; ${words.join(", ")}`);
  }

  /** Bring out the tasks of a provider or of a worker; null: all alike. */
  light(what, kept) {
    this.lit = what;
    this.kept = kept;
    const far = (task) => what !== null && task.m !== what.provider && task.n !== what.worker;
    for (const { task, element } of this.marks) {
      element.classList.toggle("dim", far(task));
      element.classList.toggle("lit", what !== null && !far(task));
    }
    this.providers.forEach(({ group }, m) => {
      group.classList.toggle("lit", what?.provider === m);
      group.setAttribute("aria-pressed", kept?.provider === m);
    });
  }
}

/** The largest demand that any worker was asked for in any slot, in one pool. */
function mostAsked(page, run) {
  let most = 0;
  for (let t = 0; t < page.slots; t += 1) {
    const asked = new Map();
    for (const { n, s, status, demand } of tasksOf(page, run, t)) {
      if (status !== SERVED && status !== REJECTED) continue;
      const pool = page.perStage ? 2 * n + s : n;
      asked.set(pool, (asked.get(pool) ?? 0) + demand);
    }
    most = Math.max(most, ...asked.values());
  }
  return most;
}
