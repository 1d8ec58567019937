// Mouse and keyboard: what people do to points and regions.

import { get, post } from "./server.js";

const REACH = 9; // screen px around a point that mean it
const SLIP = 5; // screen px by which a hand slips while it clicks, as OpenSeadragon has it
const HELD = 2; // `model.near`, 1.5 microns, that REACH may be where a drag moves a nucleus
const LEAST_REGION = 8; // pixels of the image along a region

/** Binds the editor to a viewer.
 *
 * `page` has: model, look, view (of the last drawing), commit(change), undo(), redo(),
 * redraw(), say(text), step(by), and more that only keys do.
 */
export function bindMouse(viewer, page) {
  const { osd } = viewer;
  // {model, place, at} of a press on the image and on the screen, and `from` of a region
  // or `hit`, a nucleus; {held} where a drag moves it, by {offset}; {far} beyond a slip.
  let pressed = null;

  const reach = () => REACH / viewer.frame().scale;
  const hitAt = (position) => {
    if (!page.model || !page.view.single || page.look.hidden) return null;
    return page.model.hit(...viewer.toImage(position), reach());
  };

  osd.addHandler("canvas-press", ({ position }) => {
    page.keyboard(false);
    const { model } = page;
    pressed = null;
    if (!model?.editable || model.refused) return;
    const place = viewer.toImage(position);
    pressed = { model, place, at: position };
    if (page.look.marking) {
      pressed.from = place;
      return;
    }
    const hit = (pressed.hit = hitAt(position));
    pressed.held = hit && reach() <= HELD * model.near;
    if (hit) pressed.offset = model.place(hit).map((value, axis) => value - place[axis]);
  });

  osd.addHandler("canvas-drag", (event) => {
    if (!pressed || pressed.model !== page.model) return; // another image came meanwhile
    const { at, from, held, offset } = pressed;
    pressed.far ||= event.position.distanceTo(at) > SLIP;
    if (!from && !held) return; // the image moves
    event.preventDefaultAction = true;
    const place = viewer.toImage(event.position);
    if (from) page.look.drawing = region(from, place, page.model);
    else if (pressed.far) {
      pressed.to = page.look.carried = place.map((value, axis) => value + offset[axis]);
    }
    page.redraw();
  });

  osd.addHandler("canvas-drag-end", () => {
    const drag = pressed;
    if (!drag?.far && !drag?.from) return; // a click, which is told next
    pressed = null;
    page.look.carried = null;
    if (drag.model !== page.model) return;
    if (drag.from) finishRegion(page);
    else if (drag.to) putDown(page, drag.hit, drag.to);
  });

  osd.addHandler("canvas-click", (event) => {
    event.preventDefaultAction = true;
    const press = pressed;
    pressed = null;
    if (!event.quick || !page.model || page.look.marking || page.blocked()) return;
    if (press?.model !== page.model || press.from) return;
    const hit = page.model.still(press.hit);
    if (hit) {
      page.look.chosen = hit;
      page.redraw();
      return;
    }
    addAt(page, press.place);
  });

  osd.addHandler("canvas-nonprimary-press", (event) => {
    if (event.button !== 2) return;
    const hit = hitAt(event.position);
    if (hit) remove(page, hit);
  });
  osd.addHandler("canvas-contextmenu", (event) => {
    event.preventDefault = true;
  });

  const element = osd.element;
  element.addEventListener("pointermove", (event) => {
    if (!page.model) return;
    const box = element.getBoundingClientRect();
    const position = { x: event.clientX - box.left, y: event.clientY - box.top };
    page.pointer = viewer.toImage(position);
    const hit = event.buttons ? null : hitAt(position);
    const { under } = page.look;
    const moved = hit?.points !== under?.points || hit?.i !== under?.i;
    page.look.under = hit;
    element.style.cursor = page.look.marking ? "crosshair" : hit ? "pointer" : "default";
    if (moved) page.redraw();
    page.told();
  });
  element.addEventListener("pointerleave", () => {
    page.pointer = null;
    page.look.under = null;
    page.redraw();
  });
}

/** Whether nobody sees what an edit would do; says so. */
function unseen(page) {
  if (page.view.single && !page.look.hidden) return false;
  page.say(page.look.hidden ? "Points are hidden: show them first (H)."
    : "Zoom in to edit: nuclei are shown as density here.");
  return true;
}

export function addAt(page, place) {
  const { model } = page;
  if (page.blocked() || unseen(page)) return;
  const kept = model.kept(...place);
  if (!kept) return;
  if (model.own.nearest(...kept, 1) >= 0) {
    page.say("There is a nucleus already.");
    return;
  }
  page.commit(model.addition(kept));
}

export function remove(page, hit) {
  page.commit(page.model.removal(hit));
}

/** Ends a move at a place. */
function putDown(page, hit, place) {
  const { model, look } = page;
  const kept = model.kept(...place);
  look.taken = look.chosen = null;
  page.redraw();
  if (!model.still(hit)) page.say("That nucleus is no longer shown.");
  else if (kept) page.commit(model.move(hit, kept));
}

/** The rectangle of whole pixels between two places, cut to the image. */
export function region([ax, ay], [bx, by], { width, height }) {
  const clip = (value, most) => Math.min(Math.max(Math.round(value + 0.5), 0), most);
  const x0 = clip(Math.min(ax, bx), width), x1 = clip(Math.max(ax, bx), width);
  const y0 = clip(Math.min(ay, by), height), y1 = clip(Math.max(ay, by), height);
  return [x0, y0, x1 - x0, y1 - y0];
}

export function finishRegion(page) {
  const drawn = page.look.drawing;
  page.look.drawing = null;
  page.mark(false);
  if (drawn) markRegion(page, drawn);
}

/** Whether a region can be drawn: of an image that is edited, with its points in view. */
export const mayMark = (page) => !page.blocked() && !unseen(page);

/** Why a region cannot be marked yet, or "": all that is found in it must be here.
 *
 * What is found later would not be shown there, and count as background; and nobody has
 * looked at what comes only now.
 */
async function notYet(page, box) {
  const { model } = page, [x, y, width, height] = box;
  if (model.network && model.search.done >= model.search.total) return "";
  const seen = JSON.stringify(model.marking(box).add);
  try {
    const said = await get(`api/images/${model.key}/searched?box=${box}`);
    if (!said.searched) {
      await post("api/detect", { key: model.key, center: [x + width / 2, y + height / 2] });
      return "This part is still searched: mark it when that is done.";
    }
    await page.receive();
    return model.network === said.of && JSON.stringify(model.marking(box).add) === seen ? ""
      : "More was just found here: look at it, and mark it again.";
  } catch (error) {
    return error.message;
  }
}

/** Marks a region, as it is seen. */
export async function markRegion(page, drawn) {
  const { model } = page;
  page.redraw();
  if (!mayMark(page)) return;
  if (drawn[2] < LEAST_REGION || drawn[3] < LEAST_REGION) {
    page.say("That region is too small.");
    return;
  }
  const reason = model.obstacle(drawn) || await notYet(page, drawn);
  if (model !== page.model || !mayMark(page)) return;
  if (reason) page.say(reason);
  else page.commit(model.marking(drawn));
}

export const KEYS = [
  ["← ↑ → ↓", "move (Shift: a little)"], ["+ −", "zoom"],
  ["N P", "next, previous image"], ["F 1", "whole image; 1:1"],
  ["A", "add a nucleus at the cross"], ["Delete", "remove what is chosen, or nearest the cross"],
  ["M", "take the nucleus nearest the cross; M again: put it down there"], ["Z", "undo (Shift+Z: redo)"],
  ["R", "mark a region: drag, or R again at its other corner"], ["W", "mark all that is in view"],
  ["[ ]", "threshold down, up"], ["H", "hide or show the points"],
  ["Esc", "cancel"], ["?", "this help"],
  ["click", "add; on a nucleus: choose it"], ["right click", "remove"],
  ["drag", "move the image; on a nucleus, zoomed in: move it"], ["wheel", "zoom"],
];

const SLIDING = [
  "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown",
];

/** Every key; buttons and fields keep theirs. A slider that was dragged keeps none. */
export function bindKeys(viewer, page) {
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const nearest = () => page.model.still(page.look.chosen) ?? (page.cross() ? page.model.hit(
    ...viewer.center(), 3 * REACH / viewer.frame().scale) : page.model.still(page.look.under));
  const actions = {
    "+": () => viewer.zoom(1.5), "=": () => viewer.zoom(1.5), "-": () => viewer.zoom(1 / 1.5),
    f: () => viewer.fit(), 1: () => viewer.one(),
    z: () => page.undo(), y: () => page.redo(),
    h: () => page.hide(), "[": () => page.nudgeThreshold(-0.01), "]": () => page.nudgeThreshold(0.01),
    a: () => { page.keyboard(true); addAt(page, viewer.center()); },
    m: () => { page.keyboard(true); carry(); },
    r: () => { markByKeys(); },
    w: () => page.markView(),
    Delete: removeNearest, Backspace: removeNearest, x: removeNearest,
    "?": () => page.help(),
    Escape: () => page.leaveOff(),
  };

  function removeNearest() {
    if (unseen(page)) return;
    const hit = nearest();
    if (hit) remove(page, hit);
    else page.say("No nucleus is near the cross.");
  }

  function carry() {
    if (page.blocked() || unseen(page)) return;
    if (page.look.taken) {
      putDown(page, page.look.taken, viewer.center());
      page.mode("");
      return;
    }
    const hit = nearest();
    if (!hit) return page.say("No nucleus is near the cross.");
    page.look.taken = page.look.chosen = hit;
    page.mode("Move the image; M puts the nucleus down at the cross (Esc cancels)");
    page.redraw();
  }

  function markByKeys() {
    if (!page.look.marking) {
      if (!mayMark(page)) return;
      page.keyboard(true);
      page.mark(true);
      page.look.corner = viewer.center();
    } else if (page.look.corner) {
      page.look.drawing = region(page.look.corner, viewer.center(), page.model);
      finishRegion(page);
    }
  }

  document.addEventListener("pointerdown", ({ target }) => {
    if (target.type !== "range") return;
    const release = () => viewer.osd.element.focus({ preventScroll: true });
    document.addEventListener("pointerup", release, { once: true });
  });
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.ctrlKey || event.metaKey || event.altKey) {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
        event.preventDefault();
        if (page.model) event.shiftKey ? page.redo() : page.undo();
      }
      return;
    }
    const field = event.target.closest("input, textarea, select");
    if (field && event.key === "Escape") viewer.osd.element.focus();
    if (field && (field.type !== "range" || SLIDING.includes(event.key))) return;
    if (event.key === "?") return page.help();
    const by = { n: 1, p: -1 }[event.key.toLowerCase()];
    if (by) return page.step(by);
    if (!page.model) return;
    if (event.target.closest("button, a") && ["Enter", " "].includes(event.key)) return;
    if (arrows[event.key]) {
      event.preventDefault();
      const [dx, dy] = arrows[event.key];
      page.keyboard(true);
      if (event.shiftKey) viewer.nudge(dx * 4, dy * 4);
      else viewer.pan(dx * 0.12, dy * 0.12);
      return;
    }
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "z" && event.shiftKey) return page.redo();
    if (actions[key]) {
      event.preventDefault();
      actions[key]();
    }
  });
}
