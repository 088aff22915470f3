// An opened topic: its fields with units and newest values, and the way to their plots.

import { button, h, reconcile, setText, showError } from "./dom.js";
import { privateLast } from "./events.js";
import { value } from "./format.js";
import { repeat } from "./poll.js";

const PLOTTABLE = ["double", "long", "boolean"];
const ELEMENTS = /^\d+(:\d+)?$/;
const REFRESH = 2e3;

export class Fields {
	#fields = null;
	#refresh = null;

	constructor(topic, api, actions) {
		Object.assign(this, { topic, api, actions });
		this.about = h("p", { class: "quiet" });
		this.error = h("p", { class: "error", hidden: true });
		this.list = h("ul", { class: "field-list" });
		this.element = h("div", { class: "fields" }, this.about, this.error, this.list);
	}

	open() {
		if (this.#refresh) this.#refresh();
		else this.#refresh = repeat(() => REFRESH, () => this.#show());
	}

	async #show() {
		if (this.element.hidden || !this.element.isConnected) return;
		try {
			if (this.#fields === null) await this.#describe();
			const { records } = await this.api.latest(this.topic);
			const newest = records.reduce((best, record) => (record.time > (best?.time ?? 0) ? record : best), null);
			for (const item of this.list.children) setText(item.newest, newest ? value(newest.fields[item.field.name]) : "");
			showError(this.error, null);
		} catch (error) {
			showError(this.error, error);
		}
	}

	async #describe() {
		const { fields, description } = await this.api.topic(this.topic);
		this.#fields = fields;
		setText(this.about, description ?? "");
		const sorted = [...fields].sort((one, other) => privateLast([one.name], [other.name]));
		reconcile(this.list, sorted, ({ name }) => name, (field) => this.#create(field));
	}

	#create(field) {
		const { name, type, units, description, elements } = field;
		const newest = h("span", { class: "newest" });
		const item = Object.assign(h("li", { title: description }), { field, newest });
		if (!PLOTTABLE.includes(type)) {
			item.append(h("span", { class: "name" }, name), newest, h("span", { class: "quiet" }, type));
			return item;
		}
		const chosen = elements ? h("input", { value: "0", "aria-label": `Elements of ${name}, of ${elements}`, title: `One of 0 to ${elements - 1}, or a range such as 0:4` }) : null;
		const act = (how) => {
			if (chosen === null || isValid(chosen)) this.actions[how](this.topic, chosen ? `${name}[${chosen.value}]` : name, units);
		};
		chosen?.addEventListener("input", () => chosen.setCustomValidity(""));
		chosen?.addEventListener("keydown", ({ key }) => key === "Enter" && act("plot"));
		const add = button({ class: "add", "aria-label": `Add ${name} to a plot`, title: "Add to the plot of the same units", onclick: () => act("add") }, "+");
		item.append(button({ class: "name", "aria-label": `Plot ${name}, ${units ?? "no units"}`, onclick: () => act("plot") }, name), chosen ?? "", newest, h("span", { class: "quiet" }, units ?? ""), add);
		return item;
	}

	unitsOf(selector) {
		return this.#fields?.find(({ name }) => name === selector.replace(/\[.*$/, ""))?.units;
	}
}

function isValid(input) {
	const valid = ELEMENTS.test(input.value);
	input.setCustomValidity(valid ? "" : "One element, such as 3, or a range, such as 0:4");
	return valid || input.reportValidity();
}
