// The API: one way to ask, its errors as text, the token, and whether the daemon answers.

const TOKEN_KEY = "efd-edge-token";
const ANSWER_WITHIN = 20e3;

export class Api {
	#admitted = Promise.resolve();
	#admit = null;

	/** `askForToken(refused)` ends in `useToken`; `onReach(answers)` hears of every attempt. */
	constructor(askForToken, onReach) {
		Object.assign(this, { askForToken, onReach });
	}

	status = () => this.#get("/status");
	topics = () => this.#get("/api/v1/topics");
	topic = (topic) => this.#get(`/api/v1/topics/${encodeURIComponent(topic)}`);
	latest = (topic) => this.#get("/api/v1/latest", { topic });

	series({ topic, instance, fields }, { from, until }, points, signal) {
		const query = { topic, field: fields, instance, from: nanoseconds(from), until: nanoseconds(until), points, tier: "auto", statistics: "mean,min,max" };
		return this.#get("/api/v1/series", query, signal);
	}

	events({ from, until }, component, n, signal) {
		return this.#get("/api/v1/events", { from: nanoseconds(from), until: nanoseconds(until), component, n }, signal);
	}

	useToken(token) {
		sessionStorage.setItem(TOKEN_KEY, token);
		this.#admit();
		this.#admit = null;
	}

	async #get(path, query = {}, signal) {
		for (;;) {
			await this.#admitted;
			signal?.throwIfAborted();
			const token = sessionStorage.getItem(TOKEN_KEY);
			const { status, ok, text } = await this.#attempt(`${path}?${queryText(query)}`, token, signal);
			if (status === 401) this.#refuse(token);
			else if (ok) return JSON.parse(text);
			else throw new Error(errorIn(text) || `the daemon answers with status ${status}`);
		}
	}

	/** All requests wait here for a token, except where another was given while this one was on its way. */
	#refuse(token) {
		if (this.#admit !== null || token !== sessionStorage.getItem(TOKEN_KEY)) return;
		this.#admitted = new Promise((resolve) => (this.#admit = resolve));
		this.askForToken(token !== null);
	}

	async #attempt(url, token, signal) {
		const limit = new AbortController();
		const abort = () => limit.abort();
		signal?.addEventListener("abort", abort);
		const timer = setTimeout(abort, ANSWER_WITHIN);
		try {
			const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
			const response = await fetch(url, { headers, signal: limit.signal, cache: "no-store" });
			const text = await response.text();
			this.onReach(true);
			return { status: response.status, ok: response.ok, text };
		} catch (error) {
			if (signal?.aborted) throw error;
			this.onReach(false);
			throw new Error(limit.signal.aborted ? `no answer within ${ANSWER_WITHIN / 1e3} s` : "the daemon does not answer");
		} finally {
			clearTimeout(timer);
			signal?.removeEventListener("abort", abort);
		}
	}
}

export const isAbort = ({ name }) => name === "AbortError";

const nanoseconds = (time) => String(Math.round(time * 1e6));

function queryText(query) {
	const pairs = Object.entries(query).flatMap(([name, value]) => [value].flat().map((each) => [name, each]));
	return new URLSearchParams(pairs.filter(([, value]) => value !== null));
}

function errorIn(text) {
	try {
		return JSON.parse(text).error;
	} catch {
		return text.slice(0, 300);
	}
}
