// Sends every edit at once, one after the other, and keeps what could not be sent.

import { post } from "./server.js";

export class Saving {
  /** `told({waiting, fault, outdated})` hears of every change. */
  constructor(told) {
    this.told = told;
    this.queue = [];
    this.busy = false;
    this.fault = null;
  }

  get waiting() {
    return this.queue.length;
  }

  send(model, change) {
    this.queue.push({ model, change });
    this.work();
  }

  async work() {
    if (this.busy) return;
    this.busy = true;
    while (this.queue.length) {
      this.tell();
      const { model, change } = this.queue[0];
      const { before, ...sent } = change;
      try {
        const said = await post(`api/images/${model.key}/edit`, { ...sent, revision: model.revision });
        model.revision = said.revision;
        this.queue.shift();
        this.fault = null;
      } catch (error) {
        this.fault = error;
        if (error.status === 0) {
          this.tell();
          await new Promise((resolve) => setTimeout(resolve, 2000));
          continue;
        }
        // It cannot be saved: the image is shown anew as it is on disk.
        this.queue = this.queue.filter((each) => each.model !== model);
        model.refused = error;
        break;
      }
    }
    this.busy = false;
    this.tell();
    if (this.queue.length) this.work();
  }

  tell() {
    this.told({ waiting: this.queue.length, fault: this.fault });
  }
}
