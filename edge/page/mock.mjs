// A stand-in for the daemon: serves assets/ as it does, and an API with made-up data, all of them functions of time.
//
//   node mock.mjs [--port 8089] [--token SECRET] [--topics 0]
//
// POST /mock/mode?ok | error | down changes how the API answers. `--topics N` adds N more, for a bus of real size.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: { port: { type: "string", default: "8089" }, token: { type: "string" }, topics: { type: "string", default: "0" } },
});
const ASSETS = join(import.meta.dirname, "assets");
const POLICY = "default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:";
const TYPES = { ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8" };

const SECOND = 1e3;
const MINUTE = 60e3;
const HOUR = 3600e3;
const DAY = 86400e3;
const STARTED = Date.now();
let mode = "ok";

// Data. Times are milliseconds; the answers turn them into nanoseconds.

/** A number between 0 and 1 that belongs to `seed`. */
function noise(seed) {
  const x = Math.sin(seed * 12.9898) * 43758.5453;
  return x - Math.floor(x);
}

/** Slews between targets that last ten minutes each. */
function elevation(time) {
  const target = (slot) => 15 + 70 * noise(slot);
  const slot = Math.floor(time / (10 * MINUTE));
  const into = Math.min(1, (time % (10 * MINUTE)) / (90 * SECOND));
  return target(slot - 1) + (target(slot) - target(slot - 1)) * (into * into * (3 - 2 * into));
}

const daily = (time) => Math.sin((2 * Math.PI * (time - 9 * HOUR)) / DAY);
const air = (time) => 9 + 4 * daily(time) + 1.5 * Math.sin(time / (37 * MINUTE)) + 0.12 * (noise(time / 7e3) - 0.5) + 5 * Math.sin((2 * Math.PI * time) / (365 * DAY));

const field = (name, units, of, more = {}) => ({ name, type: "double", units, description: null, elements: null, of, ...more });
const text = (name, of) => ({ name, type: "string", units: null, description: null, elements: null, of });
const stamps = [field("private_sndStamp", "s", (time) => time / 1e3 + 37), field("private_seqNum", null, (time) => Math.floor(time / 100) % 1e6, { type: "long" })];

const telemetry = (component, name, period, fields, more = {}) => ({
  topic: `lsst.sal.${component}.${name}`, component, kind: "telemetry", period, fields: [...fields, ...stamps], instances: [], description: null, ...more,
});
const event = (component, name, period, fields, more = {}) => telemetry(component, `logevent_${name}`, period, fields, { kind: "event", ...more });

const HOSTILE = '<img src=x onerror="alert(1)">';
const TOPICS = [
  telemetry("MTMount", "elevation", 50, [
    field("actualPosition", "deg", elevation, { description: "Actual position, from the encoders" }),
    field("demandPosition", "deg", (time) => elevation(time + 3 * SECOND)),
    field("actualTorque", "N m", (time) => 1e6 * (elevation(time + SECOND) - elevation(time - SECOND)) + 2e4 * noise(time)),
  ], { description: "Telemetry of the elevation axis" }),
  telemetry("MTMount", "azimuth", 50, [field("actualPosition", "deg", (time) => 180 * Math.sin(time / (47 * MINUTE)) + noise(time) * 0.01)]),
  telemetry("MTM1M3", "forceActuatorData", 100, [
    field("primaryCylinderForce", "N", (time, at) => 400 + 60 * Math.sin(at) + 25 * Math.cos(time / 9e4 + at / 9) + 8 * noise(time + at), { elements: 156 }),
    field("fx", "N", (time) => 1e-3 * Math.sin(time / 5e4) + 4e-4 * noise(time)),
  ]),
  telemetry("ESS", "temperature", 2000, [field("temperatureItem", "deg_C", (time, at) => air(time) - 0.4 * at, { elements: 4 }), text("location", () => HOSTILE)], { instances: [1, 2, 104], description: "Thermometers" }),
  telemetry("ESS", "airFlow", 1000, [field("speed", "m/s", (time) => Math.max(0, 6 + 5 * daily(time / 3) + 2 * (noise(time / 2e3) - 0.5))), field("direction", "deg", (time) => (time / 2e5) % 360)], { instances: [1, 301] }),
  telemetry("MTDome", "apertureShutter", 200, [field("positionActual", "%", () => 100), field("powerDraw", "kW", (time) => 3 + noise(time / 1e3))], { silentSince: 4 * MINUTE }),
  telemetry("Weird<b>", HOSTILE, 1000, [field('<i>"x"&y', "<u>", (time) => 1.7e9 + Math.sin(time / 3e5) * 0.02)]),
  event("MTMount", "elevationInPosition", 10 * MINUTE, [field("inPosition", null, (time) => Math.floor(time / (10 * MINUTE)) % 2, { type: "boolean" })]),
  event("MTMount", "summaryState", 97 * MINUTE, [field("summaryState", null, (time) => 1 + (Math.floor(time / (97 * MINUTE)) % 4), { type: "long" })]),
  event("ScriptQueue", "script", 7 * MINUTE, [field("salIndex", null, (time) => 100000 + (Math.floor(time / (7 * MINUTE)) % 999), { type: "long" }), text("path", () => "auxtel/take_image_latiss.py"), text("message", () => HOSTILE)], { instances: [1, 2] }),
  event("MTM1M3", "forceActuatorWarning", 23 * MINUTE, [field("anyWarning", null, () => 1, { type: "boolean" }), text("report", () => "actuator 304: following error above 150 N")]),
  ...Array.from({ length: Number(options.topics) }, (_, at) => telemetry(`Component${at % 60}`, `topic${at}`, 1000, [field("value", "V", (time) => noise(time + at))])),
];
const byName = new Map(TOPICS.map((topic) => [topic.topic, topic]));

/** Each 25 minutes something is away for two, except from topics with few records. */
const absent = (topic, time) => topic.kind === "telemetry" && (time % (25 * MINUTE) > 23 * MINUTE || (topic.silentSince && time > STARTED - topic.silentSince));
const isNaNAt = (time) => time % (17 * MINUTE) < 20 * SECOND;

const TIERS = [
  { tier: "raw", resolution: null, reach: 3 * HOUR },
  { tier: "10s", resolution: 10 * SECOND, reach: 30 * DAY },
  { tier: "5min", resolution: 5 * MINUTE, reach: 365 * DAY },
];
const POINTS_MAX = 20000;

function chooseTier(topic, from, until, points, now) {
  for (const { tier, resolution, reach } of TIERS) {
    const count = (until - from) / (resolution ?? topic.period);
    if (from < now - reach - MINUTE) continue;
    if (count > points * 8 && tier !== "5min") continue;
    return { tier, resolution, why: tier === "raw" ? `${Math.round(count)} samples at most, and raw reaches back to the begin.` : `Finer tiers would give more than ${points * 8} values, or do not reach back to the begin.` };
  }
  return { ...TIERS[2], why: "Only this tier reaches back that far." };
}

const SELECTOR = /^(.*?)(?:\[(\d+)(?::(\d+))?\])?$/s;

function columnsOf(topic, selectors, statistics) {
  return selectors.flatMap((selector) => {
    const [, name, first, end] = SELECTOR.exec(selector);
    const found = topic.fields.find((each) => each.name === name) ?? fail(400, `${topic.topic} has no field ${name}`);
    if (found.elements === null && first !== undefined) fail(400, `field ${name} is no array`);
    const last = Number(end ?? Number(first) + 1);
    if (found.elements !== null && last > found.elements) fail(400, `element ${last - 1} of ${name}: it has ${found.elements}`);
    const elements = found.elements === null ? [null] : first === undefined ? range(0, found.elements) : range(Number(first), last);
    return elements.flatMap((element) => {
      const label = element === null ? name : `${name}[${element}]`;
      return (statistics ?? [null]).map((statistic) => ({ name: statistic ? `${label}.${statistic}` : label, field: name, element, statistic, units: found.units, of: found.of }));
    });
  });
}

const range = (from, until) => Array.from({ length: Math.max(0, until - from) }, (_, at) => from + at);

function series(query, now) {
  const topic = byName.get(query.get("topic")) ?? fail(404, `no topic ${query.get("topic")}`);
  const from = Number(query.get("from")) / 1e6;
  const until = Math.min(Number(query.get("until")) / 1e6, now);
  const points = Number(query.get("points") ?? 1000);
  const asked = query.get("tier") ?? "auto";
  const { tier, resolution, why } = asked === "auto" ? chooseTier(topic, from, until, points, now) : { ...TIERS.find((each) => each.tier === asked), why: "It was asked for." };
  const columns = columnsOf(topic, query.getAll("field"), resolution && ["mean", "min", "max"]);
  const wanted = query.get("instance");
  const instances = wanted ? [Number(wanted)] : topic.instances.length ? topic.instances : [null];

  const merged = resolution && resolution * Math.max(1, Math.ceil((until - from) / resolution / points));
  const reach = TIERS.find((each) => each.tier === tier).reach;
  const step = merged ?? topic.period;
  const times = [];
  for (let at = Math.ceil(Math.max(from, now - reach) / step) * step; at < until - (merged ?? 0) && times.length < POINTS_MAX; at += step) if (!absent(topic, at)) times.push(at);
  const all = instances.map((instance) => ({
    instance,
    times: times.map((at) => Math.round(at * 1e6)),
    values: columns.map((column) => times.map((at) => valueAt(column, at, merged, instance))),
  }));
  return {
    topic: topic.topic, tier, why, resolution: merged && merged * 1e6, from: from * 1e6, until: until * 1e6, complete_until: until * 1e6, building: false, damaged_blocks: 0, unread_files: 0,
    columns: columns.map(({ of, ...column }) => column), series: all,
  };
}

function valueAt({ of, element, statistic }, at, length, instance) {
  if (isNaNAt(at)) return null;
  const shift = instance === null ? 0 : (instance % 7) * 0.8;
  if (!statistic) return of(at, element) + shift;
  const values = range(0, 8).map((part) => of(at + (length * (part + 0.5)) / 8, element) + shift);
  if (statistic === "min") return Math.min(...values);
  if (statistic === "max") return Math.max(...values);
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function recordAt(topic, at, instance) {
  const fields = Object.fromEntries(topic.fields.map(({ name, of, elements, type }) => {
    const value = elements ? range(0, elements).map((element) => of(at, element)) : of(at);
    return [name, type === "boolean" ? Boolean(value) : value];
  }));
  return { topic: topic.topic, component: topic.component, instance, time: Math.round(at * 1e6), fields };
}

const newestOf = (topic, now) => Math.floor((now - (topic.silentSince ?? 0)) / topic.period) * topic.period;

function lastRecords(topic, count, now) {
  const newest = newestOf(topic, now);
  return range(0, count).map((back) => recordAt(topic, newest - back * topic.period, topic.instances[0] ?? null));
}

function eventsIn(query, now) {
  const from = Number(query.get("from")) / 1e6;
  const until = Math.min(now, Number(query.get("until")) / 1e6);
  const most = Number(query.get("n") ?? 500);
  const found = [];
  for (const topic of TOPICS.filter(({ kind, component }) => kind === "event" && component === (query.get("component") ?? component))) {
    for (let at = Math.ceil(from / topic.period) * topic.period; at < until; at += topic.period) found.push([at, topic]);
  }
  found.sort(([one], [other]) => other - one);
  return { events: found.slice(0, most).map(([at, topic]) => recordAt(topic, at, topic.instances[0] ?? null)), truncated: found.length > most };
}

function topicList(now) {
  const topics = TOPICS.map((topic) => ({
    topic: topic.topic, component: topic.component, kind: topic.kind, last: Math.round(newestOf(topic, now) * 1e6),
    records: Math.floor((now - STARTED) / topic.period), rate: topic.silentSince ? 0 : 1000 / topic.period,
  }));
  topics.push({ topic: "lsst.sal.MTHexapod.command_move", component: "MTHexapod", kind: "command", last: null, records: 0, rate: 0 });
  return { now: Math.round(now * 1e6), topics };
}

function describe(name, now) {
  const topic = byName.get(name) ?? fail(404, `no topic ${name}`);
  const { component, kind, description, instances, fields } = topic;
  return {
    topic: name, component, kind, description, instances, fields: fields.map(({ of, ...rest }) => rest),
    tiers: TIERS.map(({ tier, reach }) => ({ tier, from: Math.round((now - reach) * 1e6), until: Math.round(now * 1e6) })),
  };
}

function status(now) {
  const up = (now - STARTED) / 1e3;
  const iso = (time) => new Date(time).toISOString();
  return {
    site: "summit", edge: "0191f0a2-7c1e-7d3a-9b52-2f7f0e6a41c8", version: "0.1.0", program: "efd-edge",
    bus: { participants: 14, writers: 412, readers: 412, untyped_topics: 1, participant_restarts: 2 },
    samples: { received: Math.round(8.1e8 + up * 9000), received_bytes: 4.1e11, recorded: Math.round(8.1e8 + up * 9000), waiting: 12, duplicates: 0, undecodable: 0, oversize: 0, malformed: 0, parked: 214, dropped: 0, implausible_stamps: 3 },
    buffer: { bytes: 312.4e9, segments: 418, blocks_committed: 184220, unacknowledged_blocks: 5121, backlog_bytes: 21.7e9, acknowledged_records: 7.1e8, store_errors: 0, commit_seconds: 0.0041, bytes_max: 1.5e12, hours_left: 168.4 },
    tiers: [
      { resolution: "10 s", bytes: 41.2e9, bytes_max: 60e9, files: 124, begin: iso(now - 30 * DAY), end: iso(now), retain_seconds: 30 * 86400 },
      { resolution: "5 min", bytes: 9.7e9, bytes_max: 30e9, files: 52, begin: iso(now - 365 * DAY), end: iso(now), retain_seconds: 365 * 86400 },
    ],
    tier_work: { samples: 8.1e8, windows: 3.1e7, late: 120, corrected: 118, errors: 0 },
    losses_of_last_day: { dds_gap: 12, queue_full: 0 },
    clock: { source: "Realtime", tai_minus_utc: 37, tai_from: "Table", error_seconds: 0.00012 },
    link: { state: "offline", failures: 31, blocks_live: 160000, blocks_fill: 19099, sent_bytes: 2.9e11, oldest_unacknowledged_seconds: 11520 + up, centre: "efd.example.org:4433" },
    certificate: { days_left: 300 }, leap_seconds: { days_left: 200 },
  };
}

// HTTP.

class Refusal extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

function fail(code, words) {
  throw new Refusal(code, words);
}

function answer(url, headers) {
  const now = Date.now();
  if (options.token && headers.authorization !== `Bearer ${options.token}`) fail(401, "a token is needed");
  if (mode === "error") fail(503, "4 queries are running, which is the limit");
  const { pathname, searchParams: query } = url;
  switch (pathname) {
    case "/status": return status(now);
    case "/api/v1/topics": return topicList(now);
    case "/api/v1/series": return series(query, now);
    case "/api/v1/events": return eventsIn(query, now);
    case "/api/v1/latest":
    case "/api/v1/last": {
      const topic = byName.get(query.get("topic")) ?? fail(404, `no topic ${query.get("topic")}`);
      return { records: lastRecords(topic, pathname.endsWith("last") ? Number(query.get("n") ?? 20) : 1, now) };
    }
    default: {
      const name = /^\/api\/v1\/topics\/(.+)$/.exec(pathname)?.[1] ?? fail(404, `no ${pathname}`);
      return describe(decodeURIComponent(name), now);
    }
  }
}

createServer(async (request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (request.method === "POST" && url.pathname === "/mock/mode") {
    mode = url.search.slice(1);
    response.end(mode);
    return;
  }
  if (mode === "down") {
    request.socket.destroy();
    return;
  }
  response.setHeader("Content-Security-Policy", POLICY);
  response.setHeader("X-Content-Type-Options", "nosniff");
  response.setHeader("Cache-Control", "no-cache");
  try {
    if (url.pathname === "/status" || url.pathname.startsWith("/api/")) {
      const body = JSON.stringify(answer(url, request.headers));
      response.writeHead(200, { "Content-Type": "application/json" }).end(body);
      return;
    }
    const name = url.pathname === "/" ? "index.html" : url.pathname.slice(1);
    if (!/^[a-z]+\.(html|css|js)$/.test(name)) fail(404, `no ${url.pathname}`);
    response.writeHead(200, { "Content-Type": TYPES[extname(name)] }).end(await readFile(join(ASSETS, name)));
  } catch (error) {
    const code = error instanceof Refusal ? error.status : error.code === "ENOENT" ? 404 : 500;
    response.writeHead(code, { "Content-Type": "application/json" }).end(JSON.stringify({ error: error.message }));
  }
}).listen(Number(options.port), "127.0.0.1", () => console.log(`http://127.0.0.1:${options.port}/`));
