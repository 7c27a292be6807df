// The whole fleet, as it changes: server-sent events over fetch, which can carry a key.
"use strict";

const KEPT = 120; // seconds that the small curves show
const history = { requests: [], p99: [], orders: [], errors: [] };
const at = (id) => document.getElementById(id);

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const number = (value, digits = 0) =>
  value === null || value === undefined ? "–"
    : value.toLocaleString("en", { maximumFractionDigits: digits });
const percent = (value) => (value === null ? "–" : `${number(value * 100, 1)} %`);
const ms = (value) => (value === null ? "–" : `${number(value, value < 10 ? 1 : 0)} ms`);
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");
function age(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

function curve(values) {
  const SVG = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 20");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "polyline");
  const most = Math.max(...values, 1e-9);
  const step = 100 / (KEPT - 1);
  const first = 100 - step * (values.length - 1);
  line.setAttribute("points",
    values.map((value, n) => `${first + n * step},${19 - (value / most) * 18}`).join(" "));
  svg.append(line);
  return svg;
}

function tile(label, text, values, isBad) {
  const made = element("div", undefined, { class: isBad ? "tile bad" : "tile" });
  made.append(element("span", label), element("strong", text));
  if (values) made.append(curve(values));
  return made;
}

// A table from rows of cells: [text, class]. On a phone each row is a card, whose cells say what
// they are.
function fill(id, names, rows) {
  const head = element("thead"), line = element("tr"), body = element("tbody");
  names.forEach(([name, kind]) => line.append(element("th", name, { class: kind || "", scope: "col" })));
  head.append(line);
  for (const cells of rows) {
    const row = element("tr");
    cells.forEach(([text, kind], n) =>
      row.append(element("td", text, { class: kind || "", "data-name": names[n][0] })));
    body.append(row);
  }
  at(id).replaceChildren(head, body);
}

function remember(name, value) {
  history[name].push(value || 0);
  if (history[name].length > KEPT) history[name].shift();
  return history[name];
}

function show(view) {
  const servers = view.instances.filter((each) => each.kind === "server");
  const living = servers.filter((each) => each.state !== "silent");
  const sum = (key) => living.reduce((total, each) => total + each[key], 0);
  const p99 = Math.max(0, ...living.map((each) => each.p99_ms || 0));
  const failing = sum("errors_per_s");
  at("totals").replaceChildren(
    tile("instances up", `${living.length} of ${servers.length}`, null, living.length < servers.length),
    tile("requests/s", number(sum("requests_per_s")), remember("requests", sum("requests_per_s"))),
    tile("orders/s", number(sum("orders_per_s"), 1), remember("orders", sum("orders_per_s"))),
    tile("worst p99", ms(p99 || null), remember("p99", p99)),
    tile("errors/s", number(failing, 1), remember("errors", failing), failing > 0),
    tile("refused/s", number(sum("refused_per_s"), 1)),
  );
  fill("instances",
    [["instance"], ["version"], ["up"], ["requests/s"], ["p50"], ["p99"], ["errors/s"], ["in flight"],
      ["memory hit ratio"], ["Redis hit ratio"], ["CPU"], ["memory"], ["degraded, differs in", "text"]],
    view.instances.map((each) => [
      [each.name, `dot ${each.state}`], [each.version],
      [each.state === "up" ? age(each.up_s) : each.state, each.state === "silent" ? "bad" : ""],
      [number(each.requests_per_s)], [ms(each.p50_ms)], [ms(each.p99_ms)],
      [number(each.errors_per_s, 1), each.errors_per_s ? "bad" : ""], [number(each.in_flight)],
      [percent(each.memory_hit_ratio)], [percent(each.redis_hit_ratio)],
      [percent(each.cpu)], [`${number(each.memory_mb)} MB`],
      [troubles(each), "text bad"],
    ]));
  fill("shards",
    [["shard"], ["tenants"], ["primary"], ["replicas", "text"], ["jobs waiting"], ["running"], ["failed"], ["oldest"]],
    view.shards.map((each) => [
      [each.name, `dot ${each.primary.state}`], [number(each.tenants)],
      [each.primary.state === "up" ? ms(each.primary.latency_ms) : each.primary.state],
      [each.replicas.map((one) => `${one.name} ${one.state}, ${number(one.lag_s, 2)} s behind`).join("; "), "text"],
      [number(each.jobs_waiting)], [number(each.jobs_running)],
      [number(each.jobs_failed), each.jobs_failed ? "bad" : ""],
      [each.oldest_job_s === null ? "–" : age(each.oldest_job_s)],
    ]));
  fill("pools", [["database"], ["in use"], ["size"], ["waiting"]], pools(view.instances).map((each) => [
    [each.server], [number(each.in_use)], [number(each.size)],
    [number(each.waiting), each.waiting ? "bad" : ""],
  ]));
  const lines = view.events.slice().reverse().map((each) => {
    const line = element("li");
    line.append(element("time", clock(each.at)), element("span", each.text, { class: each.mood }));
    return line;
  });
  at("events").replaceChildren(...(lines.length ? lines : [element("li", "No events yet.")]));
  at("notice").hidden = view.heard_s === 0;
  at("notice").textContent =
    `The control database is unavailable. This data is ${age(view.heard_s)} old.`;
  at("board").hidden = false;
}

function troubles(each) {
  const found = Object.entries(each.open_breakers).map(([name, why]) => `${name}: ${why}`);
  if (each.drift.length) found.push(`other settings: ${each.drift.join(", ")}`);
  if (Math.abs(each.clock_behind_s) > 0.5) found.push(`its clock is ${number(each.clock_behind_s, 1)} s behind`);
  return found.join("; ");
}

function pools(instances) {
  const found = new Map();
  for (const pool of instances.filter((each) => each.state !== "silent").flatMap((each) => each.pools)) {
    const sum = found.get(pool.server) || { server: pool.server, in_use: 0, size: 0, waiting: 0 };
    for (const key of ["in_use", "size", "waiting"]) sum[key] += pool[key];
    found.set(pool.server, sum);
  }
  return [...found.values()];
}

function tell(state, text) {
  at("link").dataset.state = state;
  at("link").textContent = text;
}

async function read() {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch("/ops/stream", { headers });
  if (answer.status === 401 || answer.status === 403) {
    const problem = await answer.json();
    at("refused").textContent = token ? problem.detail : "";
    at("key").hidden = false;
    at("board").hidden = true;
    tell("lost", "a key is needed");
    return false;
  }
  if (!answer.ok) throw new Error(`the server says ${answer.status}`);
  at("key").hidden = true;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return true;
    text += value;
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const data = message.split("\n").find((line) => line.startsWith("data: "));
      if (!data) continue;
      const view = JSON.parse(data.slice(6));
      show(view);
      tell("live", `as seen by ${view.seen_by}, ${clock(view.at)}`);
    }
  }
}

async function watch() {
  for (;;) {
    try {
      if (!(await read())) return;
      tell("waiting", "the instance has ended: looking for another");
    } catch (error) {
      tell("lost", `no answer: ${error.message}`);
    }
    await new Promise((wake) => setTimeout(wake, 1000));
  }
}

at("key").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", at("token").value.trim());
  watch();
});
watch();
