// What the slot on show amounts to, in numbers and words: the readout, the tasks, the live region.

/** Count the tasks of every slot by status. */
function countTasks(page, run) {
  return Array.from({ length: page.slots }, (_, t) => {
    const count = [0, 0, 0, 0];
    for (const { status } of tasksOf(page, run, t)) count[status] += 1;
    return count;
  });
}

/** Say whether slot `t` explores; null where the run has no phases. */
function phaseOf(run, t) {
  if (run.exploring === null) return null;
  const found = run.exploring.some(([from, length]) => t >= from && t < from + length);
  return found ? "explore" : "exploit";
}

class Readout {
  /** `table` is filled: one row per measure, one column per run and, of two, their difference. */
  constructor(page, counts, table) {
    Object.assign(this, { page, counts });
    this.measures = [
      ["profit", "profit", page.digits.slot, (run, t) => run.profit[t]],
      ["average", "average so far", page.digits.slot, (run, t) => run.average[t]],
      ["regret", "regret so far", page.digits.regret, (run, t) => run.regret[t]],
      ...[SERVED, REJECTED, INFEASIBLE, DEFERRED].map((status) => [
        STATES[status], STATES[status], 0, (run, t, k) => counts[k][t][status],
      ]),
    ];
    const pair = page.runs.length === 2;
    const columns = pair ? ["A", "B", "A − B"] : [];
    this.head = html("th", { scope: "col", colspan: pair ? 1 : 2 });
    const heads = columns.map((words) => html("th", { scope: "col" }, words));
    table.tHead.replaceChildren(html("tr", {}, this.head, ...heads));
    const phased = page.runs.some((run) => run.exploring !== null);
    const rows = [...this.measures, ...(phased ? [["phase", "phase"]] : [])];
    this.cells = rows.map(([key, words]) => {
      const cells = page.runs.map((_, k) => html("td", { "data-measure": key, "data-run": k }));
      if (pair) cells.push(html("td", { "data-measure": key, "data-run": "difference" }));
      table.tBodies[0].append(html("tr", {}, html("th", { scope: "row" }, words), ...cells));
      return cells;
    });
  }

  show(t) {
    const { runs, first } = this.page;
    this.head.textContent = `Slot ${first + t}`;
    this.measures.forEach(([, , digits, read], row) => {
      const values = runs.map((run, k) => read(run, t, k));
      values.forEach((value, k) => {
        this.cells[row][k].textContent = fixed(value, digits);
      });
      if (values.length === 2) {
        this.cells[row][2].textContent = fixed(values[0] - values[1], digits, true);
      }
    });
    runs.forEach((run, k) => {
      if (this.cells.length > this.measures.length) {
        this.cells.at(-1)[k].textContent = phaseOf(run, t) ?? "none";
      }
    });
  }

  /** Put slot `t` into one sentence per run, for the live region. */
  sentence(t) {
    const { runs, first, digits } = this.page;
    const each = runs.map((run, k) => {
      const count = this.counts[k][t];
      const tasks = [SERVED, REJECTED, INFEASIBLE, DEFERRED]
        .filter((status) => status === SERVED || count[status])
        .map((status) => `${count[status]} ${STATES[status]}`);
      const phase = phaseOf(run, t);
      return [
        `${run.label}: profit ${fixed(run.profit[t], digits.slot)}`,
        `average ${fixed(run.average[t], digits.slot)}`,
        `regret ${fixed(run.regret[t], digits.regret)}`,
        ...tasks,
        ...(phase === null ? [] : [phase]),
      ].join(", ");
    });
    return `Slot ${first + t}. ${each.join(". ")}.`;
  }
}

class TaskTable {
  constructor(page, run, host) {
    Object.assign(this, { page, run });
    const heads = ["provider", "stage", "worker", "status", "profit", "latency (s)", "energy (J)"];
    const head = html("tr", {}, ...heads.map((words) => html("th", { scope: "col" }, words)));
    this.caption = html("caption");
    this.rows = tasksOf(page, run, 0).map(({ m, s }) => {
      const cells = Array.from({ length: 5 }, () => html("td"));
      const row = html("tr", {}, html("th", { scope: "row" }, `P${m}`), html("td", {}, STAGES[s]));
      row.append(...cells);
      return { row, cells };
    });
    const body = html("tbody", {}, ...this.rows.map(({ row }) => row));
    const table = html("table", { class: "tasks" }, this.caption, html("thead", {}, head), body);
    // A frame that scrolls must be reachable by keyboard.
    const label = `Tasks, ${run.label}`;
    const frame = { class: "scroll", tabindex: 0, role: "region", "aria-label": label };
    host.append(html("div", frame, table));
  }

  show(t) {
    const { page, run } = this;
    const whose = page.runs.length === 2 ? `${"AB"[page.runs.indexOf(run)]}: ` : "";
    this.caption.textContent = `${whose}${run.label}, slot ${page.first + t}`;
    tasksOf(page, run, t).forEach(({ n, at, status }, i) => {
      const ran = status === SERVED;
      const words = [
        status === DEFERRED ? "–" : `W${n}`,
        STATES[status],
        fixed(run.taskProfit[at], page.digits.task),
        ran ? fixed(run.latency[at], page.digits.latency) : "–",
        ran ? fixed(run.energy[at], page.digits.energy) : "–",
      ];
      words.forEach((word, k) => {
        this.rows[i].cells[k].textContent = word;
      });
      this.rows[i].row.className = STATES[status];
    });
  }
}
