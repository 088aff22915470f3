// Events under the plots: a lane for each component, a mark for each event, the selected one in full.

import { isAbort } from "./api.js";
import { button, h, reconcile, setText, showError } from "./dom.js";
import { counted, moment, shortTopic, value } from "./format.js";
import { drawTimeAxis, prepare, timeToX } from "./plot.js";
import { standing } from "./view.js";

const EVENTS_MAX = 500;
const AROUND = 5 * 60e3;

export class Timeline {
	#events = [];
	#truncated = false;
	#components = new Set();
	#shown = [];
	#marks = new Map();

	constructor(home, store, api) {
		Object.assign(this, { store, api });
		this.count = h("p", { class: "quiet" });
		this.error = h("p", { class: "error", hidden: true });
		this.lanes = h("div", { class: "lanes" });
		this.canvas = h("canvas", { "aria-hidden": "true" });
		this.chosen = h("div", { class: "chosen-event", hidden: true });
		home.append(h("div", { class: "head" }, h("h2", null, "Events"), this.count), this.error, h("div", { class: "lanes-frame" }, this.canvas, this.lanes), this.chosen);
		this.lanes.addEventListener("keydown", (event) => this.#key(event));
		store.listen(() => this.#showSelected());
	}

	async load(range, component, signal) {
		try {
			const { events, truncated } = await this.api.events(range, component, EVENTS_MAX, signal);
			this.#events = keyed(events).reverse();
			this.#truncated = truncated;
			for (const { component: name } of events) this.#components.add(name);
			if (component !== null) this.#components.add(component);
			showError(this.error, null);
		} catch (error) {
			if (!isAbort(error)) showError(this.error, error);
		}
	}

	draw(range, theme) {
		this.#shown = this.#events.filter(({ at }) => at >= range.from && at < range.until);
		this.#showLanes(timeToX(range, this.lanes.clientWidth));
		const area = prepare(this.canvas, theme);
		if (area !== null) drawTimeAxis(area, range, theme);
	}

	settle() {
		this.#showSelected();
		const cut = this.#truncated ? `; none marked before ${moment(this.#events[0].at)}` : "";
		setText(this.count, this.#shown.length ? `${counted(this.#shown.length, "event")}${cut}` : "none in this span");
	}

	#showLanes(x) {
		const { component: only } = this.store.state;
		const components = [...this.#components].sort();
		const lanes = components.map((component) => [component, this.#shown.filter((event) => event.component === component)]);
		const shown = lanes.filter(([component, events]) => events.length || component === only);
		const entry = this.#entry();
		this.#marks.clear();
		reconcile(this.lanes, shown, ([component]) => component, ([component]) => this.#createLane(component), (lane, [component, events]) => {
			lane.firstChild.setAttribute("aria-pressed", String(component === only));
			lane.style.setProperty("--line", `var(--line-${components.indexOf(component) % 8})`);
			reconcile(lane.lastChild, events, ({ key }) => key, (event) => this.#createMark(event), (mark, event) => {
				mark.style.left = `${x(event.at)}px`;
				mark.tabIndex = event === entry ? 0 : -1;
				this.#marks.set(event.key, mark);
			});
		});
	}

	#createLane(component) {
		const choose = () => this.store.change({ component: this.store.state.component === component ? null : component });
		return h("div", { class: "lane" }, button({ title: "Only these, or all", onclick: choose }, component), h("div", { class: "marks", role: "listbox", "aria-label": `Events of ${component}` }));
	}

	/** The one mark that Tab reaches: the selected event, or else the newest. */
	#entry() {
		return this.#shown.find((event) => isSame(event, this.store.state.event)) ?? this.#shown.at(-1);
	}

	#createMark(event) {
		const name = `${event.component} ${shortTopic(event.topic, event.component)}, ${moment(event.at, 3)}`;
		return button({ role: "option", class: "mark", title: name, onclick: () => this.#select(event) });
	}

	#select({ topic, at }) {
		this.store.change({ event: { topic, time: at } });
	}

	#showSelected() {
		const { event: selected } = this.store.state;
		const event = this.#events.find((each) => isSame(each, selected));
		for (const [key, mark] of this.#marks) mark.setAttribute("aria-selected", String(key === event?.key));
		if (event && this.chosen.dataset.key !== event.key) this.#describe(event);
		this.chosen.hidden = selected === null || !this.chosen.dataset.key;
	}

	#describe(event) {
		const instance = event.instance === null ? "" : ` · instance ${event.instance}`;
		this.chosen.dataset.key = event.key;
		this.chosen.replaceChildren(
			h(
				"div",
				{ class: "head" },
				h("h3", null, shortTopic(event.topic, event.component)),
				h("span", { class: "quiet" }, `${event.component}${instance} · ${moment(event.at, 3)} UTC`),
				h("span", { class: "grow" }),
				button({ onclick: () => this.store.look(standing(event.at - AROUND, event.at + AROUND)) }, "Look around it"),
				button({ "aria-label": "Close the event", onclick: () => this.store.change({ event: null }) }, "×"),
			),
			h("dl", null, ...Object.entries(event.fields).sort(privateLast).map(([name, of]) => h("div", null, h("dt", null, name), h("dd", null, value(of))))),
		);
	}

	#key(event) {
		const at = this.#shown.findIndex(({ key }) => this.#marks.get(key) === event.target);
		const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: this.#shown.length - 1 }[event.key];
		if (at < 0 || to === undefined) return;
		event.preventDefault();
		if (!this.#shown[to]) return;
		this.#marks.get(this.#shown[to].key).focus();
		this.#select(this.#shown[to]);
	}

	focus() {
		this.#marks.get(this.#entry()?.key)?.focus();
	}
}

export const privateLast = ([one], [other]) => one.startsWith("private_") - other.startsWith("private_");

/** Events of one topic and time are told apart by how many of them came before. */
function keyed(events) {
	const seen = new Map();
	return events.map((event) => {
		const name = `${event.time} ${event.instance} ${event.topic}`;
		seen.set(name, (seen.get(name) ?? 0) + 1);
		return { ...event, at: event.time / 1e6, key: `${name} ${seen.get(name)}` };
	});
}

/** A time from the URL's hash has whole milliseconds. */
const isSame = (event, selected) => selected !== null && event.topic === selected.topic && Math.abs(event.at - selected.time) < 1;
