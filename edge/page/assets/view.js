// The span of time that is looked at. Pure; times are milliseconds since 1970.
//
// A view either follows the daemon's clock, { follow: true, span }, or stands, { follow: false, from, until }.

const MINUTE = 60e3;
const HOUR = 3600e3;
const DAY = 86400e3;

export const SPANS = [
	["5 min", 5 * MINUTE],
	["1 h", HOUR],
	["6 h", 6 * HOUR],
	["1 d", DAY],
	["7 d", 7 * DAY],
	["30 d", 30 * DAY],
	["1 y", 365 * DAY],
].map(([label, length]) => ({ name: label.replace(" ", ""), label, length }));

export const FIRST_VIEW = { follow: true, span: HOUR };

const SPAN_MIN = 1e3;
const SPAN_MAX = 731 * DAY;
const REFRESH_MIN = 2e3;
const REFRESH_MAX = 60e3;

const bounded = (least, value, most) => Math.min(most, Math.max(least, value));
const drawable = (length) => bounded(SPAN_MIN, length, SPAN_MAX);

export const lastSpan = (length) => ({ follow: true, span: drawable(length) });

export function rangeOf(view, now) {
	return view.follow ? { from: now - view.span, until: now } : { from: view.from, until: view.until };
}

export function standing(from, until) {
	const length = drawable(until - from);
	const middle = (from + until) / 2;
	return { follow: false, from: middle - length / 2, until: middle + length / 2 };
}

export function pan(view, fraction, now) {
	const { from, until } = rangeOf(view, now);
	const step = Math.min((until - from) * fraction, Math.max(0, now - until));
	return standing(from + step, until + step);
}

/** Around `anchor`; a view that follows keeps its newest end. */
export function zoom(view, factor, anchor, now) {
	if (view.follow && anchor === null) return lastSpan(view.span * factor);
	const { from, until } = rangeOf(view, now);
	const length = drawable((until - from) * factor);
	const at = anchor ?? (from + until) / 2;
	const begin = at - ((at - from) / (until - from)) * length;
	const beyond = Math.max(0, begin + length - Math.max(now, until));
	return standing(begin - beyond, begin + length - beyond);
}

export const sameView = (one, other) => ["span", "from", "until"].every((key) => one[key] === other[key]);

/** Before this long, nothing on a screen of 1800 pixels would have moved by one. */
export const refreshEvery = ({ span = Infinity }) => bounded(REFRESH_MIN, span / 1800, REFRESH_MAX);
