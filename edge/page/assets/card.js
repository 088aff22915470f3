// One plot: what is asked for, the canvas, its tier and why, the legend with the read-out.

import { isAbort } from "./api.js";
import { button, h, reconcile, setText } from "./dom.js";
import { clock, counted, digitsWithin, duration, moment, number, quantity } from "./format.js";
import { listenToPointer } from "./gestures.js";
import { extent, indexAt, linesOf, nearest } from "./lines.js";
import { drawPlot, letterOf, prepare, timeToX } from "./plot.js";
import { paddedRange } from "./scale.js";

const LEGEND_MAX = 12;

export class Card {
	#lines = [];
	#answer = null;
	#error = null;
	#drawn = [];
	#tiers = null;
	#held = false;
	#range = null;
	#readAt = null;

	constructor(plot, api, actions) {
		Object.assign(this, { plot, api, actions });
		const { topic } = plot;
		this.fields = h("ul", { class: "chosen", "aria-label": "Fields" });
		this.instances = h("select", { "aria-label": "Instance", hidden: true, onchange: ({ target }) => actions.change({ ...this.plot, instance: target.value === "" ? null : Number(target.value) }) });
		this.tier = h("p", { class: "tier quiet", role: "status" }, h("b"), h("span"));
		this.canvas = h("canvas", { role: "img" });
		this.cursor = h("div", { class: "cursor", hidden: true });
		this.eventLine = h("div", { class: "cursor event-line", hidden: true });
		this.note = h("p", { class: "note", hidden: true });
		this.frame = h("div", { class: "frame", tabindex: 0, role: "group", "aria-label": `Plot of ${topic}` }, this.canvas, this.eventLine, this.cursor, this.note);
		this.legend = h("ul", { class: "legend", "aria-label": "Lines" });
		const remove = button({ "aria-label": `Remove the plot of ${topic}`, title: "Remove (Delete)", onclick: actions.remove }, "×");
		this.element = h("article", { class: "plot", "data-topic": topic }, h("div", { class: "head" }, h("h2", null, topic), this.fields, h("span", { class: "grow" }), this.instances, remove), this.tier, this.frame, this.legend);
		listenToPointer(this.frame, { rangeShown: actions.rangeShown, onRead: actions.read, onSpan: actions.look, onBack: actions.back });
		this.frame.addEventListener("keydown", (event) => this.#key(event));
		this.setPlot(plot);
	}

	setPlot(plot) {
		this.plot = plot;
		const remove = (field) => {
			const fields = this.plot.fields.filter((each) => each !== field);
			if (fields.length) this.actions.change({ ...this.plot, fields });
			else this.actions.remove();
		};
		const create = (field) => h("li", null, field, button({ "aria-label": `Remove ${field}`, onclick: () => remove(field) }, "×"));
		reconcile(this.fields, plot.fields, (field) => field, create);
	}

	async #describe() {
		if (this.#tiers !== null) return;
		const { instances, tiers, kind } = await this.api.topic(this.plot.topic);
		this.#held = kind !== "telemetry";
		this.#tiers = tiers.filter(({ from }) => from !== null);
		this.instances.replaceChildren(h("option", { value: "" }, "all instances"), ...instances.map((each) => h("option", { value: each }, `instance ${each}`)));
		this.instances.value = this.plot.instance ?? "";
		this.instances.hidden = instances.length === 0;
	}

	/** Fetches, and draws nothing: the board draws all plots of one range together. */
	async load(range, signal) {
		const points = Math.min(2000, Math.max(200, this.canvas.clientWidth));
		try {
			[this.#answer] = await Promise.all([this.api.series(this.plot, range, points, signal), this.#describe()]);
			this.#lines = linesOf(this.#answer, this.#held);
			this.#error = null;
		} catch (error) {
			if (!isAbort(error)) this.#error = error.message;
		}
	}

	draw(range, theme) {
		this.#range = range;
		this.#drawn = [];
		const area = prepare(this.canvas, theme);
		if (area === null) return;
		const units = [...new Set(this.#lines.map((line) => line.units))].filter(Boolean).join(", ");
		const values = paddedRange(...extent(this.#lines, range.from, range.until));
		this.#drawn = drawPlot(area, range, values, this.#lines, units, theme);
		this.#showNote();
		this.read(this.#readAt);
	}

	/** After a load: the tier, and what has been drawn for those who cannot see it. */
	settle() {
		const { tier = "", why = "", resolution } = this.#answer ?? {};
		const what = resolution ? `windows of ${duration(resolution / 1e9)}: mean, band from min to max` : "single samples";
		const missing = missingOf(this.#answer);
		setText(this.tier.firstChild, tier && `Tier ${tier} `);
		setText(this.tier.lastChild, tier && [`${what}. ${why}`, ...missing].join(". "));
		this.tier.classList.toggle("concern", missing.length > 0);

		const told = this.#drawn.slice(0, LEGEND_MAX).map(({ points, least, greatest, last }, at) => {
			const { label, units } = this.#lines[at];
			return points ? `${label}: min ${number(least)}, max ${number(greatest)}, last ${quantity(last, units)}` : `${label}: no value`;
		});
		const { from, until } = this.#range;
		this.canvas.setAttribute("aria-label", `${moment(from)} to ${moment(until)} UTC. ${told.join("; ")}`);
		const drawn = JSON.stringify(this.#lines.map(({ label, units }, at) => ({ label, units, ...this.#drawn[at] })));
		Object.assign(this.element.dataset, { tier, drawn, state: this.#error === null ? "ready" : "error" });
	}

	#showNote() {
		const empty = this.#answer !== null && !this.#drawn.some(({ points }) => points > 0);
		const reach = (this.#tiers ?? []).map(({ tier, from, until }) => ` ${tier}: ${moment(from / 1e6)} to ${moment(until / 1e6)}.`).join("");
		this.note.classList.toggle("error", this.#error !== null);
		this.note.hidden = this.#error === null && !empty;
		setText(this.note, this.#error ?? `No value in this span.${reach}`);
	}

	read(time) {
		this.#readAt = time;
		const inside = this.#place(this.cursor, time);
		const shown = this.#lines.slice(0, LEGEND_MAX).map((line, at) => ({ line, at }));
		reconcile(this.legend, shown, ({ at }) => at, createEntry, (entry, { line, at }) => {
			const [swatch, name, value, span] = entry.children;
			setText(swatch, this.#lines.length > 1 ? letterOf(at) : "");
			setText(name, line.label);
			const [text, detail] = inside ? this.#valueAt(line, time) : newestOf(line, this.#drawn[at]);
			setText(value, text);
			setText(span, detail);
		});
		const more = this.#lines.length - shown.length;
		this.legend.dataset.more = more > 0 ? `and ${counted(more, "line")} more` : "";
	}

	#valueAt(line, time) {
		const at = nearest(line, time);
		if (at < 0) return ["gap", ""];
		const band = line.low && line.high ? `${number(line.low[at])} … ${number(line.high[at])} ` : "";
		return [quantity(line.values[at], line.units), `${band}at ${clock(line.times[at], digitsWithin(this.#range.until - this.#range.from))}`];
	}

	showEvent(time) {
		this.#place(this.eventLine, time);
	}

	#place(line, time) {
		const range = this.#range;
		const inside = time !== null && range !== null && time >= range.from && time <= range.until;
		line.hidden = !inside;
		if (inside) line.style.transform = `translateX(${timeToX(range, this.canvas.clientWidth)(time)}px)`;
		return inside;
	}

	#key(event) {
		const step = { ",": -1, ".": 1 }[event.key];
		if (step) this.#stepCursor(step);
		else if (event.key === "Delete") this.actions.remove();
		else return;
		event.preventDefault();
	}

	#stepCursor(step) {
		const times = this.#lines[0]?.times ?? [];
		const at = this.#readAt === null ? times.length : indexAt(times, this.#readAt);
		const to = times[Math.min(times.length - 1, Math.max(0, at + step))];
		if (to !== undefined) this.actions.read(to);
	}
}

/** What an answer says of what it has not. */
function missingOf(answer) {
	if (answer === null) return [];
	const missing = [];
	if (answer.complete_until < answer.until) missing.push(`Complete until ${moment(answer.complete_until / 1e6)} only`);
	if (answer.building) missing.push("The tier is still being built: windows may be missing");
	if (answer.damaged_blocks > 0) missing.push(`${counted(answer.damaged_blocks, "damaged block")} left out`);
	if (answer.unread_files > 0) missing.push(`${counted(answer.unread_files, "file")} of the tier cannot be read`);
	return missing;
}

function createEntry({ at }) {
	const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
	swatch.style.setProperty("--line", `var(--line-${at % 8})`);
	return h("li", null, swatch, h("span", { class: "name" }), h("b"), h("span", { class: "quiet" }));
}

function newestOf({ units }, drawn) {
	return drawn?.points ? [quantity(drawn.last, units), `${number(drawn.least)} … ${number(drawn.greatest)}`] : ["no value", ""];
}
