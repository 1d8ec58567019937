// Many points on an image, found by place in no time: a grid of cells.

const CELL = 64; // pixels along a cell

export class Points {
  constructor() {
    this.size = 0; // of the arrays' used part; some may be gone
    this.alive = 0;
    this.x = new Float64Array(256);
    this.y = new Float64Array(256);
    this.score = new Float32Array(256);
    this.there = new Uint8Array(256);
    this.cells = new Map();
  }

  add(x, y, score = 1) {
    if (this.size === this.x.length) this.grow();
    const i = this.size++;
    this.x[i] = x;
    this.y[i] = y;
    this.score[i] = score;
    this.there[i] = 1;
    this.alive++;
    const key = cellOf(x, y);
    const cell = this.cells.get(key);
    if (cell) cell.push(i);
    else this.cells.set(key, [i]);
    return i;
  }

  remove(i) {
    if (!this.there[i]) return;
    this.there[i] = 0;
    this.alive--;
    const cell = this.cells.get(cellOf(this.x[i], this.y[i]));
    cell.splice(cell.indexOf(i), 1);
  }

  grow() {
    for (const name of ["x", "y", "score", "there"]) {
      const larger = new this[name].constructor(this[name].length * 2);
      larger.set(this[name]);
      this[name] = larger;
    }
  }

  /** Calls with the index of every point in a box. */
  within(x0, y0, x1, y1, visit) {
    const first = Math.floor(x0 / CELL), last = Math.floor(x1 / CELL);
    const top = Math.floor(y0 / CELL), bottom = Math.floor(y1 / CELL);
    const { x, y, there } = this;
    if ((last - first + 1) * (bottom - top + 1) > this.cells.size) {
      for (let i = 0; i < this.size; i++) {
        if (there[i] && x[i] >= x0 && x[i] < x1 && y[i] >= y0 && y[i] < y1) visit(i);
      }
      return;
    }
    for (let row = top; row <= bottom; row++) {
      for (let column = first; column <= last; column++) {
        for (const i of this.cells.get(row * 65536 + column) ?? []) {
          if (x[i] >= x0 && x[i] < x1 && y[i] >= y0 && y[i] < y1) visit(i);
        }
      }
    }
  }

  /** The nearest point within a radius for which `counts` holds; -1 if there is none. */
  nearest(x, y, radius, counts = () => true) {
    let best = -1, least = radius * radius;
    this.within(x - radius, y - radius, x + radius + 1e-9, y + radius + 1e-9, (i) => {
      const d = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
      if (d <= least && counts(i)) [best, least] = [i, d];
    });
    return best;
  }

  /** The index of a point by its very place. */
  at(x, y) {
    return this.nearest(x, y, 0.004);
  }
}

const cellOf = (x, y) => Math.floor(y / CELL) * 65536 + Math.floor(x / CELL);
