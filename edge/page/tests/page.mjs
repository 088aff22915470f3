// Uses the page as somebody at the summit would, in a real browser, and checks what it shows.
//
//   node tests/page.mjs http://127.0.0.1:8089/ tests/mock.json [folder for screenshots]
//
// PLAYWRIGHT_CORE names the folder of playwright-core where it is not in node_modules, CHROMIUM the browser.
// The expectations, all but `topic` and `field` optional:
//   { "components": [names], "topic", "field", "units", "instance", "span": "1h", "token",
//     "low", "high": bounds of what is drawn, "last": [least, greatest], "pointsMin": n, "gapsMin": n,
//     "values": [{ "time": "2026-…Z", "value": 1.5, "tolerance": 0.01 }],
//     "tiers": { "5min": ["raw"], "30d": ["10s", "5min"] }, "tierChanges": true, "eventsMin": n, "screenshot": hash }

import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

const [baseUrl, expectationsPath, shots = "screenshots"] = process.argv.slice(2);
const expected = JSON.parse(await readFile(expectationsPath, "utf8"));
const base = new URL(baseUrl);
const { chromium } = createRequire(import.meta.url)(process.env.PLAYWRIGHT_CORE ?? "playwright-core");
await mkdir(shots, { recursive: true });

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
let failures = 0;
const complaints = [];
/** What the browser itself says of a refused request; only while a step provokes it. */
let provoked = null;

async function open(hash = "", { width = 1280, height = 800, scheme = "light" } = {}) {
	const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, hasTouch: width < 500 });
	if (expected.token) await context.addInitScript((token) => sessionStorage.setItem("efd-edge-token", token), expected.token);
	const page = await context.newPage();
	page.setDefaultTimeout(15e3);
	page.on("console", (message) => {
		if (!["error", "warning"].includes(message.type())) return;
		if (provoked?.test(message.text())) return;
		complaints.push(`console ${message.type()}: ${message.text()}`);
	});
	page.on("pageerror", (error) => complaints.push(`page error: ${error.stack}`));
	page.on("request", (request) => {
		const url = new URL(request.url());
		if (url.protocol !== "data:" && url.origin !== base.origin) complaints.push(`request outside: ${url}`);
	});
	page.on("dialog", (dialog) => complaints.push(`dialog: ${dialog.message()}`));
	await page.goto(new URL(`/${hash}`, base).href);
	return page;
}

async function step(name, work) {
	try {
		await work();
		console.log(`ok    ${name}`);
	} catch (error) {
		failures += 1;
		console.log(`FAIL  ${name}\n      ${error.stack.split("\n").slice(0, 6).join("\n      ")}`);
	}
}

const settled = (page) => page.waitForFunction(() => {
	const plots = [...document.querySelectorAll(".plot")];
	return plots.length > 0 && plots.every(({ dataset }) => dataset.state === "ready" && dataset.drawn);
});
const drawn = (page, at = 0) => page.locator(".plot").nth(at).evaluate(({ dataset }) => ({ tier: dataset.tier, lines: JSON.parse(dataset.drawn) }));
const rangeText = (page) => page.locator("#range").innerText();
const hashOf = (topic, field, span = "1h", more = "") => `#span=${span}&plot=${[topic, expected.instance ?? "", field].map(encodeURIComponent).join(";")}${more}`;
const first = hashOf(expected.topic, expected.field, expected.span);

/** Where the canvas has pixels of the first line's colour, as values of its axis' extent: [lowest, highest] in parts of its height. */
const inked = (page) => page.locator(".plot canvas").first().evaluate((canvas) => {
	const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--line-0");
	probe.fillRect(0, 0, 1, 1);
	const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
	const { width, height } = canvas;
	const copy = new OffscreenCanvas(width, height).getContext("2d");
	copy.drawImage(canvas, 0, 0);
	const { data } = copy.getImageData(0, 0, width, height);
	const rows = [];
	let pixels = 0;
	for (let at = 0; at < data.length; at += 4) {
		if (data[at + 3] < 200 || Math.abs(data[at] - red) + Math.abs(data[at + 1] - green) + Math.abs(data[at + 2] - blue) > 12) continue;
		pixels += 1;
		rows[Math.floor(at / 4 / width)] = true;
	}
	const used = rows.flatMap((row, y) => (row ? [y / height] : []));
	return { pixels, top: used[0], bottom: used.at(-1) };
});

await step("the page's answer forbids scripts and styles from elsewhere", async () => {
	const response = await fetch(base);
	assert.match(response.headers.get("content-security-policy") ?? "", /default-src 'self'/);
});

await step("components are listed with ages, rates and states in words", async () => {
	const page = await open();
	await page.locator(".component").first().waitFor();
	for (const component of expected.components ?? []) assert.equal(await page.locator(".component .name", { hasText: new RegExp(`^${component}$`) }).count(), 1, component);
	assert.match(await page.locator(".component .age").first().innerText(), /\d+ (µs|ms|s|min|h|d)|none yet|silent/);
	await page.locator("#summary li").first().waitFor();
	assert.match(await page.locator("#summary").innerText(), /link[^]*(streaming|offline)[^]*buffer[^]*lost/);
	for (const title of ["Link", "Buffer", "Tiers", "Clock", "Edge"]) assert.equal(await page.locator(".card h2", { hasText: title }).count(), 1, title);
	await page.screenshot({ path: join(shots, "status-light.png") });
	await page.context().close();
});

await step("a plot is made with the keyboard alone", async () => {
	const page = await open();
	await page.locator(".component").first().waitFor();
	await page.keyboard.press("/");
	await page.keyboard.type(expected.topic);
	const downTo = async (selector, isIt) => {
		for (let press = 0; press < 500; press += 1) {
			await page.keyboard.press("ArrowDown");
			const it = await page.evaluate((wanted) => (document.activeElement.matches(wanted) ? [document.activeElement.title, document.activeElement.textContent] : null), selector);
			if (it && isIt(it)) return page.keyboard.press("Enter");
		}
		throw new Error(`the keys do not reach ${selector}`);
	};
	await downTo(".topic", ([title]) => title === expected.topic);
	await page.locator(".field-list li").first().waitFor();
	await downTo(".field-list button.name", ([, text]) => text === expected.field.replace(/\[.*/, ""));
	await settled(page);
	assert.equal(await page.locator(".plot").getAttribute("data-topic"), expected.topic);
	const { lines } = await drawn(page);
	assert.ok(lines[0].label.startsWith(expected.field.replace(/\[.*/, "")), lines[0].label);
	if (expected.units) assert.equal(lines[0].units, expected.units);
	await page.waitForFunction(() => location.hash.includes("plot="));
	await page.context().close();
});

await step("what is drawn are the expected values, and the canvas has them", async () => {
	const page = await open(first);
	await settled(page);
	const { tier, lines } = await drawn(page);
	const [line] = lines;
	assert.ok(line.points >= (expected.pointsMin ?? 1), `${line.points} points`);
	if (expected.low !== undefined) assert.ok(line.least >= expected.low, `${line.least} < ${expected.low}`);
	if (expected.high !== undefined) assert.ok(line.greatest <= expected.high, `${line.greatest} > ${expected.high}`);
	if (expected.last) assert.ok(line.last >= expected.last[0] && line.last <= expected.last[1], `last is ${line.last}`);
	assert.ok(line.gaps >= (expected.gapsMin ?? 0), `${line.gaps} gaps`);
	assert.match(await page.locator(".tier").innerText(), new RegExp(`^Tier ${tier}`));
	assert.match(await page.locator(".plot canvas").getAttribute("aria-label"), /min .*, max .*, last /);
	const ink = await inked(page);
	assert.ok(ink.pixels > 50, `${ink.pixels} pixels of the line's colour`);
	if (line.greatest > line.least && lines.length === 1 && tier === "raw") assert.ok(ink.bottom - ink.top > 0.4, JSON.stringify(ink));
	await page.context().close();
});

for (const { time, value, tolerance = 1e-6 } of expected.values ?? []) {
	await step(`the read-out at ${time} is ${value}`, async () => {
		const at = Date.parse(time);
		const around = `#from=${new Date(at - 30e3).toISOString()}&until=${new Date(at + 30e3).toISOString()}&plot=${[expected.topic, expected.instance ?? "", expected.field].map(encodeURIComponent).join(";")}`;
		const page = await open(around);
		await settled(page);
		const box = await page.locator(".frame").boundingBox();
		await page.mouse.move(box.x + 62 + (box.width - 62 - 22) / 2, box.y + box.height / 2);
		const text = await page.locator(".legend b").first().innerText();
		const read = Number(text.replace("−", "-").split(" ")[0]);
		assert.ok(Math.abs(read - value) <= tolerance, `${text}, not ${value}`);
		await page.context().close();
	});
}

await step("dragging zooms, Home and a double click go back, keys zoom and pan", async () => {
	const page = await open(first);
	await settled(page);
	const before = await rangeText(page);
	const box = await page.locator(".frame").boundingBox();
	const y = box.y + box.height / 2;
	const drag = async () => {
		await page.mouse.move(box.x + box.width * 0.4, y);
		await page.mouse.down();
		await page.mouse.move(box.x + box.width * 0.5, y, { steps: 4 });
		await page.mouse.up();
		await page.waitForFunction(() => location.hash.includes("from="));
		await settled(page);
	};
	await drag();
	assert.notEqual(await rangeText(page), before);
	const [from, until] = ["from", "until"].map((name) => Date.parse(new RegExp(`${name}=([^&]+)`).exec(page.url())[1]));
	assert.ok(until - from < 0.2 * 3600e3, `${until - from} ms`);
	const zoomed = page.url();
	await page.keyboard.press("Home");
	await page.waitForFunction(() => location.hash.includes("span="));
	await drag();
	await page.locator(".frame").dblclick({ position: { x: 300, y: 60 } });
	await page.waitForFunction(() => location.hash.includes("span="));
	assert.notEqual(page.url(), zoomed);

	await page.keyboard.press("ArrowLeft");
	await page.waitForFunction(() => location.hash.includes("from="));
	const panned = page.url();
	await page.keyboard.press("-");
	await page.waitForFunction((url) => location.href !== url, panned);
	await page.keyboard.press("f");
	await page.waitForFunction(() => location.hash.includes("span="));
	assert.match(await page.locator(".live").innerText(), /Live, each/);
	await page.context().close();
});

await step("the tier is stated, and follows the span", async () => {
	const page = await open(first);
	const seen = new Set();
	for (const [key, span] of [["1", "5min"], ["4", "1d"], ["6", "30d"], ["7", "1y"]]) {
		await page.keyboard.press(key);
		await page.waitForFunction((name) => location.hash.includes(`span=${name}`), span);
		await settled(page);
		const { tier } = await drawn(page);
		seen.add(tier);
		const text = await page.locator(".tier").innerText();
		assert.ok(text.startsWith(`Tier ${tier} `) && text.length > 20, text);
		if (expected.tiers?.[span]) assert.ok(expected.tiers[span].includes(tier), `${span} comes from ${tier}`);
	}
	if (expected.tierChanges) assert.ok(seen.size > 1, [...seen].join());
	await page.context().close();
});

await step("live follow moves by itself, each two seconds", async () => {
	const page = await open(hashOf(expected.topic, expected.field, "5min"));
	await settled(page);
	let answers = 0;
	page.on("response", (response) => (answers += response.url().includes("/series?") ? 1 : 0));
	const before = await rangeText(page);
	await page.waitForTimeout(7000);
	assert.ok(answers >= 2 && answers <= 5, `${answers} answers in 7 s`);
	assert.notEqual(await rangeText(page), before);
	await page.context().close();
});

if (expected.eventsMin) {
	await step("events are marks in lanes; one is chosen with the keyboard and shown in full", async () => {
		const page = await open(hashOf(expected.topic, expected.field, "6h"));
		await page.locator(".mark").first().waitFor();
		assert.ok((await page.locator(".mark").count()) >= expected.eventsMin, `${await page.locator(".mark").count()} marks`);
		assert.ok((await page.locator(".lane").count()) >= 1);
		await page.keyboard.press("e");
		await page.keyboard.press("ArrowLeft");
		await page.locator(".chosen-event dl div").first().waitFor();
		assert.equal(await page.locator('.mark[aria-selected="true"]').count(), 1);
		assert.equal(await page.locator(".event-line:visible").count(), 1);
		const [mark, line] = await Promise.all([page.locator('.mark[aria-selected="true"]').boundingBox(), page.locator(".event-line").boundingBox()]);
		assert.ok(Math.abs(mark.x + mark.width / 2 - line.x) < 2, `mark at ${mark.x + mark.width / 2}, line at ${line.x}`);
		assert.equal(await page.locator("main img, #topics img").count(), 0, "text became markup");
		const focused = await page.evaluate(() => document.activeElement.title);
		await page.keyboard.press("2");
		await page.waitForTimeout(4500);
		assert.equal(await page.evaluate(() => document.activeElement.title), focused, "a refresh took the focus");
		await page.keyboard.press("Home");
		await page.screenshot({ path: join(shots, "event-light.png"), fullPage: true });
		await page.context().close();
	});
}

await step("a view survives a reload, and its address another browser", async () => {
	const page = await open(first);
	await settled(page);
	await page.keyboard.press("ArrowLeft");
	await page.waitForFunction(() => location.hash.includes("from="));
	const url = page.url();
	await page.reload();
	await settled(page);
	assert.equal(page.url(), url);
	await page.context().close();
});

await step("an error of the API stands in its place, in its own words, and goes away", async () => {
	provoked = /status of 503/;
	const page = await open(first);
	await settled(page);
	await page.route("**/api/v1/series?**", (route) => route.fulfill({ status: 503, json: { error: "4 queries run, which is the limit <b>" } }));
	await page.locator(".plot .note:visible", { hasText: "4 queries run, which is the limit <b>" }).waitFor();
	await page.unroute("**/api/v1/series?**");
	await settled(page);
	assert.equal(await page.locator(".note:visible").count(), 0);
	await page.context().close();
	provoked = null;
});

await step("a lost connection is said, and it recovers by itself", async () => {
	provoked = /ERR_FAILED|ERR_CONNECTION/;
	const page = await open(first);
	await settled(page);
	await page.route(/\/(api\/|status)/, (route) => route.abort("connectionrefused"));
	await page.locator("#lost:visible").waitFor();
	assert.match(await page.locator("#lost").innerText(), /does not answer since \d\d:\d\d:\d\d UTC/);
	await page.screenshot({ path: join(shots, "lost-light.png") });
	await page.unrouteAll({ behavior: "wait" });
	await page.locator("#lost").waitFor({ state: "hidden" });
	await settled(page);
	await page.context().close();
	provoked = null;
});

await step("a token is asked for, kept in the session, and sent", async () => {
	provoked = /status of 401/;
	const page = await open();
	await page.route(/\/(api\/|status)/, (route) => {
		const { authorization, ...headers } = route.request().headers();
		if (authorization !== "Bearer open sesame") return route.fulfill({ status: 401, json: { error: "a token is needed" } });
		return route.continue({ headers: expected.token ? { ...headers, authorization: `Bearer ${expected.token}` } : headers });
	});
	await page.locator("#token:visible").waitFor();
	await page.locator("#token-text").fill("wrong");
	await page.keyboard.press("Enter");
	await page.locator("#token-refused", { hasText: "did not take" }).waitFor();
	await page.screenshot({ path: join(shots, "token-light.png") });
	await page.locator("#token-text").fill("open sesame");
	await page.keyboard.press("Enter");
	await page.locator("#token").waitFor({ state: "hidden" });
	await page.waitForTimeout(2500);
	assert.equal(await page.locator("#token:visible").count(), 0);
	assert.equal(await page.evaluate(() => sessionStorage.getItem("efd-edge-token")), "open sesame");
	await page.context().close();
	provoked = null;
});

await step("keys are explained", async () => {
	const page = await open();
	await page.locator(".component").first().waitFor();
	await page.keyboard.press("?");
	await page.locator("dialog[open]").waitFor();
	await page.screenshot({ path: join(shots, "keys-light.png") });
	await page.keyboard.press("Escape");
	assert.equal(await page.locator("dialog[open]").count(), 0);
	await page.context().close();
});

await step("everything that can be used has a name, and nothing is wider than the screen", async () => {
	for (const [width, height] of [[1280, 800], [390, 844]]) {
		for (const scheme of ["light", "dark"]) {
			const page = await open(expected.screenshot ?? first, { width, height, scheme });
			await settled(page);
			await page.waitForTimeout(600);
			const nameless = await page.evaluate(() => [...document.querySelectorAll("button, input, select")].filter((each) => !(each.getAttribute("aria-label") || each.title || each.labels?.length || each.textContent.trim())).map(({ outerHTML }) => outerHTML));
			assert.deepEqual(nameless, []);
			const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
			assert.ok(beyond <= 0, `${beyond} px beyond ${width}`);
			await page.screenshot({ path: join(shots, `plots-${width}-${scheme}.png`), fullPage: width < 500 });
			await page.context().close();
		}
	}
});

await step("no complaint of the browser, no request elsewhere", () => assert.deepEqual(complaints, []));

await browser.close();
for (const complaint of complaints) console.log(complaint);
console.log(failures ? `${failures} failed` : "all passed");
process.exitCode = failures ? 1 : 0;
