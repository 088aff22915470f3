// Draws lines, bands and axes on a canvas, and says what it has drawn.

import { indexAt } from "./lines.js";
import { numberTicks, timeTicks } from "./scale.js";

export const MARGIN = { left: 62, right: 22, top: 18, bottom: 20 };
const LETTERS_MAX = 12;

export const letterOf = (at) => String.fromCharCode(65 + at);

export function readTheme() {
	const style = getComputedStyle(document.documentElement);
	const colour = (name) => style.getPropertyValue(`--${name}`).trim();
	const [ink, quiet, rule, strongRule] = ["ink", "quiet", "rule", "strong-rule"].map(colour);
	const lines = [0, 1, 2, 3, 4, 5, 6, 7].map((at) => colour(`line-${at}`));
	return { ink, quiet, rule, strongRule, lines, font: `11px ${style.fontFamily}` };
}

/** Fits the canvas's pixels to its place, and clears them; null where it has no place. */
export function prepare(canvas, { font }) {
	const { clientWidth: width, clientHeight: height } = canvas;
	if (width < 100) return null;
	const ratio = devicePixelRatio;
	Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
	const context = canvas.getContext("2d");
	context.scale(ratio, ratio);
	Object.assign(context, { font, lineJoin: "round" });
	return { context, width, height, bottom: height - MARGIN.bottom };
}

const across = (width) => width - MARGIN.left - MARGIN.right;
export const timeToX = ({ from, until }, width) => (time) => MARGIN.left + ((time - from) / (until - from)) * across(width);
export const xToTime = ({ from, until }, width, x) => from + ((x - MARGIN.left) / across(width)) * (until - from);

export function drawTimeAxis({ context, width, bottom }, range, theme) {
	const x = timeToX(range, width);
	Object.assign(context, { textAlign: "center", textBaseline: "top" });
	let free = 0;
	for (const { at, label, major } of timeTicks(range.from, range.until, Math.max(2, across(width) / 84))) {
		rule(context, major ? theme.strongRule : theme.rule, x(at), MARGIN.top, x(at), bottom);
		const half = context.measureText(label).width / 2;
		const centre = Math.min(x(at), width - half);
		if (centre - half < free) continue;
		free = centre + half + 8;
		context.fillStyle = major ? theme.ink : theme.quiet;
		context.fillText(label, centre, bottom + 6);
	}
}

function drawValueAxis({ context, width, bottom }, [low, high], y, units, theme) {
	const { ticks, factor } = numberTicks(low, high, Math.max(2, (bottom - MARGIN.top) / 34));
	Object.assign(context, { textAlign: "right", textBaseline: "middle" });
	for (const { at, label } of ticks) {
		rule(context, theme.rule, MARGIN.left, y(at), width - MARGIN.right, y(at));
		context.fillStyle = theme.quiet;
		context.fillText(label, MARGIN.left - 7, y(at), MARGIN.left - 9);
	}
	rule(context, theme.strongRule, MARGIN.left, MARGIN.top, MARGIN.left, bottom);
	Object.assign(context, { textAlign: "left", textBaseline: "top", fillStyle: theme.ink });
	context.fillText(`${factor} ${units}`.trim(), 4, 2);
}

function rule(context, colour, ...ends) {
	const [fromX, fromY, toX, toY] = ends.map((place) => Math.round(place) + 0.5);
	Object.assign(context, { strokeStyle: colour, lineWidth: 1 });
	context.beginPath();
	context.moveTo(fromX, fromY);
	context.lineTo(toX, toY);
	context.stroke();
}

/** Returns what was drawn of each line: { points, gaps, least, greatest, last }. */
export function drawPlot(area, range, [low, high], lines, units, theme) {
	const { context, width, bottom } = area;
	const x = timeToX(range, width);
	const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - MARGIN.top);
	drawTimeAxis(area, range, theme);
	drawValueAxis(area, [low, high], y, units, theme);

	context.save();
	context.beginPath();
	context.rect(MARGIN.left, MARGIN.top - 2, across(width), bottom - MARGIN.top + 4);
	context.clip();
	const runs = lines.map((line) => runsOf(line, range));
	const colourOf = (at) => theme.lines[at % theme.lines.length];
	for (const [at, line] of lines.entries()) if (line.low && line.high) fillBand(context, line, runs[at], x, y, colourOf(at));
	for (const [at, line] of lines.entries()) strokeLine(context, line, runs[at], x, y, colourOf(at), width);
	context.restore();

	const drawn = lines.map((line, at) => account(line, runs[at], range));
	if (lines.length > 1 && lines.length <= LETTERS_MAX) drawLetters(area, drawn, y, colourOf);
	return drawn;
}

function runsOf({ times, values, gapAfter }, { from, until }) {
	const end = Math.min(times.length, indexAt(times, until) + 1);
	const runs = [];
	let run = null;
	for (let at = Math.max(0, indexAt(times, from) - 1); at < end; at += 1) {
		if (!Number.isFinite(values[at])) run = null;
		else if (run !== null && times[at] - times[at - 1] <= gapAfter) run[1] = at + 1;
		else runs.push((run = [at, at + 1]));
	}
	return runs;
}

function fillBand(context, { times, low, high }, runs, x, y, colour) {
	Object.assign(context, { fillStyle: colour, globalAlpha: 0.22 });
	for (const [begin, end] of runs) {
		context.beginPath();
		for (let at = begin; at < end; at += 1) context.lineTo(x(times[at]), y(high[at]));
		for (let at = end - 1; at >= begin; at -= 1) context.lineTo(x(times[at]), y(low[at]));
		context.fill();
	}
	context.globalAlpha = 1;
}

function strokeLine(context, { times, values, held }, runs, x, y, colour, width) {
	Object.assign(context, { strokeStyle: colour, fillStyle: colour, lineWidth: 1.5 });
	const points = runs.reduce((sum, [begin, end]) => sum + end - begin, 0);
	const sparse = held || points * 8 < across(width);
	for (const [begin, end] of runs) {
		context.beginPath();
		for (let at = begin; at < end; at += 1) {
			context.lineTo(x(times[at]), y(values[at]));
			if (held) context.lineTo(at + 1 < end ? x(times[at + 1]) : width, y(values[at]));
		}
		context.stroke();
		// A point alone would have no length, and be unseen.
		if (sparse || end - begin === 1) for (let at = begin; at < end; at += 1) context.fillRect(x(times[at]) - 2, y(values[at]) - 2, 4, 4);
	}
}

function account({ times, values, low, high }, runs, { from, until }) {
	const drawn = { points: 0, gaps: Math.max(0, runs.length - 1), least: Infinity, greatest: -Infinity, last: null };
	for (const [begin, end] of runs) {
		for (let at = begin; at < end; at += 1) {
			if (times[at] < from || times[at] >= until) continue;
			drawn.points += 1;
			drawn.least = Math.min(drawn.least, (low ?? values)[at]);
			drawn.greatest = Math.max(drawn.greatest, (high ?? values)[at]);
			drawn.last = values[at];
		}
	}
	return drawn;
}

/** Each line's letter at its newest value, moved apart where they would lie on each other. */
function drawLetters({ context, width, bottom }, drawn, y, colourOf) {
	Object.assign(context, { textAlign: "left", textBaseline: "middle" });
	const letters = drawn.map(({ last }, at) => ({ at, place: y(last) })).filter(({ at }) => drawn[at].points);
	letters.sort((one, other) => other.place - one.place);
	let free = bottom;
	for (const { at, place } of letters) {
		free = Math.min(place, free);
		context.fillStyle = colourOf(at);
		context.fillText(letterOf(at), width - MARGIN.right + 7, free);
		free -= 12;
	}
}
