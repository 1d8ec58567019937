// What was done to each image, so that it can be undone: also by who comes back to it.

import { inverse } from "./model.js";

const known = new Map();

/** What was done to an image, if it is as it was left; `revision` tells its state on disk. */
export function historyOf(key, revision) {
  if (known.get(key)?.revision !== revision) known.set(key, { revision, did: [], undone: [] });
  return known.get(key);
}

export function note(history, change) {
  history.did.push(change);
  history.undone = [];
}

/** The change that undoes the last one, or does it again; null if there is none. */
export function takeBack(history) {
  const change = history.did.pop();
  if (!change) return null;
  history.undone.push(change);
  return inverse(change);
}

export function takeAgain(history) {
  const change = history.undone.pop();
  if (change) history.did.push(change);
  return change ?? null;
}

/** The box around all that a change is about, (x, y, width, height). */
export function extent({ add, remove, hide, show, regions = [], before = [] }) {
  const boxes = [...add, ...remove, ...hide, ...show].map(([x, y]) => [x, y, 0, 0]);
  for (const [some, others] of [[regions, before], [before, regions]]) {
    boxes.push(...some.filter((each) => others.every((other) => `${other}` !== `${each}`)));
  }
  const [x0, y0, x1, y1] = boxes.reduce(
    ([a, b, c, d], [x, y, w, h]) =>
      [Math.min(a, x), Math.min(b, y), Math.max(c, x + w), Math.max(d, y + h)],
    [Infinity, Infinity, -Infinity, -Infinity],
  );
  return [x0, y0, x1 - x0, y1 - y0];
}
