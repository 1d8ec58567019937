// What went wrong, above the image: edits that are lost or wait, and a silent server.

import { $, plural } from "./elements.js";

/** Shows the gravest fault, or none; `load(key)` shows an image as it is on disk. */
export function showNotices({ refusals, waiting, fault }, lost, load) {
  if (refusals.length) {
    const { model, error, edits } = refusals[0];
    const what = `${edits === 1 ? "your last edit was" : `your last ${edits} edits were`} not saved`;
    banner(error.status === 409
      ? `${model.name} was changed in another tab or by another program: ${what}.`
      : `${model.name}: ${what}: ${error.message}`,
    () => {
      refusals.shift();
      load(model.key);
    });
  } else if (fault) {
    const why = fault.status === 403
      ? "the server was started again; open its new address in another tab."
      : `${fault.message}.`;
    banner(`${plural(waiting, "edit")} not saved yet: ${why} Keep this page open: they are sent as soon as the server takes them.`);
  } else {
    banner(lost?.message ?? "");
  }
}

function banner(text, load = null) {
  const [said, button] = $("banner").children;
  $("banner").hidden = !text;
  said.textContent = text;
  button.hidden = !load;
  button.textContent = load ? "Load what is on disk" : "";
  button.onclick = load;
}
