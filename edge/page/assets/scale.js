// Where an axis has its ticks, and what they are called. Pure.

import { clock } from "./format.js";

const TICK_STEPS = [1, 2, 2.5, 5, 10];

function niceStep(rough) {
	const power = 10 ** Math.floor(Math.log10(rough));
	return TICK_STEPS.map((step) => step * power).find((step) => step >= rough * (1 - 1e-9));
}

function decimalsOf(step) {
	let decimals = 0;
	while (decimals < 12 && Math.abs(step - Number(step.toFixed(decimals))) > step * 1e-6) decimals += 1;
	return decimals;
}

const superscript = (power) => String(power).replace(/./g, (digit) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]);

export function paddedRange(low, high) {
	if (!(low <= high)) return [0, 1];
	const room = high > low ? (high - low) * 0.06 : Math.max(Math.abs(high) * 1e-3, 0.5);
	return [low - room, high + room];
}

/** `factor` is a power of ten with which the labels are to be read. */
export function numberTicks(low, high, count) {
	const step = niceStep((high - low) / count);
	const largest = Math.max(Math.abs(low), Math.abs(high));
	const power = largest >= 1e5 || largest < 1e-2 ? 3 * Math.floor(Math.log10(largest) / 3) : 0;
	const decimals = decimalsOf(step / 10 ** power);
	const ticks = [];
	for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) {
		const label = ((at * step) / 10 ** power || 0).toFixed(decimals);
		ticks.push({ at: at * step, label: label.replace("-", "−") });
	}
	return { ticks, factor: power ? `×10${superscript(power)}` : "" };
}

const SECOND = 1e3;
const MINUTE = 60e3;
const HOUR = 3600e3;
const DAY = 86400e3;
const SIXTIETHS = [1, 2, 5, 10, 15, 30];
const times = (unit, steps) => steps.map((step) => step * unit);
const TIME_STEPS = [...times(1, [10, 20, 50, 100, 200, 500]), ...times(SECOND, SIXTIETHS), ...times(MINUTE, SIXTIETHS), ...times(HOUR, [1, 2, 3, 6, 12]), ...times(DAY, [1, 2, 4, 7])];
const MONTH_STEPS = [1, 2, 3, 6, 12];
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** Ticks of [from, until), UTC. A tick with `major` begins a day, or a year where ticks are months. */
export function timeTicks(from, until, count) {
	const rough = (until - from) / count;
	const step = TIME_STEPS.find((candidate) => candidate >= rough);
	return step ? evenTicks(from, until, step) : monthTicks(from, until, rough / (30.4 * DAY));
}

function evenTicks(from, until, step) {
	// Weeks begin on Monday; 1970 did on Thursday.
	const origin = step === 7 * DAY ? 4 * DAY : 0;
	const ticks = [];
	for (let at = Math.ceil((from - origin) / step) * step + origin; at < until; at += step) {
		const major = at % DAY === 0;
		const label = step < SECOND ? clock(at, step < 100 ? 3 : 1) : clock(at).slice(0, step < MINUTE ? 8 : 5);
		ticks.push({ at, major, label: major ? `${new Date(at).getUTCDate()} ${MONTHS[new Date(at).getUTCMonth()]}` : label });
	}
	return ticks;
}

function monthTicks(from, until, rough) {
	const step = MONTH_STEPS.find((candidate) => candidate >= rough) ?? 12;
	const ticks = [];
	for (let month = (new Date(from).getUTCFullYear() - 1970) * 12; Date.UTC(1970, month) < until; month += step) {
		const at = Date.UTC(1970, month);
		const major = month % 12 === 0;
		if (at >= from) ticks.push({ at, major, label: major ? String(1970 + month / 12) : MONTHS[month % 12] });
	}
	return ticks;
}
