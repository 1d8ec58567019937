// Draws points and regions over the image: singly while they can be told apart, as
// density where they cannot.

const ORANGE = "#ffb000", BLUE = "#4cb4ff";
const BIN = 8; // screen px along a bin of the density
const CROWDED = 7; // screen px between neighbours below which they are not told apart
const MOST = 5000; // points that are drawn singly
const NUCLEUS = 16; // pixels at 0.25 microns across a nucleus

let sprites = { key: "" };

function spritesOf(radius, ratio) {
  const key = `${radius} ${ratio}`;
  if (sprites.key === key) return sprites;
  const make = (paint) => {
    const half = radius + 3;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = Math.ceil(half * 2 * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.translate(half, half);
    paint(context);
    return { canvas, half };
  };
  const circle = (context, r, width, colour) => {
    context.beginPath();
    context.arc(0, 0, r, 0, 7);
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  };
  const thick = Math.max(1.4, radius * 0.33);
  const ring = make((context) => {
    circle(context, radius, thick + 1.8, "#000b");
    circle(context, radius, thick, ORANGE);
  });
  const dot = make((context) => {
    context.beginPath();
    context.arc(0, 0, radius * 0.85, 0, 7);
    context.fillStyle = BLUE;
    context.fill();
    circle(context, radius * 0.85, thick * 0.8 + 1.6, "#000b");
    circle(context, radius * 0.85, thick * 0.8, "#fff");
  });
  sprites = { key, ring, dot };
  return sprites;
}

/** Draws all; returns how many nuclei are in view, and whether they are drawn singly. */
export function draw(canvas, viewer, model, look) {
  const ratio = window.devicePixelRatio || 1;
  const frame = viewer.frame();
  if (canvas.width !== Math.round(frame.width * ratio)
      || canvas.height !== Math.round(frame.height * ratio)) {
    canvas.width = Math.round(frame.width * ratio);
    canvas.height = Math.round(frame.height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, frame.width, frame.height);
  const [x0, y0, x1, y1] = viewer.view();
  const found = [], own = [];
  model.found.within(x0, y0, x1, y1, (i) => {
    if (model.shown(i)) found.push(i);
  });
  model.own.within(x0, y0, x1, y1, (i) => own.push(i));
  const count = found.length + own.length;
  const area = Math.max(0, x1 - x0) * Math.max(0, y1 - y0) * frame.scale ** 2;
  const single = count <= MOST && Math.sqrt(area / Math.max(count, 1)) >= CROWDED;
  drawRegions(context, frame, model, look);
  if (!look.hidden) {
    if (single) {
      const size = (NUCLEUS * model.near / 6 * frame.scale) / 3;
      const { ring, dot } = spritesOf(Math.round(Math.min(Math.max(size, 2.2), 8) * 4) / 4, ratio);
      stamp(context, frame, model.found, found, ring);
      stamp(context, frame, model.own, own, dot);
    } else {
      drawDensity(context, frame, model, found, own);
    }
  }
  drawMarks(context, frame, model, look, single);
  return { count, single };
}

function stamp(context, frame, points, indices, sprite) {
  const { canvas, half } = sprite;
  for (const i of indices) {
    context.drawImage(
      canvas,
      (points.x[i] - frame.left) * frame.scale - half,
      (points.y[i] - frame.top) * frame.scale - half,
      half * 2, half * 2,
    );
  }
}

const bins = { canvas: document.createElement("canvas"), counts: new Float32Array(0) };

function drawDensity(context, frame, model, found, own) {
  const across = Math.ceil(frame.width / BIN), down = Math.ceil(frame.height / BIN);
  if (bins.counts.length < across * down) bins.counts = new Float32Array(across * down);
  const { counts, canvas } = bins;
  counts.fill(0);
  const unit = frame.scale / BIN;
  for (const [points, indices] of [[model.found, found], [model.own, own]]) {
    for (const i of indices) {
      const column = ((points.x[i] - frame.left) * unit) | 0;
      const row = ((points.y[i] - frame.top) * unit) | 0;
      if (column >= 0 && row >= 0 && column < across && row < down) counts[row * across + column]++;
    }
  }
  let most = 1;
  for (let k = 0; k < across * down; k++) if (counts[k] > most) most = counts[k];
  canvas.width = across;
  canvas.height = down;
  const small = canvas.getContext("2d");
  const pixels = small.createImageData(across, down);
  for (let k = 0; k < across * down; k++) {
    const share = Math.sqrt(counts[k] / most);
    // From light orange to dark blue, by lightness: told apart by all eyes.
    pixels.data[4 * k] = 255 - 247 * share;
    pixels.data[4 * k + 1] = 186 - 140 * share;
    pixels.data[4 * k + 2] = 40 + 80 * share;
    pixels.data[4 * k + 3] = counts[k] ? 90 + 130 * share : 0;
  }
  small.putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(canvas, 0, 0, across * BIN, down * BIN);
}

function drawRegions(context, frame, model, look) {
  const box = ([x, y, w, h]) => [
    (x - 0.5 - frame.left) * frame.scale, (y - 0.5 - frame.top) * frame.scale,
    w * frame.scale, h * frame.scale,
  ];
  for (const region of model.regions) {
    const placed = box(region);
    const chosen = region === look.region;
    context.setLineDash([]);
    context.lineWidth = chosen ? 6 : 4.5;
    context.strokeStyle = "#ffffffd0";
    context.strokeRect(...placed);
    context.lineWidth = chosen ? 3.5 : 2;
    context.strokeStyle = "#0b5c94";
    context.strokeRect(...placed);
  }
  if (look.drawing) {
    const placed = box(look.drawing);
    context.fillStyle = "#2d8fe02e";
    context.fillRect(...placed);
    context.lineWidth = 2;
    context.setLineDash([7, 5]);
    context.strokeStyle = "#0b5c94";
    context.strokeRect(...placed);
    context.setLineDash([]);
  }
}

/** What is chosen, hovered or carried, and the cross of the keyboard. */
function drawMarks(context, frame, model, look, single) {
  const around = ([x, y], radius, colour) => {
    const at = [(x - frame.left) * frame.scale, (y - frame.top) * frame.scale];
    for (const [width, stroke] of [[4.5, "#000c"], [2.2, colour]]) {
      context.beginPath();
      context.arc(...at, radius, 0, 7);
      context.lineWidth = width;
      context.strokeStyle = stroke;
      context.stroke();
    }
  };
  for (const [hit, radius] of [[look.under, 11], [look.chosen, 13]]) {
    if (single && model.still(hit)) around(model.place(hit), radius, "#fff");
  }
  if (look.carried) around(look.carried, 9, ORANGE);
  if (!look.cross) return;
  const x = frame.width / 2, y = frame.height / 2;
  for (const [width, colour] of [[3.6, "#ffffffd8"], [1.4, "#111"]]) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * 5, y + dy * 5);
      context.lineTo(x + dx * 20, y + dy * 20);
    }
    context.stroke();
  }
}

/** The scale bar: a round length that is at most 160 screen px. */
export function scaleBar(scale, mpp) {
  const unit = mpp ?? 1;
  const longest = (160 / scale) * unit;
  const power = 10 ** Math.floor(Math.log10(longest));
  const length = [5, 2, 1].map((n) => n * power).find((n) => n <= longest);
  const width = (length / unit) * scale;
  if (mpp === null) return { width, text: `${length} px` };
  const text = length >= 1000 ? `${length / 1000} mm` : `${Number(length.toPrecision(1))} µm`;
  return { width, text };
}
