// Numbers, sizes, durations and times (milliseconds since 1970, shown in UTC) as text.

const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB"];

export function bytes(count) {
	if (!Number.isFinite(count)) return "unknown";
	let unit = 0;
	for (; count >= 999.5 && unit < 4; count /= 1000) unit += 1;
	return `${unit && count < 99.95 ? count.toFixed(1) : Math.round(count)} ${BYTE_UNITS[unit]}`;
}

export const whole = (count) => Math.round(count).toLocaleString("en").replaceAll(",", "\u202f");
export const counted = (count, noun) => `${whole(count)} ${noun}${count === 1 ? "" : "s"}`;

export function number(value) {
	const size = Math.abs(value);
	const short = size >= 1e7 || (size < 1e-4 && size > 0) ? value.toExponential(4) : Number(value.toPrecision(6));
	return String(short).replace("-", "−");
}

export const quantity = (value, units) => `${number(value)} ${units ?? ""}`.trim();

export function rate(perSecond) {
	if (!(perSecond > 0)) return "0/s";
	if (perSecond < 0.095) return `1 in ${age(Math.round(1 / perSecond))}`;
	return `${perSecond < 9.95 ? perSecond.toFixed(1) : whole(perSecond)}/s`;
}

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

export function duration(seconds) {
	const size = Math.abs(seconds);
	if (size > 0 && size < 1) return size < 1e-3 ? `${Math.round(size * 1e6)} µs` : `${Math.round(size * 1e3)} ms`;
	const total = Math.round(size);
	const at = UNITS.findIndex(([length]) => total >= length);
	if (at < 0) return "0 s";
	return UNITS.slice(at, at + 2)
		.map(([length, name], part) => [Math.floor((part ? total % UNITS[at][0] : total) / length), name])
		.filter(([count]) => count)
		.map(([count, name]) => `${count} ${name}`)
		.join(" ");
}

/** In its coarsest unit; a publisher's clock may be ahead. */
export function age(seconds) {
	if (seconds < -2) return `${age(-seconds)} ahead`;
	return duration(Math.max(0, Math.floor(seconds))).split(" ", 2).join(" ");
}

export const day = (time) => new Date(time).toISOString().slice(0, 10);
export const clock = (time, digits = 0) => new Date(time).toISOString().slice(11, digits ? 20 + digits : 19);
export const moment = (time, digits) => `${day(time)} ${clock(time, digits)}`;

export const digitsWithin = (span) => (span <= 120e3 ? 3 : 0);

/** A field's value in a record: an array by its first elements. */
export function value(of) {
	if (of === null || of === undefined) return "–";
	if (Array.isArray(of)) return `${of.slice(0, 4).map(value).join(", ")}${of.length > 4 ? `, … (${of.length})` : ""}`;
	return String(typeof of === "number" ? Number(of.toPrecision(12)) : of);
}

export function shortTopic(topic, component) {
	const lead = `lsst.sal.${component}.`;
	return topic.startsWith(lead) ? topic.slice(lead.length).replace(/^(logevent|command)_/, "") : topic;
}
