// Small helpers around the document. Names from files are only ever set as text.

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; texts stay texts. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export const number = (value) => value.toLocaleString("en");

export const plural = (n, word, words = `${word}s`) => `${number(n)} ${n === 1 ? word : words}`;

/** A canvas made ready to draw on, in CSS pixels. */
export function prepared(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = Number(canvas.getAttribute("data-height") ?? canvas.getAttribute("height"));
  if (!canvas.dataset.height) canvas.dataset.height = height;
  canvas.style.height = `${height}px`;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width, height };
}
