// One image: what people said, what the network found, and what is shown of it.
//
// A detection is decided on, and no longer shown as one, where a region is, or a point,
// or where a person removed one. The server follows the same rule (suggestions.py).

import { Points } from "./points.js";

const round = (value) => Math.round(value * 100) / 100;

export class Model {
  constructor(about) {
    Object.assign(this, about);
    this.own = new Points();
    this.gone = new Points();
    this.found = new Points();
    this.decided = new Uint8Array(256);
    for (let i = 0; i < about.points.length; i += 2) {
      this.own.add(about.points[i], about.points[i + 1]);
    }
    for (let i = 0; i < about.hidden.length; i += 2) {
      this.gone.add(about.hidden[i], about.hidden[i + 1]);
    }
    this.network = "";
    this.search = { done: 0, total: 0 };
    this.networkThreshold = null;
    this.threshold = 0.5;
  }

  get editable() {
    return !this.foreign;
  }

  /** Takes what the server found since; whether anything changed. */
  receive(news) {
    const same = news.of === this.network && news.first === this.found.size;
    if (!same && news.first !== 0) return false; // what lies before it is not here
    if (!same) {
      this.found = new Points();
      this.decided = new Uint8Array(256);
    }
    const { rows } = news;
    const begin = this.found.size;
    for (let i = 0; i < rows.length; i += 3) {
      this.found.add(round(rows[i]), round(rows[i + 1]), rows[i + 2]);
    }
    if (this.decided.length < this.found.x.length) {
      const larger = new Uint8Array(this.found.x.length);
      larger.set(this.decided);
      this.decided = larger;
    }
    for (let i = begin; i < this.found.size; i++) this.decide(i);
    const changed = !same || rows.length > 0 || news.done !== this.search.done;
    this.network = news.of;
    this.search = { done: news.done, total: news.total };
    this.networkThreshold = news.of ? news.threshold : null;
    return changed;
  }

  decide(i) {
    const x = this.found.x[i], y = this.found.y[i];
    const decided = this.regions.some((region) => inside(region, x, y))
      || this.own.nearest(x, y, this.near) >= 0
      || this.gone.nearest(x, y, this.near) >= 0;
    this.decided[i] = decided ? 1 : 0;
  }

  shown(i) {
    return !this.decided[i] && this.found.score[i] >= this.threshold;
  }

  /** How many nuclei the whole image has. */
  count() {
    let count = this.own.alive;
    const { score } = this.found;
    for (let i = 0; i < this.found.size; i++) {
      if (!this.decided[i] && score[i] >= this.threshold) count++;
    }
    return count;
  }

  /** The shown point that is nearest within a radius: {points, i}, or null. */
  hit(x, y, radius) {
    const own = this.own.nearest(x, y, radius);
    if (own >= 0) return { points: this.own, i: own };
    const found = this.found.nearest(x, y, radius, (i) => this.shown(i));
    return found >= 0 ? { points: this.found, i: found } : null;
  }

  /** A hit, or null if it was of another image or network, or is no longer shown. */
  still(hit) {
    if (hit?.points === this.own) return this.own.there[hit.i] ? hit : null;
    return hit?.points === this.found && this.shown(hit.i) ? hit : null;
  }

  place({ points, i }) {
    return [points.x[i], points.y[i]];
  }

  /** A place on the image, as it is kept; null beyond. */
  kept(x, y) {
    const on = x >= -0.5 && y >= -0.5 && x < this.width - 0.5 && y < this.height - 0.5;
    return on ? [Math.max(round(x), -0.5), Math.max(round(y), -0.5)] : null;
  }

  /** Edits; each is undone by what `inverse` makes of it. */
  addition(place) {
    return { ...NOTHING, add: [place] };
  }

  removal(hit) {
    const place = this.place(hit);
    if (hit.points !== this.own) return { ...NOTHING, hide: [place] };
    // Else the detection that was confirmed here would come back.
    const back = this.found.nearest(...place, this.near) >= 0 && this.gone.at(...place) < 0;
    return { ...NOTHING, remove: [place], hide: back ? [place] : [] };
  }

  move(hit, place) {
    return { ...this.removal(hit), add: [place] };
  }

  /** A new region: what is shown in it is confirmed. Regions within it become part. */
  marking(region) {
    const kept = this.regions.filter((other) => !contains(region, other));
    const add = [];
    const [x, y, w, h] = region;
    this.found.within(x - 0.5, y - 0.5, x + w - 0.5, y + h - 0.5, (i) => {
      if (this.shown(i)) add.push([this.found.x[i], this.found.y[i]]);
    });
    return { ...NOTHING, add, regions: [...kept, region], before: this.regions };
  }

  unmarking(region) {
    const regions = this.regions.filter((other) => other !== region);
    return { ...NOTHING, regions, before: this.regions };
  }

  /** Why a region cannot be marked, or "". */
  obstacle(region) {
    const other = this.regions.find((each) => overlap(each, region));
    if (!other || this.regions.every((each) =>
      !overlap(each, region) || (contains(region, each) && !contains(each, region)))) {
      return "";
    }
    return contains(other, region)
      ? "This part is marked already."
      : "Regions may not overlap: draw beside the other, or all around it.";
  }

  apply(change) {
    for (const [x, y] of change.remove) this.own.remove(this.own.at(x, y));
    for (const [x, y] of change.show) this.gone.remove(this.gone.at(x, y));
    for (const [x, y] of change.add) this.own.add(x, y);
    for (const [x, y] of change.hide) this.gone.add(x, y);
    const boxes = [];
    const near = this.near + 1;
    for (const list of [change.add, change.remove, change.hide, change.show]) {
      for (const [x, y] of list) boxes.push([x - near, y - near, x + near, y + near]);
    }
    if (change.regions) {
      for (const [x, y, w, h] of [...this.regions, ...change.regions]) {
        boxes.push([x - 1, y - 1, x + w + 1, y + h + 1]);
      }
      this.regions = change.regions;
    }
    if (boxes.length > 2000) {
      for (let i = 0; i < this.found.size; i++) this.decide(i);
    } else {
      for (const box of boxes) this.found.within(...box, (i) => this.decide(i));
    }
  }
}

export const NOTHING = { add: [], remove: [], hide: [], show: [] };

export const inverse = (change) => ({
  add: change.remove,
  remove: change.add,
  hide: change.show,
  show: change.hide,
  ...(change.regions ? { regions: change.before, before: change.regions } : {}),
});

export const inside = ([x, y, w, h], px, py) =>
  px >= x - 0.5 && px < x + w - 0.5 && py >= y - 0.5 && py < y + h - 0.5;

const overlap = (a, b) =>
  a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3];

const contains = (a, b) =>
  a[0] <= b[0] && a[1] <= b[1] && a[0] + a[2] >= b[0] + b[2] && a[1] + a[3] >= b[1] + b[3];
