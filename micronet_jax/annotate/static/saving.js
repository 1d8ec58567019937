// Sends every edit at once, one after the other, and keeps what could not be sent.

import { passes, post } from "./server.js";

const AGAIN = 2000; // milliseconds until the next try
const TRIES = 3; // of an edit at which the server itself fails: others wait behind it

export class Saving {
  /** `told()` hears of every change. */
  constructor(told) {
    this.told = told;
    this.queue = [];
    this.busy = false;
    this.fault = null; // why the first waits
    this.failed = 0; // how often the server failed at it
    this.refusals = []; // {model, error, edits}: lost, until somebody was told
  }

  get waiting() {
    return this.queue.length;
  }

  send(model, change) {
    this.queue.push({ model, change });
    this.work();
  }

  /** Resolves when no edit waits: of the image of a key, or of any. */
  async saved(key = null) {
    while (this.queue.some(({ model }) => key === null || model.key === key)) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async work() {
    if (this.busy) return;
    this.busy = true;
    while (this.queue.length) {
      this.told();
      const { model, change } = this.queue[0];
      const { before, ...sent } = change;
      try {
        const said = await post(`api/images/${model.key}/edit`, { ...sent, revision: model.history.revision });
        model.history.revision = said.revision;
        this.queue.shift();
        this.fault = null;
        this.failed = 0;
      } catch (error) {
        this.failed += error.status === 500;
        if (!passes(error) || this.failed >= TRIES) {
          this.refuse(model, error);
        } else {
          this.fault = error;
          this.told();
          await new Promise((resolve) => setTimeout(resolve, AGAIN));
        }
      }
    }
    this.busy = false;
    this.told();
  }

  /** Lets go of what was done to an image since; it is shown anew as it is on disk. */
  refuse(model, error) {
    const kept = this.queue.filter((each) => each.model !== model);
    this.refusals.push({ model, error, edits: this.queue.length - kept.length });
    this.queue = kept;
    this.fault = null;
    this.failed = 0;
    model.refused = error;
    model.history.revision = null; // on disk is another state than it leads to
  }
}
