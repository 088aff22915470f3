// An answer of /series as lines. Pure; times are milliseconds.

/** A gap is where this many steps are missing. Steps of raw samples jitter, those of windows do not. */
const RAW_STEPS = 5;
const WINDOW_STEPS = 1.5;

/**
 * One line for each field, element and instance: { label, units, times, values, low, high, gapAfter, held }.
 * `held` is a value that stands until the next record, as an event's does.
 */
export function linesOf({ resolution, series, columns }, held) {
	const length = (resolution ?? 0) / 1e6;
	return series.flatMap(({ instance, times, values }) => {
		// A window is named by its begin and stands for its middle.
		const at = Float64Array.from(times, (time) => time / 1e6 + length / 2);
		const gapAfter = length ? length * WINDOW_STEPS : held ? Infinity : medianStep(at) * RAW_STEPS;
		const suffix = series.length > 1 ? ` · ${instance}` : "";
		const lines = new Map();
		for (const [column, { field, element, statistic, units }] of columns.entries()) {
			const label = `${field}${element === null ? "" : `[${element}]`}${suffix}`;
			if (!lines.has(label)) lines.set(label, { label, units, times: at, gapAfter, held: held && !length });
			const part = { min: "low", max: "high" }[statistic] ?? "values";
			lines.get(label)[part] = Float64Array.from(values[column], (value) => value ?? NaN);
		}
		return [...lines.values()];
	});
}

function medianStep(times) {
	const stride = Math.ceil(times.length / 500);
	const steps = [];
	for (let at = 1; at < times.length; at += stride) steps.push(times[at] - times[at - 1]);
	return steps.sort((a, b) => a - b)[steps.length >> 1] ?? Infinity;
}

export function indexAt(times, time) {
	let low = 0;
	let high = times.length;
	while (low < high) {
		const middle = (low + high) >> 1;
		if (times[middle] < time) low = middle + 1;
		else high = middle;
	}
	return low;
}

export function nearest({ times, gapAfter, held }, time) {
	const after = indexAt(times, time);
	if (held) return times[after] === time ? after : after - 1;
	const at = times[after] - time < time - (times[after - 1] ?? -Infinity) ? after : after - 1;
	return Math.abs(times[at] - time) <= gapAfter / 2 ? at : -1;
}

export function extent(lines, from, until) {
	let least = Infinity;
	let greatest = -Infinity;
	for (const { times, values, low = values, high = values } of lines) {
		const end = indexAt(times, until);
		for (let at = indexAt(times, from); at < end; at += 1) {
			if (low[at] < least && low[at] > -Infinity) least = low[at];
			if (high[at] > greatest && high[at] < Infinity) greatest = high[at];
		}
	}
	return [least, greatest];
}
