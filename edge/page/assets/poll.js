// Work that repeats while somebody looks: never twice at once.

/** Every `period()` milliseconds, not on a hidden page. Returns what brings the next round forward to now. */
export function repeat(period, work) {
	let timer = null;
	let running = false;
	let again = false;

	const round = async () => {
		clearTimeout(timer);
		if (document.hidden) return;
		if (running) {
			again = true;
			return;
		}
		running = true;
		again = false;
		try {
			await work();
		} finally {
			running = false;
			timer = setTimeout(round, again ? 0 : period());
		}
	};

	document.addEventListener("visibilitychange", () => {
		if (!document.hidden) round();
	});
	round();
	return round;
}
