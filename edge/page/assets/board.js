// The stack of plots and the events: all of one range, asked for and drawn together.

import { Card } from "./card.js";
import { byId, h } from "./dom.js";
import { readTheme } from "./plot.js";
import { repeat } from "./poll.js";
import { rangeOf, refreshEvery, sameView, standing } from "./view.js";

/** Keys that are held down change the view faster than the daemon should be asked. */
const SETTLE_AFTER = 120;

export class Board {
	#cards = [];
	#loads = null;
	#settling = null;

	constructor({ store, api, now, timeline }) {
		Object.assign(this, { store, api, now, timeline, readAt: null, theme: readTheme() });
		this.home = byId("plots");
		this.empty = h("p", { class: "empty quiet" }, "No plot yet. Choose a topic and one of its fields.");
		this.home.append(this.empty);
		matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
			this.theme = readTheme();
			this.draw();
		});
		store.listen((state, before) => {
			if (state.plots !== before?.plots) this.#arrange(state.plots);
			const stands = before !== null && sameView(state.view, before.view) && ["plots", "component"].every((key) => state[key] === before[key]);
			if (!stands) this.#ask();
			else if (state.event !== before.event) this.draw();
		});
		new ResizeObserver(() => this.draw()).observe(this.home);
		this.refresh = repeat(() => refreshEvery(store.state.view), () => this.#refresh());
	}

	/** A card whose plot is unchanged is kept; so is one of the same topic, whose fields or instance have changed. */
	#arrange(plots) {
		const old = [...this.#cards];
		const take = (fits) => {
			const at = old.findIndex(fits);
			return at < 0 ? null : old.splice(at, 1)[0];
		};
		const same = plots.map((plot) => take((card) => card.plot === plot));
		this.#cards = plots.map((plot, at) => same[at] ?? take((card) => card.plot.topic === plot.topic) ?? this.#newCard(plot));
		for (const card of old) card.element.remove();
		for (const [at, card] of this.#cards.entries()) {
			card.setPlot(plots[at]);
			if (this.home.children[at] !== card.element) this.home.insertBefore(card.element, this.home.children[at]);
		}
		this.empty.hidden = plots.length > 0;
	}

	#newCard(plot) {
		const { store } = this;
		const card = new Card(plot, this.api, {
			rangeShown: () => this.range,
			read: (time) => this.read(time),
			look: (from, until) => store.look(standing(from, until)),
			back: () => store.lookBack(),
			change: (changed) => store.change({ plots: store.state.plots.map((each) => (each === card.plot ? changed : each)) }),
			remove: () => {
				store.change({ plots: store.state.plots.filter((each) => each !== card.plot) });
				this.focus();
			},
		});
		return card;
	}

	#ask() {
		this.#loads?.abort();
		this.#loads = null;
		this.range = rangeOf(this.store.state.view, this.now());
		for (const { element } of this.#cards) element.dataset.state = "loading";
		this.draw();
		clearTimeout(this.#settling);
		this.#settling = setTimeout(() => {
			this.#settling = null;
			this.#load(this.range, (part) => {
				part.draw(this.range, this.theme);
				part.settle();
			});
		}, SETTLE_AFTER);
	}

	async #refresh() {
		if (this.#settling !== null || this.#loads !== null) return;
		// Until the answers are there the old picture stands: else its right edge would blink at every refresh.
		const range = rangeOf(this.store.state.view, this.now());
		const arrived = [];
		if (!(await this.#load(range, (part) => arrived.push(part)))) return;
		this.range = range;
		this.draw();
		for (const part of arrived) part.settle();
	}

	/** False where another load took over. */
	async #load(range, onArrival) {
		const loads = new AbortController();
		const { signal } = loads;
		this.#loads = loads;
		const { component } = this.store.state;
		const arrive = (part) => signal.aborted || onArrival(part);
		await Promise.all([
			...this.#cards.map((card) => card.load(range, signal).then(() => arrive(card))),
			this.timeline.load(range, component, signal).then(() => arrive(this.timeline)),
		]);
		if (this.#loads === loads) this.#loads = null;
		return !signal.aborted;
	}

	draw() {
		const { event } = this.store.state;
		for (const card of this.#cards) {
			card.draw(this.range, this.theme);
			card.showEvent(event?.time ?? null);
		}
		this.timeline.draw(this.range, this.theme);
	}

	read(time) {
		this.readAt = time;
		for (const card of this.#cards) card.read(time);
	}

	focus() {
		(this.#cards[0]?.frame ?? this.home).focus();
	}
}
