// The list of images, and the cards for detecting, correcting and taking away.

import { $, make, number, plural, prepared } from "./elements.js";

const STATES = { new: "new", detected: "detected", corrected: "corrected", error: "cannot be read" };

const rows = new Map();

/** The list of images; rows stay, so that focus and scroll do. */
export function listImages(images, current, choose) {
  $("image-count").textContent = plural(images.length, "image");
  const list = $("images");
  const seen = new Set();
  images.forEach((image, place) => {
    seen.add(image.key);
    let row = rows.get(image.key);
    if (!row) {
      const picture = make("img", { src: `api/images/${image.key}/thumbnail`, alt: "", loading: "lazy" });
      picture.addEventListener("error", () => picture.removeAttribute("src"));
      const state = make("span", { className: "state" });
      const button = make("button", { title: image.file }, picture,
        make("span", {}, make("span", { className: "name", textContent: image.name }), state));
      button.addEventListener("click", () => choose(image.key));
      row = { item: make("li", {}, button), button, state, text: "" };
      rows.set(image.key, row);
    }
    const text = said(image);
    if (row.text !== text) {
      row.text = text;
      row.state.replaceChildren(make("i", { className: `mark ${image.state}` }), text);
    }
    row.button.setAttribute("aria-current", image.key === current);
    row.button.dataset.state = image.state;
    if (list.children[place] !== row.item) list.insertBefore(row.item, list.children[place] ?? null);
  });
  for (const [key, row] of rows) {
    if (!seen.has(key)) {
      row.item.remove();
      rows.delete(key);
    }
  }
}

function said(image) {
  if (image.pending) return "…";
  const parts = [STATES[image.state]];
  if (image.nuclei !== null) parts.push(`${number(image.nuclei)}${image.partial ? "+" : ""}`);
  return parts.join(" · ");
}

export const reveal = (key) => rows.get(key)?.button.scrollIntoView({ block: "nearest" });

/** Count, progress, threshold and histogram of the image that is shown. */
export function showDetection(model, state) {
  const { done, total } = model.search;
  const blank = !model.network && !model.own.alive;
  $("count").textContent = blank ? "–" : number(model.count());
  const parts = [];
  if (model.own.alive) parts.push(`${number(model.own.alive)} confirmed`);
  if (model.network && done < total) parts.push("so far");
  $("count-note").textContent = `nuclei${parts.length ? `, ${parts.join(", ")}` : ""}`;
  const busy = state.detection.busy;
  const here = busy === model.key;
  $("search").hidden = !busy;
  if (busy) {
    const bar = $("search-bar");
    if (here && total > 1) bar.value = done / total;
    else bar.removeAttribute("value");
    const more = state.detection.waiting ? `, ${plural(state.detection.waiting, "image")} after it` : "";
    const other = state.images.find((image) => image.key === busy);
    $("search-text").textContent = here
      ? `${model.network ? `${Math.round((100 * done) / Math.max(total, 1))} %` : "loading the network"}${more}`
      : `${other?.name.slice(0, 18) ?? ""}${more}`;
  }
  $("search-error").hidden = !state.detection.error;
  $("search-error").textContent = state.detection.error;
  $("threshold").value = model.threshold;
  $("threshold-value").textContent = model.network ? model.threshold.toFixed(2) : "";
  const stored = state.threshold !== null;
  $("threshold-note").textContent = stored ? "stored for this folder; "
    : model.network ? "the network's own" : "known when the network is loaded";
  $("threshold-reset").hidden = !stored;
  $("threshold").disabled = !model.network;
  histogram(model);
}

/** Where no image can be shown. */
export function showNoDetection() {
  $("count").textContent = "–";
  $("count-note").textContent = "nuclei";
  $("search").hidden = true;
  $("threshold-value").textContent = $("threshold-note").textContent = "";
  $("threshold").disabled = true;
  $("foreign").hidden = true;
  prepared($("histogram"));
}

/** Scores of what is not decided on; those that count are orange. */
function histogram(model) {
  const { context, width, height } = prepared($("histogram"));
  const least = Number($("threshold").min), bins = 45, step = (1 - least) / bins;
  const counts = new Float64Array(bins);
  const { found, decided } = model;
  for (let i = 0; i < found.size; i++) {
    if (!decided[i]) counts[Math.min(bins - 1, ((found.score[i] - least) / step) | 0)]++;
  }
  const most = Math.max(1, ...counts);
  const inset = 8, room = width - 2 * inset; // as the knob of the slider runs
  counts.forEach((count, k) => {
    if (!count) return;
    const tall = Math.max(2, Math.sqrt(count / most) * (height - 4));
    context.fillStyle = least + (k + 0.5) * step >= model.threshold ? "#f0a400" : "#c3ccd4";
    context.fillRect(inset + (k * room) / bins, height - tall, room / bins - 1, tall);
  });
  if (!model.network) return;
  const x = inset + ((model.threshold - least) / (1 - least)) * room;
  context.fillStyle = "#1c2530";
  context.fillRect(x - 0.75, 0, 1.5, height);
}

export function showRegions(model, look, { go, remove }) {
  $("foreign").hidden = model.editable;
  $("foreign").textContent = model.foreign
    ? `The annotations are in ${model.foreign}, which is shown but not changed. Move that file away to annotate here.`
    : "";
  $("region-button").disabled = $("whole-button").disabled = !model.editable;
  const micron = model.mpp ?? null;
  const length = (px) => (micron ? `${Math.round(px * micron)}` : `${px}`);
  $("regions").replaceChildren(...model.regions.map((region, i) => {
    const [x, y, w, h] = region;
    let held = 0;
    model.own.within(x - 0.5, y - 0.5, x + w - 0.5, y + h - 0.5, () => { held++; });
    const show = make("button", { title: "Show it" },
      make("span", { textContent: `Region ${i + 1}: ${length(w)} × ${length(h)} ${micron ? "µm" : "px"}` }),
      make("span", { className: "quiet", textContent: plural(held, "nucleus", "nuclei") }));
    show.addEventListener("click", () => go(region));
    const drop = make("button", { textContent: "×", className: "small", title: "No longer marked; its nuclei stay" });
    drop.setAttribute("aria-label", `Remove region ${i + 1}`);
    drop.disabled = !model.editable;
    drop.addEventListener("click", () => remove(region));
    return make("li", {}, show, drop);
  }));
}

export function showSuggestions(windows, go) {
  $("suggestions").replaceChildren(...windows.map((window) => {
    const button = make("button", { title: window.name },
      make("span", { textContent: window.name }),
      make("span", { className: "quiet", textContent: `${window.doubtful} unsure` }));
    button.addEventListener("click", () => go(window));
    return make("li", {}, button);
  }));
  if (!windows.length) {
    $("suggestions").replaceChildren(make("li", { className: "quiet", textContent: "Nothing yet: detect in more images first." }));
  }
}
