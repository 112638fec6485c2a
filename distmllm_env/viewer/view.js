// The page: builds its parts from the embedded data and moves all of them with one slot number.

const page = JSON.parse(byId("data").textContent);
const pair = page.runs.length === 2;
const counts = page.runs.map((run) => countTasks(page, run));
const most = Math.max(...page.runs.map((run) => mostAsked(page, run)));
const state = { t: 0, timer: null, hover: null, kept: null };

const markets = page.runs.map((run, k) => new Market(page, run, k, most, light));
const timeline = new Timeline(page, counts, (t) => {
  pause();
  go(t);
});
const readout = new Readout(page, counts, byId("readout"));
const tables = page.runs.map((run) => new TaskTable(page, run, byId("tables")));
const badges = page.runs.map(() => html("span", { class: "badge" }));

// --- slots -------------------------------------------------------------------------------------

function go(t) {
  state.t = Math.min(Math.max(t, 0), page.slots - 1);
  const { first, horizon } = page;
  const slider = byId("slider");
  slider.value = state.t;
  slider.setAttribute("aria-valuetext", `slot ${first + state.t} of ${horizon}`);
  byId("slot").textContent = `${first + state.t} / ${horizon}`;
  for (const part of [...markets, timeline, readout, ...tables]) part.show(state.t);
  page.runs.forEach((run, k) => {
    const phase = phaseOf(run, state.t);
    badges[k].textContent = phase ?? "";
    badges[k].className = `badge ${phase ?? "gone"}`;
  });
  announce();
}

/** Tell screen readers, but only once things have come to rest. */
function announce() {
  clearTimeout(state.telling);
  if (state.timer !== null) return;
  state.telling = setTimeout(() => {
    byId("live").textContent = readout.sentence(state.t);
  }, 400);
}

function play() {
  clearTimeout(state.telling);
  if (state.t === page.slots - 1) go(0);
  const tick = () => {
    go(state.t + 1);
    if (state.t === page.slots - 1) pause();
    else state.timer = setTimeout(tick, 1000 / Number(byId("speed").value));
  };
  state.timer = setTimeout(tick, 1000 / Number(byId("speed").value));
  showPlaying(true);
}

function pause() {
  if (state.timer === null) return;
  clearTimeout(state.timer);
  state.timer = null;
  showPlaying(false);
  announce();
}

function showPlaying(playing) {
  byId("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  byId("play-icon").setAttribute("d", playing ? "M3 2h4v12H3zM9 2h4v12H9z" : "M4 2l10 6-10 6z");
}

function step(by) {
  pause();
  go(state.t + by);
}

const moves = {
  first: () => step(-Infinity),
  back: () => step(-1),
  play: () => (state.timer === null ? play() : pause()),
  next: () => step(1),
  last: () => step(Infinity),
};
for (const [id, move] of Object.entries(moves)) byId(id).addEventListener("click", move);
byId("slider").addEventListener("input", (event) => {
  pause();
  go(Number(event.target.value));
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const on = event.target;
  if (on.closest("select")) return; // its own keys choose a speed
  if (event.key === " " && on.closest("button, summary")) return; // presses it
  const far = event.shiftKey ? 10 : 1;
  const keys = {
    ArrowLeft: () => step(-far),
    ArrowRight: () => step(far),
    Home: moves.first,
    End: moves.last,
    " ": moves.play,
  };
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  if (event.key === " " && event.repeat) return; // held down
  keys[event.key]();
});

// --- following a provider ----------------------------------------------------------------------

function light(what, keep) {
  if (keep) state.kept = state.kept?.provider === what.provider ? null : what;
  else state.hover = what;
  const shown = (keep ? state.kept : state.hover) ?? state.kept;
  for (const market of markets) market.light(shown, state.kept);
}

// --- words and legends -------------------------------------------------------------------------

function line(look, width = 28) {
  return svg("path", { class: look, d: `M1 8h${width - 2}` });
}

function block(look, more = {}) {
  return svg("rect", { class: look, x: 1, y: 2, width: 26, height: 12, ...more });
}

function fillLegends() {
  const stage = (kind, more) => [line(`edge ${kind} served`), block(`part ${kind} served`, more)];
  const room = block("room", { x: 2, width: 24 });
  byId("market-legend").append(
    legendEntry("ENC task", 58, ...stage("enc", { x: 34, width: 22 })),
    legendEntry("LLM task", 58, ...stage("llm", { x: 34, width: 22, fill: "url(#hatch-0)" })),
    legendEntry("rejected", 58, line("edge any rejected", 22), cross(24, 8, "any"),
      block("part any rejected", { x: 34, width: 22 })),
    legendEntry("infeasible", 28, line("edge any infeasible", 18), barred(21, 8, "any")),
    legendEntry("deferred", 14, held(7, 8, "any")),
    legendEntry("capacity", 28, room, block("limit", { x: 2, width: 24 })),
    legendEntry("full", 28, room.cloneNode(), block("limit full", { x: 2, width: 24 })),
  );
  const curves = byId("curve-legend");
  page.runs.forEach((run, k) => {
    const words = pair ? `${"AB"[k]}: ${run.label}` : `average of ${run.label}`;
    curves.append(legendEntry(words, 34, line(`curve run${k}`, 34)));
  });
  if (!pair) curves.append(legendEntry("single slots", 34, line("curve each", 34)));
  const best = `optimum V* = ${fixed(page.best, page.digits.slot)}`;
  curves.append(legendEntry(best, 34, line("curve best", 34)));
  if (page.runs.some((run) => run.exploring !== null)) {
    curves.append(legendEntry("explore", 28, block("explore", { y: 3, height: 10 })));
    curves.append(legendEntry("exploit", 28, block("exploit", { y: 3, height: 10 })));
  }
}

function fillHead() {
  const names = page.runs.map((run, k) => (pair ? `${"AB"[k]}: ${run.label}` : run.label));
  byId("title").textContent = `${names.join(" and ")} on ${page.scenario}`;
  const last = page.first + page.slots - 1;
  const all = page.slots === page.horizon;
  const seeds = [`seed ${page.seed}`];
  if (page.episode) seeds.push(`episode ${page.episode}`);
  if (page.worldSeed !== null) seeds.push(`world of seed ${page.worldSeed}`);
  byId("facts").append(
    ...[
      seeds.join(", "),
      `M = ${page.providers} providers`,
      `N = ${page.workers} workers`,
      `T = ${page.horizon} slots${all ? "" : `, of which ${page.first} to ${last} here`}`,
    ].map((fact) => html("span", {}, fact)),
  );
  byId("about").textContent =
    `${page.description} Each provider places an encoder task (ENC) and an LLM task; a worker ` +
    "serves what its capacity holds.";
}

// --- start -------------------------------------------------------------------------------------

fillHead();
byId("main").classList.toggle("pair", pair);
const hosts = page.runs.map((run, k) => {
  const whose = pair ? [html("span", { class: `whose run${k}` }, "AB"[k])] : [];
  const words = html("h2", {}, ...whose, html("span", {}, run.label), badges[k]);
  const frame = html("div", { class: "frame" }, markets[k].root);
  const host = html("section", { "data-run": k }, words, frame);
  byId("markets").append(host);
  return host;
});
byId("slider").max = page.slots - 1;
fillLegends();

/** Draw anew for the width that there is, so that text keeps its size. */
function fit() {
  const widthOf = (element) => Math.max(element.clientWidth, 300); // 0 before a tab is on show
  markets.forEach((market, k) => market.layout(widthOf(hosts[k])));
  timeline.layout(widthOf(byId("timeline")));
}
byId("timeline").append(timeline.root);
fit();
go(0);
let width = document.documentElement.clientWidth;
window.addEventListener("resize", () => {
  if (document.documentElement.clientWidth === width) return;
  width = document.documentElement.clientWidth;
  fit();
});
