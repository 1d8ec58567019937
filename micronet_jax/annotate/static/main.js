// The page of micronet annotate: what is shown, and what happens when.

import { draw, scaleBar } from "./draw.js";
import { KEYS, bindKeys, bindMouse, markRegion, mayMark, region } from "./editing.js";
import { $, make, number } from "./elements.js";
import { extent, historyOf, note, takeAgain, takeBack } from "./history.js";
import { Model } from "./model.js";
import { showNotices } from "./notices.js";
import {
  listImages, reveal, showDetection, showNoDetection, showRegions, showSuggestions,
} from "./panels.js";
import { Saving } from "./saving.js";
import { detections, get, passes, post } from "./server.js";
import { bindTuning, showTuning } from "./tuning.js";
import { Viewer } from "./viewer.js";

const CALM = 2500, BUSY = 700; // milliseconds between looks at the server

const page = {
  model: null,
  state: null,
  look: { hidden: false },
  view: { count: 0, single: true },
  pointer: null,

  cross: () => page.look.cross,
  keyboard(used) {
    if (page.look.cross === used) return;
    page.look.cross = used;
    if (used) page.look.under = null;
    page.redraw();
  },
  blocked() {
    const { model } = page;
    if (model?.foreign) page.say("These annotations are shown, but not changed here.");
    if (model?.refused) page.say("First load what is on disk (above).");
    return !model?.editable || !!model.refused;
  },
  commit(change) {
    if (page.blocked()) return;
    note(page.model.history, change);
    perform(change);
  },
  undo: () => goBack(takeBack, "There is nothing to undo."),
  redo: () => goBack(takeAgain, "There is nothing to redo."),
  mark(on) {
    page.look.marking = on;
    page.look.corner = page.look.drawing = null;
    $("region-button").setAttribute("aria-pressed", on);
    page.mode(on ? "Draw a rectangle in which every nucleus is right (Esc cancels)" : "");
    page.redraw();
  },
  markView() {
    if (!page.model) return;
    const [x0, y0, x1, y1] = viewer.view();
    markRegion(page, region([x0, y0], [x1, y1], page.model));
  },
  hide() {
    page.look.hidden = !page.look.hidden;
    page.say(page.look.hidden ? "Points are hidden (H)." : "Points are shown.");
    page.redraw();
  },
  leaveOff() {
    page.look.chosen = page.look.taken = page.look.carried = null;
    page.mark(false);
  },
  step(by) {
    const images = page.state?.images ?? [];
    if (!images.length) return;
    const place = images.findIndex((image) => image.key === (viewer.image?.key ?? page.failed));
    const next = images[(place + by + images.length) % images.length];
    choose(next.key);
  },
  nudgeThreshold(by) {
    setThreshold(page.model.threshold + by);
    storeThreshold();
  },
  help: () => $("help").showModal(),
  mode(text) {
    $("mode").hidden = !text;
    $("mode").textContent = text;
  },
  say(text) {
    const toast = $("toast");
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(page.toasting);
    page.toasting = setTimeout(() => { toast.hidden = true; }, 2600);
  },
  redraw() {
    page.drawing ??= requestAnimationFrame(() => {
      page.drawing = null;
      paint();
    });
  },
  told: footer,
  refresh: () => look(),
  receive: () => receive(),
  detect,
  saved: () => saving.saved(),
};

const saving = new Saving(tell);

/** What is saved, and what is wrong. */
function tell() {
  const { waiting, fault } = saving, { model } = page;
  $("saved").textContent = fault ? `${waiting} not saved yet` : waiting ? "Saving"
    : model?.history.did.length && !model.refused ? "Saved" : "";
  showNotices(saving, page.lost, (key) => {
    tell();
    choose(key, true);
  });
}

const viewer = new Viewer($("viewer"), () => paint());

function perform(change) {
  const { model, look: seen } = page;
  seen.chosen = seen.under = seen.taken = null;
  model.apply(change);
  saving.send(model, change);
  update();
  if (change.regions) page.saved().then(look).catch(() => {}); // `watch` says what is wrong
}

function goBack(take, otherwise) {
  const { model } = page;
  const change = model && !model.refused && take(model.history);
  if (!change) return page.say(otherwise);
  viewer.reveal(extent(change));
  perform(change);
}

/** After the model changed. */
function update() {
  const { model, state } = page;
  showDetection(model, state);
  showRegions(model, page.look, {
    go: (box) => viewer.show(box),
    remove: (box) => page.commit(model.unmarking(box)),
  });
  $("undo").disabled = !model.history.did.length;
  $("redo").disabled = !model.history.undone.length;
  page.redraw();
}

function paint() {
  const { model } = page;
  if (!model || !viewer.image || !viewer.osd.world.getItemCount()) return;
  if (page.look.marking && page.look.corner && page.look.cross) {
    page.look.drawing = region(page.look.corner, viewer.center(), model);
  }
  page.view = draw(viewer.canvas, viewer, model, page.look);
  viewer.map();
  const { scale } = viewer.frame();
  const bar = scaleBar(scale, model.mpp);
  $("scale").hidden = false;
  $("scale").firstElementChild.style.width = `${bar.width}px`;
  $("scale").lastElementChild.textContent = bar.text;
  footer();
}

function footer() {
  const { model } = page;
  if (!model || !viewer.image) return;
  const [x0, y0, x1, y1] = viewer.view();
  const pixels = Math.max(0, x1 - x0) * Math.max(0, y1 - y0);
  const known = model.network || model.own.alive;
  $("in-view").textContent = known ? `${number(page.view.count)} in view` : "";
  $("per-area").textContent = known && model.mpp && pixels
    ? `${number(Math.round(page.view.count / (pixels * (model.mpp / 1000) ** 2)))} per mm²` : "";
  const { scale } = viewer.frame();
  const percent = scale * 100;
  $("zoom-level").textContent = `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
  const place = page.look.cross ? viewer.center() : page.pointer;
  const size = `${number(model.width)} × ${number(model.height)} px`;
  const resolution = model.mpp ? `${Number(model.mpp.toPrecision(3))} µm/px` : "no resolution known: taken as 0.25 µm/px (a line in index.csv for each image may say it)";
  const at = place && [place[0], place[1]].map((value) => Math.round(value));
  const inMicrons = place && model.mpp
    ? ` = ${number(Math.round(place[0] * model.mpp))}, ${number(Math.round(place[1] * model.mpp))} µm` : "";
  $("where").textContent = at ? `x ${number(at[0])}, y ${number(at[1])}${inMicrons}` : `${size}, ${resolution}`;
}

/** Shows an image; its place in view stays if it is only loaded anew. */
async function choose(key, again = false) {
  if (viewer.image?.key === key && !again) return;
  const turn = (page.turn = (page.turn ?? 0) + 1);
  page.passing = false;
  page.leaveOff();
  const stays = again && page.model?.key === key;
  listImages(page.state.images, key, choose);
  if (key !== page.failed) reveal(key);
  try {
    // The pixels first: many points take a moment.
    const about = await get(`api/images/${key}`);
    if (turn !== page.turn) return;
    $("empty").hidden = true;
    history.replaceState(null, "", `#${key}`);
    if (!stays) {
      page.model = null;
      viewer.canvas.width = 0;
      await viewer.open(about, () => {
        if (page.goal) viewer.show(page.goal);
        page.goal = null;
      });
      if (turn !== page.turn) return;
      detect();
    }
    await saving.saved(key); // else what is loaded is older than what was done to it
    const { revision, ...said } = await get(`api/images/${key}/annotation`);
    if (turn !== page.turn) return;
    page.model = new Model({ ...about, ...said, history: historyOf(key, revision) });
    page.failed = null;
  } catch (error) {
    if (turn === page.turn) fail(key, error.message, passes(error));
    return;
  }
  offer(key);
  tell();
  page.model.threshold = page.state.threshold ?? 0.5;
  await receive().catch(() => {}); // `watch` says what is wrong, and receives again
  if (turn === page.turn && page.model) update();
}

/** Nothing of an image is shown, but why; `passing` if it is tried again. */
function fail(key, text, passing = false) {
  page.model = null;
  Object.assign(page, { failed: key, passing });
  viewer.close();
  viewer.canvas.width = 0;
  $("scale").hidden = true;
  $("empty").hidden = false;
  $("empty").textContent = text;
  showNoDetection();
  $("regions").replaceChildren();
  for (const id of ["undo", "redo", "region-button", "whole-button"]) $(id).disabled = true;
  for (const id of ["where", "in-view", "per-area", "zoom-level", "saved"]) $(id).textContent = "";
  offer(null);
  listImages(page.state.images, key, choose);
}

/** The files of an image that can be taken away. */
function offer(key) {
  for (const form of ["csv", "geojson"]) {
    if (key) $(form).href = `api/images/${key}/export/${form}`;
    else $(form).removeAttribute("href");
  }
}

/** Asks for detections of what is shown, from the middle of the view on. */
function detect() {
  if (!viewer.image || !viewer.osd.world.getItemCount()) return;
  post("api/detect", { key: viewer.image.key, center: viewer.center() }).catch(() => {});
}

/** A function whose calls wait for each other: of two answers the older may come last. */
function inTurn(act) {
  let last = null;
  return () => (last = Promise.resolve(last).catch(() => {}).then(act));
}

const receive = inTurn(async () => {
  const { model } = page;
  if (!model) return;
  const news = await detections(model.key, model.found.size, model.network);
  if (model !== page.model) return;
  const changed = model.receive(news);
  const threshold = page.state.threshold ?? model.networkThreshold ?? model.threshold;
  if (changed || (threshold !== model.threshold && !page.sliding)) {
    if (!page.sliding) model.threshold = threshold;
    update();
  }
});

/** Looks at the server once. */
const look = inTurn(async () => {
  const was = page.state;
  page.state = await get("api/state");
  const { state } = page;
  $("folder").textContent = state.folder;
  $("folder").title = $("path").textContent = state.path;
  $("weights").textContent = state.weights.split("/").pop();
  $("left-out").hidden = !state.left_out.length;
  $("left-out").textContent = state.left_out.join("; ");
  document.title = `${state.folder} · micronet annotate`;
  $("threshold").min = state.least;
  listImages(state.images, viewer.image?.key ?? page.failed, choose);
  showTuning(state);
  if (JSON.stringify(was?.suggestions) !== JSON.stringify(state.suggestions)) suggest();
  if (!state.images.length) {
    fail(null, `There is no image in ${state.path} any more. It is shown here as soon as there is one.`);
  } else if (page.model && !state.images.some((image) => image.key === page.model.key)) {
    fail(page.model.key, `${page.model.name} is no longer in the folder.`);
  } else if (page.passing || (was && !was.images.length)) {
    await choose((state.images.find(({ key }) => key === page.failed) ?? state.images[0]).key);
  } else if (page.model) {
    await receive();
    if (page.model) showDetection(page.model, state);
  }
});

function suggest() {
  showSuggestions(page.state.suggestions, (window) => {
    const box = [window.x, window.y, window.width, window.height];
    if (page.model?.key === window.key) viewer.show(box);
    else {
      page.goal = box;
      choose(window.key);
    }
  });
}

async function watch() {
  const before = page.lost;
  page.lost = null;
  try {
    await look();
  } catch (error) {
    page.lost = error;
  }
  if (before || page.lost) tell();
  const busy = page.state?.detection.busy || page.state?.tuning.state === "running";
  setTimeout(watch, busy ? BUSY : CALM);
}

function setThreshold(value) {
  const { model } = page;
  if (!model) return;
  const least = Number($("threshold").min);
  model.threshold = Math.round(Math.min(Math.max(value, least), 1) * 100) / 100;
  page.sliding = true;
  showDetection(model, page.state);
  page.redraw();
}

async function storeThreshold(value = page.model?.threshold) {
  if (value === undefined) return;
  try {
    const said = await post("api/threshold", value);
    page.state.threshold = said.threshold;
  } catch (error) {
    page.say(error.message);
  }
  page.sliding = false;
  await receive();
  if (page.model) showDetection(page.model, page.state);
}

function bind() {
  bindMouse(viewer, page);
  bindKeys(viewer, page);
  bindTuning(page);
  const click = (id, act) => $(id).addEventListener("click", act);
  click("undo", () => page.undo());
  click("redo", () => page.redo());
  click("help-button", () => page.help());
  click("zoom-in", () => viewer.image && viewer.zoom(1.5));
  click("zoom-out", () => viewer.image && viewer.zoom(1 / 1.5));
  click("zoom-fit", () => viewer.image && viewer.fit());
  click("zoom-one", () => viewer.image && viewer.one());
  click("region-button", () => page.mark(!page.look.marking && mayMark(page)));
  click("whole-button", () => page.markView());
  click("detect-all", async () => {
    await post("api/detect", { all: true });
    look();
  });
  click("search-stop", async () => {
    await post("api/detect", { stop: true });
    look();
  });
  click("threshold-reset", () => storeThreshold(null));
  $("threshold").addEventListener("input", (event) => setThreshold(event.target.valueAsNumber));
  $("threshold").addEventListener("change", () => storeThreshold());
  viewer.osd.addHandler("animation-finish", detect);
  $("keys").replaceChildren(...KEYS.flatMap(([keys, text]) =>
    [make("kbd", { textContent: keys }), make("span", { textContent: text })]));
  window.addEventListener("beforeunload", (event) => {
    if (saving.waiting) event.preventDefault();
  });
  window.addEventListener("resize", () => page.model && update());
}

async function begin() {
  bind();
  const wanted = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.hash); // the token goes
  await watch();
  if (!page.state) Object.assign(page, { failed: wanted, passing: true });
  const images = page.state?.images ?? [];
  const first = images.find((image) => image.key === wanted) ?? images[0];
  if (first) await choose(first.key);
}

window.micronet = { page, viewer, saving };
begin();
