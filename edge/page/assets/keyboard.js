// All keys in one table, from which the help is made too.

import { h } from "./dom.js";
import { SPANS } from "./view.js";

export function listenToKeys(help, moves) {
	// [what is shown, what it does, the keys that do it]; without keys, it is done elsewhere.
	const bindings = [
		["/", "filter the topics", { "/": moves.focusFilter }],
		["↓ ↑", "through the list of topics; → opens, ← closes, Enter plots a field"],
		["p", "to the plots", { p: moves.focusPlots }],
		["e", "to the events; ← → move among them", { e: moves.focusEvents }],
		["s", "show or hide the status", { s: moves.toggleStatus }],
		["f", "follow live, or stand still", { f: moves.toggleFollow }],
		[`1 … ${SPANS.length}`, `last ${SPANS.map(({ label }) => label).join(", ")}`, Object.fromEntries(SPANS.map(({ length }, at) => [at + 1, () => moves.lastSpan(length)]))],
		["← →", "earlier, later", { ArrowLeft: () => moves.pan(-0.25), ArrowRight: () => moves.pan(0.25) }],
		["+", "zoom in, at the cursor", { "+": () => moves.zoom(0.5), "=": () => moves.zoom(0.5) }],
		["-", "zoom out", { "-": () => moves.zoom(2) }],
		["Home", "back to the view before, as a double click", { Home: moves.back }],
		[", .", "on a plot: cursor to the sample before, after"],
		["Delete", "on a plot: remove it"],
		["Escape", "put the cursor and the event away", { Escape: moves.clear }],
		["?", "this help", { "?": () => help.showModal() }],
	];
	const acts = new Map(bindings.flatMap(([, , keys = {}]) => Object.entries(keys)));
	help.append(
		h("h2", null, "Keys"),
		h("dl", null, ...bindings.map(([shown, text]) => h("div", null, h("dt", null, h("kbd", null, shown)), h("dd", null, text)))),
		h("p", { class: "quiet" }, "Drag on a plot to look at that span. The page's address holds the view, to be reloaded or shared. All times are UTC."),
		h("form", { method: "dialog" }, h("button", null, "Close")),
	);

	addEventListener("keydown", (event) => {
		const { key, target } = event;
		if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
		if (!acts.has(key) || help.open || target.matches("input, select")) return;
		event.preventDefault();
		acts.get(key)();
	});
}
