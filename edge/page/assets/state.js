// What is shown, kept in the URL's hash, so that a view can be reloaded and shared.

import { FIRST_VIEW, SPANS, lastSpan, sameView, standing } from "./view.js";

const FIRST_STATE = {
	view: FIRST_VIEW,
	/** { topic, instance: number or null for all, fields: ["name", "name[3]", "name[0:4]"] } */
	plots: [],
	filter: "",
	component: null,
	event: null,
	/** Shown or not; null: where there is no plot. */
	status: null,
};

const readable = (text) => encodeURIComponent(text).replace(/%(5B|5D|3A)/g, decodeURIComponent);
const iso = (time) => new Date(time).toISOString();

export function formatHash({ view, plots, filter, component, event, status }) {
	const pairs = [];
	const put = (name, ...parts) => pairs.push(`${name}=${parts.map(readable).join(";")}`);
	if (view.follow) put("span", SPANS.find(({ length }) => length === view.span)?.name ?? view.span / 1e3);
	else {
		put("from", iso(view.from));
		put("until", iso(view.until));
	}
	for (const { topic, instance, fields } of plots) put("plot", topic, instance ?? "", ...fields);
	if (filter) put("filter", filter);
	if (component !== null) put("component", component);
	if (event) put("event", event.topic, iso(event.time));
	if (status !== null) put("status", status ? "shown" : "hidden");
	return `#${pairs.join("&")}`;
}

export function parseHash(hash) {
	const state = { ...FIRST_STATE, plots: [] };
	const times = {};
	for (const [, name, text] of hash.matchAll(/([a-z]+)=([^&]*)/g)) {
		const [first, second, ...rest] = text.split(";").map(decoded);
		if (name === "span") state.view = lastSpan(SPANS.find((span) => span.name === first)?.length ?? (Number(first) * 1e3 || FIRST_VIEW.span));
		else if (name === "plot" && rest.length) state.plots.push({ topic: first, instance: second ? Number(second) : null, fields: rest });
		else if (name === "filter" || name === "component") state[name] = first;
		else if (name === "event" && Date.parse(second)) state.event = { topic: first, time: Date.parse(second) };
		else if (name === "status") state.status = first === "shown";
		else times[name] = Date.parse(first);
	}
	if (times.from < times.until) state.view = standing(times.from, times.until);
	return state;
}

function decoded(text) {
	try {
		return decodeURIComponent(text);
	} catch {
		return text;
	}
}

export class Store {
	#listeners = [];
	#before = [];
	#writing;

	constructor() {
		this.state = parseHash(location.hash);
		addEventListener("hashchange", () => {
			if (location.hash !== formatHash(this.state)) this.#become(parseHash(location.hash));
		});
	}

	/** `listener(state, before)`, at once with `before` null, then after each change. */
	listen(listener) {
		this.#listeners.push(listener);
		listener(this.state, null);
	}

	change(patch) {
		this.#become({ ...this.state, ...patch });
		// Browsers complain of more than a few a second.
		clearTimeout(this.#writing);
		this.#writing = setTimeout(() => history.replaceState(null, "", formatHash(this.state)), 200);
	}

	look(view) {
		if (sameView(view, this.state.view)) return;
		this.#before = [...this.#before.slice(-99), this.state.view];
		this.change({ view });
	}

	lookBack() {
		this.change({ view: this.#before.pop() ?? FIRST_VIEW });
	}

	#become(state) {
		const before = this.state;
		this.state = state;
		for (const listener of this.#listeners) listener(state, before);
	}
}
