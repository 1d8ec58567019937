// The viewer of a page of results: one picture, its nuclei, its density, its regions.
// Everything it shows is in the page; it asks for nothing. Names are never run as HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const canvas = at("canvas"), paper = canvas.getContext("2d", { alpha: false });
  const picture = at("picture"), stage = at("stage");
  const { width, height, mpp } = data;
  const DOTS = 6000; // nuclei in view from which on they are dots, drawn at once
  const MARK = [86, 180, 233], DEEP = [0, 114, 178]; // of dots, which have no rim
  const CLOSEST = 24; // CSS pixels of a pixel of the picture, at most

  // x, y of each nucleus, from top to bottom, and its score.
  const count = data.points.count;
  const numbers = new Float32Array(decoded(data.points.base64).buffer);
  const xs = numbers.subarray(0, count), ys = numbers.subarray(count, 2 * count);
  const scores = numbers.subarray(2 * count);

  const view = { scale: 1, x: width / 2, y: height / 2 }; // CSS px a pixel; the middle
  let waiting = false, ratio = 1, levels = [], layer = null;
  let veil = null, heat = null; // of the density

  function decoded(base64) {
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }

  const said = (number) => Math.round(number).toLocaleString("en-US");
  const left = () => view.x - canvas.clientWidth / 2 / view.scale;
  const top_ = () => view.y - canvas.clientHeight / 2 / view.scale;
  const fitted = () =>
    Math.min(canvas.clientWidth / width, canvas.clientHeight / height) * 0.98;

  function fit() {
    show(0, 0, width, height);
  }

  function show(x, y, w, h) {
    const scale = Math.min(canvas.clientWidth / w, canvas.clientHeight / h) * 0.98;
    Object.assign(view, { scale, x: x + w / 2, y: y + h / 2 });
    moved();
  }

  /** Zooms so that what lies at (x, y) of the canvas stays there. */
  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const place = { x: left() + x / view.scale, y: top_() + y / view.scale };
    const most = Math.max((CLOSEST * picture.naturalWidth) / width, fitted());
    const least = Math.min(fitted(), most) / 2;
    view.scale = Math.min(Math.max(view.scale * factor, least), most);
    view.x = place.x + (canvas.clientWidth / 2 - x) / view.scale;
    view.y = place.y + (canvas.clientHeight / 2 - y) / view.scale;
    moved();
  }

  function pan(dx, dy) {
    view.x -= dx / view.scale;
    view.y -= dy / view.scale;
    moved();
  }

  function moved() {
    view.x = Math.min(Math.max(view.x, 0), width);
    view.y = Math.min(Math.max(view.y, 0), height);
    if (!waiting && levels.length) {
      requestAnimationFrame(draw);
      waiting = true;
    }
  }

  function draw() {
    waiting = false;
    ratio = window.devicePixelRatio || 1;
    const w = Math.round(canvas.clientWidth * ratio);
    const h = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
    }
    paper.setTransform(1, 0, 0, 1, 0, 0);
    paper.fillStyle = "#e9ebee";
    paper.fillRect(0, 0, w, h);
    drawPicture();
    if (at("density").checked) drawDensity();
    const [from, to] = rows();
    const inView = columns(from, to);
    if (at("nuclei").checked) inView.length > DOTS ? dots(inView) : marks(inView);
    if (at("regions").checked) drawRegions();
    tell(inView.length);
  }

  /** The picture, from the copy that is just large enough, so that it is smooth. */
  function drawPicture() {
    const scale = view.scale * ratio;
    const wanted = (scale * width) / picture.naturalWidth;
    let level = 0;
    while (level + 1 < levels.length && wanted <= 0.5 ** (level + 1)) level++;
    const copy = levels[level];
    const px = (copy.naturalWidth || copy.width) / width;
    const py = (copy.naturalHeight || copy.height) / height;
    const x0 = Math.max(left(), 0), y0 = Math.max(top_(), 0);
    const x1 = Math.min(left() + canvas.clientWidth / view.scale, width);
    const y1 = Math.min(top_() + canvas.clientHeight / view.scale, height);
    if (x1 <= x0 || y1 <= y0) return;
    paper.imageSmoothingEnabled = wanted < 4;
    paper.drawImage(copy, x0 * px, y0 * py, (x1 - x0) * px, (y1 - y0) * py,
      (x0 - left()) * scale, (y0 - top_()) * scale, (x1 - x0) * scale,
      (y1 - y0) * scale);
  }

  function halved() {
    levels = [picture];
    let [w, h] = [picture.naturalWidth, picture.naturalHeight];
    while (Math.max(w, h) > 600) {
      [w, h] = [Math.ceil(w / 2), Math.ceil(h / 2)];
      const copy = Object.assign(document.createElement("canvas"),
        { width: w, height: h });
      copy.getContext("2d").drawImage(levels[levels.length - 1], 0, 0, w, h);
      levels.push(copy);
    }
  }

  /** The first nucleus whose y is in view, and the first beyond. */
  function rows() {
    const first = top_() - 0.5;
    return [search(first), search(first + canvas.clientHeight / view.scale)];
  }

  function search(y) {
    let low = 0, high = count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ys[middle] < y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  const found = new Uint32Array(count); // kept, so that drawing makes no garbage

  function columns(from, to) {
    const low = left() - 0.5, high = low + canvas.clientWidth / view.scale;
    let n = 0;
    for (let i = from; i < to; i++) if (xs[i] >= low && xs[i] < high) found[n++] = i;
    return found.subarray(0, n);
  }

  /** Rings with a dark rim; dots where rings would be too small. */
  function marks(inView) {
    const scale = view.scale * ratio;
    const ring = 5 * view.scale >= 3;
    const radius = ratio * (ring ? Math.min(5 * view.scale, 11) : 2.2);
    const path = new Path2D();
    for (const i of inView) {
      const x = (xs[i] + 0.5 - left()) * scale, y = (ys[i] + 0.5 - top_()) * scale;
      path.moveTo(x + radius, y);
      path.arc(x, y, radius, 0, 2 * Math.PI);
    }
    paper.strokeStyle = "rgba(0, 0, 0, 0.75)";
    const line = ratio * (ring ? Math.min(1.8, 2 * view.scale) : 0.6);
    paper.lineWidth = line + ratio * 1.3;
    paper.stroke(path);
    paper.strokeStyle = paper.fillStyle = `rgb(${MARK})`;
    paper.lineWidth = line;
    ring ? paper.stroke(path) : paper.fill(path);
  }

  /** Many nuclei at once, the more opaque the more there are in a place. */
  function dots(inView) {
    const { width: w, height: h } = canvas, scale = view.scale * ratio;
    if (!layer || layer.width !== w || layer.height !== h) {
      layer = Object.assign(document.createElement("canvas"), { width: w, height: h });
      layer.pixels = layer.getContext("2d").createImageData(w, h);
    }
    const colors = new Uint32Array(layer.pixels.data.buffer).fill(0);
    const color = (DEEP[2] << 16) | (DEEP[1] << 8) | DEEP[0];
    const room = (w * h) / inView.length; // device pixels a nucleus
    const side = Math.max(1, Math.min(Math.round(Math.sqrt(room / 3)), 3 * ratio));
    const x0 = left(), y0 = top_();
    for (const i of inView) {
      const x = Math.round((xs[i] + 0.5 - x0) * scale - side / 2);
      const y = Math.round((ys[i] + 0.5 - y0) * scale - side / 2);
      for (let row = Math.max(y, 0); row < Math.min(y + side, h); row++)
        for (let column = Math.max(x, 0); column < Math.min(x + side, w); column++) {
          const old = colors[row * w + column] >>> 24;
          const alpha = old + Math.ceil((255 - old) * 0.6);
          colors[row * w + column] = ((alpha << 24) | color) >>> 0;
        }
    }
    layer.getContext("2d").putImageData(layer.pixels, 0, 0);
    paper.globalAlpha = at("density").checked ? 0.4 : 1;
    paper.drawImage(layer, 0, 0);
    paper.globalAlpha = 1;
  }

  function drawDensity() {
    const { values, most, ramp } = data.density;
    const last = ramp.length - 1, none = [0, 0, 0, 0];
    // What was not searched has neither.
    veil ||= ofCells(values.map((value) => value === null ? none : [255, 255, 255, 140]));
    heat ||= ofCells(values.map((value) => value
      ? [...ramp[Math.round((value / most) * last)], 255]
      : none));
    const scale = view.scale * ratio;
    const place = [-left() * scale, -top_() * scale, width * scale, height * scale];
    paper.imageSmoothingEnabled = false;
    paper.drawImage(veil, ...place);
    paper.globalAlpha = 0.75;
    paper.drawImage(heat, ...place);
    paper.globalAlpha = 1;
  }

  function ofCells(colors) {
    const { rows, columns } = data.density;
    const copy = Object.assign(document.createElement("canvas"),
      { width: columns, height: rows });
    const pixels = new ImageData(columns, rows);
    pixels.data.set(colors.flat());
    copy.getContext("2d").putImageData(pixels, 0, 0);
    return copy;
  }

  function drawRegions() {
    const scale = view.scale * ratio;
    paper.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    paper.textBaseline = "top";
    data.regions.forEach((region, i) => {
      const x = (region.x - left()) * scale, y = (region.y - top_()) * scale;
      const w = region.width * scale, h = region.height * scale;
      for (const [color, line] of [["rgba(255,255,255,.85)", 5], ["#000", 2]]) {
        paper.strokeStyle = color;
        paper.lineWidth = line * ratio;
        paper.strokeRect(x, y, w, h);
      }
      const name = String(i + 1), wide = paper.measureText(name).width + 10 * ratio;
      paper.fillStyle = "#000";
      paper.fillRect(x, y, wide, 20 * ratio);
      paper.fillStyle = "#fff";
      paper.fillText(name, x + 5 * ratio, y + 3.5 * ratio);
    });
  }

  /** How many are in view, and how long the scale bar is. */
  function tell(drawn) {
    const x0 = Math.max(left(), 0), y0 = Math.max(top_(), 0);
    const w = Math.min(left() + canvas.clientWidth / view.scale, width) - x0;
    const h = Math.min(top_() + canvas.clientHeight / view.scale, height) - y0;
    const share = count ? data.nuclei / count : 1;
    let text = `${share > 1 ? "about " : ""}${said(drawn * share)} in view`;
    if (mpp && w > 0 && h > 0) {
      const area = w * h * (mpp / 1000) ** 2;
      text += ` · ${said((drawn * share) / area)}/mm²`;
    }
    at("seen").textContent = text;
    const unit = (mpp || 1) / view.scale; // µm, or px, of a CSS pixel
    const power = 10 ** Math.floor(Math.log10(150 * unit));
    const length = [5, 2, 1].find((n) => n * power <= 150 * unit) * power;
    at("scale").firstElementChild.style.width = `${length / unit}px`;
    const long = length.toLocaleString("en-US", { maximumSignificantDigits: 3 });
    const far = mpp && length >= 1000;
    at("scale").lastElementChild.textContent =
      far ? `${(length / 1000).toLocaleString("en-US")} mm` : `${long} ${mpp ? "µm" : "px"}`;
  }

  /** Where the pointer is, and the nucleus that is near. */
  function point(event) {
    const box = canvas.getBoundingClientRect();
    const x = left() + (event.clientX - box.left) / view.scale - 0.5;
    const y = top_() + (event.clientY - box.top) / view.scale - 0.5;
    const inside = x >= -0.5 && y >= -0.5 && x < width - 0.5 && y < height - 0.5;
    at("place").hidden = !inside;
    if (!inside) return;
    const reach = 10 / view.scale;
    let best = reach * reach, nearest = -1;
    for (let i = search(y - reach); i < count && ys[i] <= y + reach; i++) {
      const distance = (xs[i] - x) ** 2 + (ys[i] - y) ** 2;
      if (distance < best) [best, nearest] = [distance, i];
    }
    let text = `x ${said(x)}, y ${said(y)} px`;
    if (nearest >= 0 && at("nuclei").checked)
      text = `nucleus at x ${xs[nearest].toFixed(1)}, y ${ys[nearest].toFixed(1)} px, ` +
        `score ${scores[nearest].toFixed(2)}`;
    at("place").textContent = text;
  }

  const held = new Map(); // pointers that are down

  function spread() {
    const [a, b] = [...held.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  }

  canvas.addEventListener("pointerdown", (event) => {
    held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    canvas.setPointerCapture(event.pointerId);
    canvas.classList.add("held");
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = held.get(event.pointerId);
    if (last) {
      const before = held.size === 2 ? spread() : 0;
      pan((event.clientX - last.x) / held.size, (event.clientY - last.y) / held.size);
      Object.assign(last, { x: event.clientX, y: event.clientY });
      if (before) {
        const box = canvas.getBoundingClientRect(), [a, b] = [...held.values()];
        zoom(spread() / before, (a.x + b.x) / 2 - box.left, (a.y + b.y) / 2 - box.top);
      }
    }
    point(event);
  });
  for (const name of ["pointerup", "pointercancel"])
    canvas.addEventListener(name, (event) => {
      held.delete(event.pointerId);
      if (!held.size) canvas.classList.remove("held");
    });
  canvas.addEventListener("pointerleave", () => { at("place").hidden = true; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode ? 30 : 1;
    const box = canvas.getBoundingClientRect();
    zoom(Math.exp(-Math.min(Math.max(event.deltaY * lines, -240), 240) / 400),
      event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => {
    const box = canvas.getBoundingClientRect();
    zoom(2, event.clientX - box.left, event.clientY - box.top);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = 80;
    const does = {
      "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fit,
      ArrowLeft: () => pan(step, 0), ArrowRight: () => pan(-step, 0),
      ArrowUp: () => pan(0, step), ArrowDown: () => pan(0, -step),
    }[event.key];
    if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    does();
  });
  at("in").addEventListener("click", () => zoom(1.5));
  at("out").addEventListener("click", () => zoom(1 / 1.5));
  at("fit").addEventListener("click", fit);
  for (const id of ["nuclei", "density", "regions"])
    at(id).addEventListener("change", () => {
      at("legend").hidden = !at("density").checked;
      moved();
    });
  for (const button of document.querySelectorAll("button[data-region]"))
    button.addEventListener("click", () => {
      const region = data.regions[Number(button.dataset.region)];
      show(region.x, region.y, region.width, region.height);
    });

  function start() {
    halved();
    const { most, unit, values } = data.density;
    at("most").textContent = `${said(most)} ${unit}`;
    at("bare").hidden = !values.includes(null);
    at("boxes").hidden = !data.regions.length;
    picture.hidden = true;
    canvas.hidden = at("scale").hidden = false;
    fit();
    let fits = { w: canvas.clientWidth, h: canvas.clientHeight };
    new ResizeObserver(() => {
      const whole = Math.abs(view.scale - Math.min(fits.w / width, fits.h / height) * 0.98);
      fits = { w: canvas.clientWidth, h: canvas.clientHeight };
      if (whole < 1e-9) fit();
      draw(); // now, or the old picture would be stretched for a frame
    }).observe(stage);
  }

  picture.decode().then(start);
})();
