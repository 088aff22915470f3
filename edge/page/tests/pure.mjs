// The modules that need no browser: node --test tests/pure.mjs

import assert from "node:assert/strict";
import { test } from "node:test";
import { age, bytes, clock, duration, moment, number, rate, value } from "../assets/format.js";
import { extent, indexAt, linesOf, nearest } from "../assets/lines.js";
import { numberTicks, paddedRange, timeTicks } from "../assets/scale.js";
import { formatHash, parseHash } from "../assets/state.js";
import { lastSpan, pan, rangeOf, refreshEvery, standing, zoom } from "../assets/view.js";

const HOUR = 3600e3;
const DAY = 24 * HOUR;
const NOON = Date.UTC(2026, 10, 1, 12);

test("numbers, sizes and durations are short", () => {
	const said = [number(0), number(-1.5), number(123456.789), number(3e-7), number(NaN), number(1.7e9)];
	assert.deepEqual(said, ["0", "−1.5", "123457", "3.0000e−7", "NaN", "1.7000e+9"]);
	assert.deepEqual([0, 999, 1000, 312.4e9, 5e16].map(bytes), ["0 B", "999 B", "1.0 kB", "312 GB", "50000 TB"]);
	assert.deepEqual([0, 0.0041, 0.00012, 59.6, 3600, 11520, 90061].map(duration), ["0 s", "4 ms", "120 µs", "1 min", "1 h", "3 h 12 min", "1 d 1 h"]);
	assert.deepEqual([-0.5, 12.9, 3700, -90].map(age), ["0 s", "12 s", "1 h", "1 min ahead"]);
	assert.deepEqual([0, 0.002380952, 1.5, 20].map(rate), ["0/s", "1 in 7 min", "1.5/s", "20/s"]);
	assert.equal(value([1, 2, 3, 4, 5]), "1, 2, 3, 4, … (5)");
});

test("times are UTC, with as much of the second as is asked", () => {
	assert.equal(moment(NOON + 1234), "2026-11-01 12:00:01");
	assert.equal(clock(NOON + 1234, 3), "12:00:01.234");
});

test("ticks of values are round, within the axis, and labelled alike", () => {
	for (const [low, high] of [[0, 90], [-0.3, 0.3], [1e6, 5e6], [1e-4, 3e-4], [-1e-12, 1e-12], [399.2, 401.7]]) {
		const { ticks, factor } = numberTicks(low, high, 5);
		assert.ok(ticks.length >= 2 && ticks.length <= 8, `${low} ${high}: ${ticks.length}`);
		assert.ok(ticks.every(({ at }) => at >= low - 1e-9 * (high - low) && at <= high + 1e-9 * (high - low)));
		const exponent = factor ? Number([...factor.slice(3)].map((digit) => "-0123456789"["⁻⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(digit)]).join("")) : 0;
		for (const { at, label } of ticks) assert.ok(Math.abs(Number(label.replace("−", "-")) * 10 ** exponent - at) <= 1e-6 * (high - low), `${label} ${factor} is not ${at}`);
	}
	assert.deepEqual(paddedRange(Infinity, -Infinity), [0, 1]);
	assert.ok(paddedRange(5, 5)[0] < 5);
});

test("ticks of time stand on whole steps of UTC, from milliseconds to years", () => {
	for (const length of [1e3, 60e3, 5 * 60e3, HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY, 365 * DAY, 731 * DAY]) {
		const ticks = timeTicks(NOON - length, NOON, 10);
		assert.ok(ticks.length >= 2 && ticks.length <= 14, `${length}: ${ticks.length}`);
		assert.ok(ticks.every(({ at }) => at >= NOON - length && at < NOON));
	}
	const days = timeTicks(Date.UTC(2026, 9, 30), Date.UTC(2026, 10, 3), 5);
	assert.deepEqual(days.map(({ label }) => label), ["30 Oct", "31 Oct", "1 Nov", "2 Nov"]);
	const months = timeTicks(Date.UTC(2025, 10, 15), Date.UTC(2026, 3, 2), 5);
	assert.deepEqual(months.map(({ label }) => label), ["Dec", "2026", "Feb", "Mar", "Apr"]);
});

test("a view follows the clock until it is moved", () => {
	assert.deepEqual(rangeOf(lastSpan(HOUR), NOON), { from: NOON - HOUR, until: NOON });
	assert.deepEqual(pan(lastSpan(HOUR), -0.5, NOON), standing(NOON - 1.5 * HOUR, NOON - 0.5 * HOUR));
	assert.deepEqual(pan(standing(NOON - HOUR, NOON), 0.5, NOON), standing(NOON - HOUR, NOON), "not beyond the present");
	assert.deepEqual(zoom(lastSpan(HOUR), 0.5, null, NOON), lastSpan(HOUR / 2));
	assert.deepEqual(zoom(standing(0, HOUR), 0.5, HOUR / 4, NOON), standing(HOUR / 8, HOUR * 5 / 8), "what is under the cursor stays there");
	assert.equal(zoom(standing(NOON - HOUR, NOON), 2, null, NOON).until, NOON);
	assert.deepEqual([5 * 60e3, 6 * HOUR, 365 * DAY].map((length) => refreshEvery(lastSpan(length))), [2e3, 12e3, 60e3]);
});

test("the hash gives back the state, whatever the names", () => {
	const state = {
		view: standing(NOON - HOUR, NOON),
		plots: [{ topic: 'a;b&c=d#"<img>', instance: 2, fields: ["x", "force[3]", "force[0:4]", "%é"] }, { topic: "t", instance: null, fields: ["y"] }],
		filter: "dome & shutter",
		component: "MT;Mount",
		event: { topic: "t;e", time: NOON },
		status: false,
	};
	assert.deepEqual(parseHash(formatHash(state)), state);
	for (const length of [5 * 60e3, 7 * DAY, 1234e3]) assert.deepEqual(parseHash(formatHash({ ...state, view: lastSpan(length) })).view, lastSpan(length));
	for (const nonsense of ["", "#", "#span=", "#span=x&plot=", "#plot=a", "#from=2026&until=1999", "#event=a;b", "#filter=%E0%A4%A"]) assert.doesNotThrow(() => parseHash(nonsense), nonsense);
});

test("statistics become one line with its band, at the middle of the windows", () => {
	const columns = ["mean", "min", "max"].map((statistic) => ({ field: "f", element: 3, statistic, units: "N" }));
	const series = [{ instance: 1, times: [0, 10e9, 30e9], values: [[1, 2, null], [0, 1, null], [2, 3, null]] }];
	const [line] = linesOf({ resolution: 10e9, columns, series }, false);
	assert.equal(line.label, "f[3]");
	assert.deepEqual([...line.times], [5e3, 15e3, 35e3]);
	assert.deepEqual([...line.values], [1, 2, NaN]);
	assert.deepEqual(extent([line], 0, 40e3), [0, 3]);
	assert.ok(line.gapAfter < 20e3);
	assert.equal(nearest(line, 16e3), 1);
	assert.equal(nearest(line, 25e3), -1, "a gap has no value");
});

test("raw lines are told apart by instance; events hold their value", () => {
	const columns = [{ field: "f", element: null, statistic: null, units: null }];
	const series = [1, 2].map((instance) => ({ instance, times: [0, 1e9, 2e9], values: [[true, false, 3]] }));
	const lines = linesOf({ resolution: null, columns, series }, true);
	assert.deepEqual(lines.map(({ label }) => label), ["f · 1", "f · 2"]);
	assert.deepEqual([...lines[0].values], [1, 0, 3]);
	assert.equal(nearest(lines[0], 1900), 1);
	assert.equal(nearest(lines[0], -1), -1);
	assert.equal(indexAt(lines[0].times, 1e3), 1);
});
