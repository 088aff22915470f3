// What is alive: age and rate of components and topics, and who has fallen silent.

import { button, byId, h, reconcile, setText, showError } from "./dom.js";
import { Fields } from "./fields.js";
import { age, counted, rate, shortTopic } from "./format.js";

const SILENT_INTERVALS = 5;
const SILENT_MIN = 10;
const SILENT_MAX = 120;
const UNFOLDED_MAX = 12;
const ROWS_MAX = 300;

export class Topics {
	#topics = [];
	#unfolded = new Map();
	#fields = new Map();

	constructor({ store, api, now, actions }) {
		Object.assign(this, { store, api, now, actions });
		this.home = byId("topics");
		this.filter = byId("filter");
		this.filter.addEventListener("input", () => store.change({ filter: this.filter.value }));
		this.home.addEventListener("keydown", (event) => this.#key(event));
		store.listen(({ filter }, before) => filter === before?.filter || this.draw());
	}

	take(topics) {
		this.#topics = topics;
		this.fail(null);
		this.draw();
	}

	fail = (error) => showError(byId("topics-error"), error);

	unitsOf(topic, selector) {
		return this.#fields.get(topic)?.unitsOf(selector);
	}

	/** Also each second between two answers, so that ages grow while the daemon does not answer. */
	draw() {
		const { filter } = this.store.state;
		if (this.filter.value !== filter) this.filter.value = filter;
		const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
		const components = new Map();
		for (const topic of this.#topics) {
			if (!words.every((word) => topic.topic.toLowerCase().includes(word))) continue;
			if (!components.has(topic.component)) components.set(topic.component, []);
			components.get(topic.component).push({ ...topic, ...liveness(topic, this.now()) });
		}
		let room = ROWS_MAX;
		const byName = [...components].sort(([one], [other]) => one.localeCompare(other));
		reconcile(byId("components"), byName, ([name]) => name, ([name]) => this.#createComponent(name), (item, [name, topics]) => {
			const open = this.#unfolded.get(name) ?? (words.length > 0 || this.#topics.length <= UNFOLDED_MAX);
			const shown = open ? topics.slice(0, room) : [];
			room -= shown.length;
			updateComponent(item, topics, open);
			reconcile(item.lastChild, shown, ({ topic }) => topic, (topic) => this.#createTopic(topic), updateTopic);
		});
		const all = [...components.values()].flat();
		const silent = all.filter((topic) => topic.silent).length;
		const cut = room ? "" : `; the first ${ROWS_MAX} are listed`;
		setText(byId("topics-count"), `${counted(components.size, "component")}, ${counted(all.length, "topic")}, ${silent} silent${cut}`);
	}

	#createComponent(name) {
		const fold = row("component", name);
		fold.addEventListener("click", () => {
			this.#unfolded.set(name, !isOpen(fold));
			this.draw();
		});
		return h("li", null, fold, h("ul", { class: "topics" }));
	}

	#createTopic({ topic, component }) {
		const open = row("topic", shortTopic(topic, component), topic);
		const item = h("li", null, open);
		const show = (shown) => {
			open.setAttribute("aria-expanded", String(shown));
			const fields = this.#fields.get(topic) ?? new Fields(topic, this.api, this.actions);
			this.#fields.set(topic, fields);
			item.append(fields.element);
			fields.element.hidden = !shown;
			if (shown) fields.open();
		};
		open.addEventListener("click", () => show(!isOpen(open)));
		if (this.#fields.get(topic)?.element.hidden === false) show(true);
		return item;
	}

	focusFilter() {
		this.filter.focus();
		this.filter.select();
	}

	#key(event) {
		const { key, target } = event;
		if (key === "Escape" && target === this.filter) {
			this.store.change({ filter: "" });
			target.blur();
		}
		const open = target.getAttribute("aria-expanded");
		if (key === "ArrowDown" || key === "ArrowUp") {
			const stops = [...this.home.querySelectorAll("button, input")].filter((stop) => stop.offsetParent !== null);
			stops[stops.indexOf(target) + (key === "ArrowDown" ? 1 : -1)]?.focus();
		} else if (target.matches("input") || (key !== "ArrowRight" && key !== "ArrowLeft")) return;
		else if (open === String(key === "ArrowLeft")) target.click();
		event.preventDefault();
	}
}

function row(kind, name, title) {
	return button({ class: kind, title, "aria-expanded": "false" }, h("span", { class: "name" }, name), h("span", { class: "age" }), h("span", { class: "rate" }));
}

const isOpen = (fold) => fold.getAttribute("aria-expanded") === "true";

function liveness({ kind, last, rate: perSecond }, now) {
	if (last === null || last === undefined) return { seconds: Infinity, silent: false };
	const seconds = (now - last / 1e6) / 1e3;
	const usual = perSecond > 0 ? SILENT_INTERVALS / perSecond : Infinity;
	return { seconds, silent: kind === "telemetry" && seconds > Math.min(SILENT_MAX, Math.max(SILENT_MIN, usual)) };
}

function updateComponent(item, topics, open) {
	const [, ageCell, rateCell] = item.firstChild.children;
	item.firstChild.setAttribute("aria-expanded", String(open));
	const silent = topics.filter((topic) => topic.silent).length;
	const all = silent > 0 && silent === topics.filter(({ kind }) => kind === "telemetry").length;
	tell(ageCell, silent > 0, silent > 0 && !all ? `${silent} silent` : ageText(Math.min(...topics.map(({ seconds }) => seconds)), all));
	setText(rateCell, rate(topics.reduce((sum, topic) => sum + (topic.rate ?? 0), 0)));
}

function updateTopic(item, { kind, seconds, silent, rate: perSecond }) {
	const [, ageCell, rateCell] = item.firstChild.children;
	tell(ageCell, silent, ageText(seconds, silent));
	setText(rateCell, kind === "telemetry" || perSecond >= 0.1 ? rate(perSecond) : kind);
}

function tell(cell, silent, text) {
	setText(cell, text);
	cell.classList.toggle("silent", silent);
}

const ageText = (seconds, silent) => (seconds === Infinity ? "none yet" : `${silent ? "silent " : ""}${age(seconds)}`);
