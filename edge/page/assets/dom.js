// Elements without markup: what comes from the bus enters the document as text.

/** `on…` attributes are listeners; null, undefined and false leave the attribute away. */
export function h(tag, attributes, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes ?? {})) {
		if (value === null || value === undefined || value === false) continue;
		if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
		else element.setAttribute(name, value === true ? "" : value);
	}
	element.append(...children.filter((child) => child !== null && child !== undefined));
	return element;
}

export const button = (attributes, ...children) => h("button", { type: "button", ...attributes }, ...children);

export const byId = (id) => document.getElementById(id);

/** An unchanged text is left alone: no selection is lost, no screen reader speaks. */
export function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

export function showError(element, error) {
	setText(element, error?.message ?? "");
	element.hidden = error === null;
}

/** Makes `parent`'s children those of `items`. A child whose key stays is kept, and with it the focus. */
export function reconcile(parent, items, keyOf, create, update) {
	const kept = parent.keyed ?? new Map();
	const keyed = new Map(items.map((item) => [keyOf(item), item]));
	// First, so that what stays need not be moved: that would take its focus.
	for (const [key, child] of kept) if (!keyed.has(key)) child.remove();
	let place = parent.firstChild;
	for (const [key, item] of keyed) {
		const child = kept.get(key) ?? create(item);
		keyed.set(key, child);
		update?.(child, item);
		if (child === place) place = place.nextSibling;
		else parent.insertBefore(child, place);
	}
	parent.keyed = keyed;
}
