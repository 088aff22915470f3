// What a pointer does on a plot.

import { MARGIN, xToTime } from "./plot.js";
import { h } from "./dom.js";

const DRAG_MIN = 6;

/** `onRead(time or null)`, `onSpan(from, until)`; `rangeShown()` is what is pointed into. */
export function listenToPointer(frame, { rangeShown, onRead, onSpan, onBack }) {
	const selection = h("div", { class: "selection", hidden: true });
	frame.append(selection);
	let beganAt = null;

	const placeOf = (event) => {
		const box = frame.getBoundingClientRect();
		return Math.min(Math.max(event.clientX - box.left, MARGIN.left), box.width - MARGIN.right);
	};
	const timeAt = (x) => xToTime(rangeShown(), frame.clientWidth, x);
	const giveUp = () => {
		beganAt = null;
		selection.hidden = true;
	};

	frame.addEventListener("pointerdown", (event) => {
		if (event.button !== 0) return;
		beganAt = placeOf(event);
		frame.setPointerCapture(event.pointerId);
	});
	frame.addEventListener("pointermove", (event) => {
		const x = placeOf(event);
		onRead(timeAt(x));
		if (beganAt === null) return;
		selection.hidden = Math.abs(x - beganAt) < DRAG_MIN;
		selection.style.left = `${Math.min(x, beganAt)}px`;
		selection.style.width = `${Math.abs(x - beganAt)}px`;
	});
	frame.addEventListener("pointerup", (event) => {
		if (beganAt === null) return;
		const ends = [beganAt, placeOf(event)].sort((a, b) => a - b);
		giveUp();
		if (ends[1] - ends[0] >= DRAG_MIN) onSpan(timeAt(ends[0]), timeAt(ends[1]));
		else onRead(timeAt(ends[1]));
	});
	frame.addEventListener("pointercancel", giveUp);
	frame.addEventListener("pointerleave", (event) => {
		if (event.pointerType === "mouse") onRead(null);
	});
	frame.addEventListener("dblclick", onBack);
}
