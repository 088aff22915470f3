// One way: the URL's hash → state → what is asked of the daemon → what is shown.

import { Api } from "./api.js";
import { Board } from "./board.js";
import { byId, setText } from "./dom.js";
import { Timeline } from "./events.js";
import { clock, moment } from "./format.js";
import { listenToKeys } from "./keyboard.js";
import { repeat } from "./poll.js";
import { Store } from "./state.js";
import { StatusPanel } from "./status.js";
import { showToolbar } from "./toolbar.js";
import { Topics } from "./topics.js";
import { lastSpan, pan, rangeOf, standing, zoom } from "./view.js";

const REFRESH = 2e3;

/** The daemon's clock less this computer's, in milliseconds. */
let clockAhead = 0;
const now = () => Date.now() + clockAhead;

const store = new Store();
const api = new Api(askForToken, onReach);
const topics = new Topics({ store, api, now, actions: { plot, add } });
const timeline = new Timeline(byId("events"), store, api);
const board = new Board({ store, api, now, timeline });
const panel = new StatusPanel(byId("status"));

const moves = {
	focusFilter: () => {
		showTopics(true);
		topics.focusFilter();
	},
	focusPlots: () => board.focus(),
	focusEvents: () => timeline.focus(),
	toggleStatus: () => store.change({ status: byId("status").hidden }),
	toggleFollow: () => {
		const { from, until } = rangeOf(store.state.view, now());
		store.look(store.state.view.follow ? standing(from, until) : lastSpan(until - from));
	},
	lastSpan: (length) => store.look(lastSpan(length)),
	pan: (fraction) => store.look(pan(store.state.view, fraction, now())),
	zoom: (factor) => store.look(zoom(store.state.view, factor, board.readAt, now())),
	back: () => store.lookBack(),
	clear: () => {
		board.read(null);
		store.change({ event: null });
	},
};

const showRange = showToolbar(byId("toolbar"), store, moves);
listenToKeys(byId("help"), moves);
byId("help-open").onclick = () => byId("help").showModal();
byId("status-toggle").onclick = moves.toggleStatus;
byId("topics-toggle").onclick = () => showTopics(!document.body.classList.contains("topics-shown"));

store.listen(({ status, plots }) => {
	const shown = status ?? plots.length === 0;
	byId("status").hidden = !shown;
	byId("status-toggle").setAttribute("aria-expanded", String(shown));
	showRange(board.range);
});

const readTopics = async () => {
	const began = Date.now();
	const answer = await api.topics();
	clockAhead = answer.now / 1e6 - (began + Date.now()) / 2;
	topics.take(answer.topics);
};
repeat(() => REFRESH, () => readTopics().catch(topics.fail));
repeat(() => REFRESH, () => api.status().then((status) => panel.take(status, clockAhead / 1e3), panel.fail));

setInterval(() => {
	if (document.hidden) return;
	topics.draw();
	setText(byId("clock"), `${moment(now())} UTC`);
	showRange(board.range);
}, 1e3);

function plot(topic, field) {
	store.change({ plots: [...store.state.plots, { topic, instance: null, fields: [field] }] });
	showTopics(false);
	document.querySelector(".plot:last-of-type").scrollIntoView({ block: "nearest" });
}

/** To the newest plot of the topic whose fields have these units, or to one of its own. */
function add(topic, field, units) {
	const { plots } = store.state;
	const target = plots.findLast((each) => each.topic === topic && topics.unitsOf(topic, each.fields[0]) === units);
	if (!target) plot(topic, field);
	else if (!target.fields.includes(field)) store.change({ plots: plots.map((each) => (each === target ? { ...target, fields: [...target.fields, field] } : each)) });
}

function showTopics(shown) {
	document.body.classList.toggle("topics-shown", shown);
	byId("topics-toggle").setAttribute("aria-expanded", String(shown));
}

function askForToken(refused) {
	const [form, input] = [byId("token"), byId("token-text")];
	setText(byId("token-refused"), refused ? "It did not take the last one." : "");
	form.hidden = false;
	input.focus();
	form.onsubmit = (event) => {
		event.preventDefault();
		form.hidden = true;
		api.useToken(input.value.trim());
		form.reset();
	};
}

function onReach(answers) {
	const banner = byId("lost");
	if (answers === banner.hidden) return;
	setText(banner, `No connection: the daemon does not answer since ${clock(now())} UTC. What is shown is from before; asking again every ${REFRESH / 1e3} s.`);
	banner.hidden = answers;
	if (answers) board.refresh();
}
