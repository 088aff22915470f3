// The controls of the span of time.

import { button, h, setText } from "./dom.js";
import { clock, day, digitsWithin, duration, moment } from "./format.js";
import { SPANS, refreshEvery } from "./view.js";

export function showToolbar(home, store, moves) {
	const spans = SPANS.map(({ label, length }) => button({ onclick: () => moves.lastSpan(length) }, label));
	const move = (label, keys, text, onclick) => button({ "aria-label": label, title: `${label} (${keys})`, onclick }, text);
	const live = button({ class: "live", title: "Follow live (f)", onclick: moves.toggleFollow });
	const shown = h("p", { id: "range" });
	home.append(
		h("div", { class: "group" }, ...spans),
		h(
			"div",
			{ class: "group" },
			move("Earlier", "←", "←", () => moves.pan(-0.5)),
			move("Later", "→", "→", () => moves.pan(0.5)),
			move("Zoom in", "+", "+", () => moves.zoom(0.5)),
			move("Zoom out", "-", "−", () => moves.zoom(2)),
			move("Back", "Home", "↩", () => store.lookBack()),
		),
		live,
		shown,
	);
	store.listen(({ view }) => {
		for (const [at, { length }] of SPANS.entries()) spans[at].setAttribute("aria-pressed", String(view.follow && view.span === length));
		live.setAttribute("aria-pressed", String(view.follow));
		setText(live, view.follow ? `Live, each ${duration(refreshEvery(view) / 1e3)}` : "Live");
	});
	return ({ from, until }) => {
		const digits = digitsWithin(until - from);
		const end = day(from) === day(until) ? clock(until, digits) : moment(until, digits);
		setText(shown, `${moment(from, digits)} – ${end} UTC · ${duration((until - from) / 1e3)}`);
	};
}
