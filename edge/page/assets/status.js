// What /status says, in words: in the head of the page, and in the panel.

import { byId, h, reconcile, setText, showError } from "./dom.js";
import { bytes, counted, duration, whole } from "./format.js";

const HOURS_LEFT_SHORT = 24;
const DAYS_LEFT_SHORT = 30;
const CLOCK_DIFFERENCE_MAX = 2;

export class StatusPanel {
	constructor(home) {
		this.error = h("p", { class: "error", hidden: true });
		this.cards = h("div", { class: "cards" });
		home.append(this.error, this.cards);
	}

	fail = (error) => showError(this.error, error);

	take(status, clockAhead) {
		showError(this.error, null);
		setText(byId("site"), status.site ?? "Edge");
		document.title = `${status.site ?? "Edge"} · edge`;
		reconcile(byId("summary"), summaryOf(status), nameOf, ([name]) => h("li", null, `${name} `, h("b")), tell);
		reconcile(this.cards, cardsOf(status, clockAhead), nameOf, ([title]) => h("section", { class: "card" }, h("h2", null, title), h("dl")), (card, [, rows]) => {
			const told = rows.filter(([, text]) => text !== undefined && text !== null);
			reconcile(card.lastChild, told, nameOf, ([name]) => h("div", null, h("dt", null, name), h("dd")), tell);
		});
	}
}

const nameOf = ([name]) => name;

/** A concern is seen without colours too. */
function tell(row, [, text, concern]) {
	setText(row.lastChild, concern ? `▲ ${text}` : String(text));
	row.lastChild.classList.toggle("concern", Boolean(concern));
}

function summaryOf({ link = {}, buffer = {}, losses_of_last_day: losses = {} }) {
	const lost = Object.values(losses).reduce((sum, count) => sum + count, 0);
	const fill = buffer.bytes_max ? `${Math.round((buffer.bytes / buffer.bytes_max) * 100)} %` : bytes(buffer.bytes);
	const left = buffer.hours_left > 0 ? `, ${duration(buffer.hours_left * 3600)} left` : "";
	return [
		["link", linkText(link), link.state !== "streaming"],
		["buffer", `${fill}${left}`, isShort(buffer.hours_left, HOURS_LEFT_SHORT)],
		["lost in a day", lost ? whole(lost) : "none", lost > 0],
	];
}

function cardsOf(status, clockAhead) {
	const { buffer = {}, link = {}, tiers = [], clock = {}, certificate = {}, leap_seconds: leap = {}, tier_work: work = {} } = status;
	const losses = Object.entries(status.losses_of_last_day ?? {}).filter(([, count]) => count > 0);
	return [
		["Link", [
			["state", linkText(link), link.state !== "streaming"],
			["centre", link.centre],
			...(link.centres ?? []).filter(({ state, left }) => state !== "connected" && left).map(({ centre, left }) => [`left ${centre}`, left.reason]),
			["oldest unsent", known(link.oldest_unacknowledged_seconds, duration)],
			["unsent", known(buffer.backlog_bytes, (held) => `${bytes(held)} in ${counted(buffer.unacknowledged_blocks, "block")}`)],
			["failures", known(link.failures, whole)],
		]],
		["Buffer", [
			["holds", known(buffer.bytes, (held) => `${bytes(held)} of ${bytes(buffer.bytes_max)}`)],
			["lasts offline", buffer.hours_left === null ? "not known yet" : known(buffer.hours_left, (hours) => duration(hours * 3600)), isShort(buffer.hours_left, HOURS_LEFT_SHORT)],
			["store errors", known(buffer.store_errors, whole), buffer.store_errors > 0],
		]],
		["Losses of the last day", losses.length ? losses.map(([reason, count]) => [plain(reason), counted(count, "sample"), true]) : [["samples", "none lost"]]],
		["Tiers", [...tiers.map((tier) => [tier.resolution, tierText(tier)]), ["errors", known(work.errors, whole), work.errors > 0]]],
		["Clock", [
			["source", clock.source],
			["TAI − UTC", known(clock.tai_minus_utc, (seconds) => `${seconds} s, from ${clock.tai_from}`)],
			["error", clock.error_seconds === null ? "not known" : known(clock.error_seconds, (error) => `± ${duration(error)}`)],
			["leap seconds", known(leap.days_left, (days) => `known for ${counted(days, "day")}`), isShort(leap.days_left, DAYS_LEFT_SHORT)],
			["your clock", Math.abs(clockAhead) > CLOCK_DIFFERENCE_MAX ? `${duration(clockAhead)} ${clockAhead > 0 ? "behind" : "ahead"}` : "agrees", Math.abs(clockAhead) > CLOCK_DIFFERENCE_MAX],
		]],
		["Edge", [
			["site", status.site],
			["edge", status.edge],
			["version", status.version && `${status.program ?? ""} ${status.version}`],
			["certificate", known(certificate.days_left, (days) => (days < 0 ? "has ended" : `${counted(days, "day")} left`)), isShort(certificate.days_left, DAYS_LEFT_SHORT)],
		]],
		["Bus and samples", Object.entries({ ...status.bus, ...status.samples }).filter(([, count]) => count).map(([name, count]) => [plain(name), name.endsWith("bytes") ? bytes(count) : whole(count), /dropped|untyped/.test(name)])],
	];
}

const known = (value, say) => (value === undefined || value === null ? undefined : say(value));
const isShort = (left, limit) => typeof left === "number" && left < limit;
const plain = (name) => name.replaceAll("_", " ");

function linkText({ state = "unknown", oldest_unacknowledged_seconds: oldest }) {
	return state === "offline" && oldest > 0 ? `offline, ${duration(oldest)} unsent` : state;
}

function tierText({ bytes: held, bytes_max: most, from, retain_seconds: retained }) {
	const reach = from ? `back to ${from.slice(0, 16).replace("T", " ")}` : "empty";
	return `${reach}; ${bytes(held)}${most ? ` of ${bytes(most)}` : ""}${retained ? `; kept ${duration(retained)}` : ""}`;
}
