// Asks the server, and says in one sentence what went wrong.

const FINAL = [400, 404, 409, 413]; // the server's no to what was asked

/** Whether what failed may succeed later: no answer, another token, a fault of the server. */
export const passes = (error) => !FINAL.includes(error.status);

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new Refused(0, "the server does not answer (is micronet annotate still running?)");
  }
  if (answer.ok) return answer;
  const text = await answer.text();
  let message = text;
  try {
    message = JSON.parse(text).error;
  } catch {
    // plain text: who is not let in
  }
  throw new Refused(answer.status, message);
}

export const get = async (path) => (await ask(path)).json();

export const post = async (path, values) =>
  (await ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(values),
  })).json();

/** Detections from the `first`-th on, if the network is still the same. */
export async function detections(key, first, of) {
  const path = `api/images/${key}/detections?from=${first}&of=${of}`;
  const answer = await ask(path);
  const said = (name) => answer.headers.get(`x-${name}`);
  return {
    rows: new Float32Array(await answer.arrayBuffer()),
    first: Number(said("from")),
    of: said("of"),
    done: Number(said("done")),
    total: Number(said("total")),
    threshold: Number(said("threshold")),
  };
}
