// The card for fine-tuning: begin, watch, stop, resume, compare, use.

import { $, make, number, plural, prepared } from "./elements.js";
import { post } from "./server.js";

let shown = "";

export function bindTuning(page) {
  const act = async (values) => {
    try {
      await page.saved();
      await post("api/tune", values);
      await page.refresh();
    } catch (error) {
      page.say(error.message);
    }
  };
  $("tune-begin").addEventListener("click", () => act({ do: "begin", steps: $("steps").valueAsNumber }));
  $("tune-stop").addEventListener("click", () => {
    $("tune-stop").disabled = true;
    act({ do: "stop" });
  });
  $("tune-resume").addEventListener("click", () => act({ do: "resume" }));
  $("use-run").addEventListener("click", async () => {
    await act({ do: "use", run: page.state.tuning.run });
    page.detect();
  });
  $("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText($("command").textContent);
    page.say("Copied.");
  });
  $("result-pictures").addEventListener("click", (event) => {
    const image = event.target.closest("button")?.querySelector("img");
    if (!image) return;
    $("picture").querySelector("img").src = image.src;
    $("picture").showModal();
  });
}

export function showTuning(state) {
  const tuning = state.tuning;
  const corrected = state.images.filter((image) => image.regions);
  const regions = corrected.reduce((sum, image) => sum + image.regions, 0);
  const running = tuning.state === "running";
  $("tune-begin").disabled = running || !regions || Boolean(state.unlisted);
  $("tune-index").hidden = !regions || !state.unlisted;
  $("tune-index").textContent = state.unlisted;
  $("tune-ready").textContent = regions
    ? `${plural(regions, "region")} in ${plural(corrected.length, "image")}.`
      + (regions < 3 ? " Three are needed to hold one out: there will be no score." : "")
      + (running ? "" : " 300 steps take 2 to 5 minutes on two CPU cores.")
    : "Mark a corrected region first. From three regions on, some are held out and give a score.";
  const now = JSON.stringify([tuning, state.weights]);
  if (now === shown) return;
  shown = now;
  const begun = tuning.state !== "none";
  $("tune-live").hidden = !begun || tuning.state === "done";
  $("tune-stop").hidden = !running;
  $("tune-stop").disabled = false;
  $("tune-resume").hidden = !["stopped", "failed"].includes(tuning.state);
  $("tune-fault").hidden = tuning.state !== "failed";
  $("tune-fault").textContent = tuning.line ?? "";
  $("command-block").hidden = !begun;
  if (begun) {
    $("command").textContent = tuning.command;
    $("run-path").textContent = tuning.folder;
    progress(tuning);
  }
  $("tune-result").hidden = tuning.state !== "done";
  if (tuning.state === "done") result(tuning, state);
}

function progress(tuning) {
  const records = tuning.records ?? [];
  const last = records.length ? records[records.length - 1].step : 0;
  const bar = $("tune-bar");
  const steps = tuning.steps ?? 0;
  if (last) bar.value = last / Math.max(steps, 1);
  else if (tuning.state === "running") bar.removeAttribute("value");
  else bar.value = 0;
  const rate = records.findLast((record) => record.steps_per_second)?.steps_per_second;
  const left = rate && steps > last ? `, ${minutes((steps - last) / rate)} left` : "";
  const finishing = last >= steps && last ? ", scoring" : "";
  $("tune-text").textContent = tuning.state === "running"
    ? last ? `${number(last)} of ${number(steps)}${left}${finishing}` : "starting, about 1 min"
    : `${tuning.state} at step ${number(last)} of ${number(steps)}`;
  course(records, steps);
}

const minutes = (seconds) => (seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`);

/** Loss and validation F1 so far. */
function course(records, steps) {
  const { context, width, height } = prepared($("course"));
  const losses = records.filter((record) => Number.isFinite(record.loss));
  const scores = records.filter((record) => Number.isFinite(record.val_f1));
  const left = 4, right = width - 34, top = 8, bottom = height - 6;
  const x = (step) => left + (step / Math.max(steps, 1)) * (right - left);
  context.strokeStyle = "#d8dee4";
  context.strokeRect(left + 0.5, top - 3.5, right - left, bottom - top + 4);
  context.font = "11px sans-serif";
  context.fillStyle = "#5b6875";
  const most = Math.max(...losses.map((record) => record.loss), 1e-9);
  const down = (share) => bottom - share * (bottom - top);
  context.strokeStyle = "#0b5c94";
  context.lineWidth = 2;
  context.beginPath();
  losses.forEach(({ step, loss }, i) => context[i ? "lineTo" : "moveTo"](x(step), down(loss / most)));
  context.stroke();
  for (const { step, val_f1: score } of scores) {
    context.save();
    context.translate(x(step), down(score));
    context.rotate(Math.PI / 4);
    context.fillStyle = "#c66a00";
    context.fillRect(-3.5, -3.5, 7, 7);
    context.restore();
  }
  context.fillStyle = "#c66a00";
  const last = scores[scores.length - 1];
  if (last) context.fillText(last.val_f1.toFixed(2), right + 5, down(last.val_f1) + 4);
}

const NAMES = {
  base: "before",
  "base, threshold re-chosen": "threshold re\u2011chosen", // one word
};

function result(tuning, state) {
  const { report } = tuning;
  const held = report.part === "test";
  const used = state.weights.endsWith(tuning.folder);
  $("use-run").disabled = used;
  $("use-run").textContent = used ? "In use" : "Use this network";
  const about = `${plural(report.images, "region")} with ${number(report.nuclei)} nuclei`;
  $("result-note").textContent = held
    ? `On ${about} that training never saw${report.caveat ? "; but " + report.caveat : ""}:`
    : report.part === "validation"
      ? `Nothing but the part that chose step and threshold was held out (${about}): the true figures are lower.`
      : "Nothing was held out, so there is no score: three corrected regions or more give one.";
  const table = $("result-table");
  table.hidden = !["test", "validation"].includes(report.part);
  const rows = table.hidden ? [] : [...Object.entries(report.compared), [report.detector, report]];
  const f1 = ([, entry]) => entry.radius_px["12"].f1 ?? 0;
  const best = rows.reduce((most, row) => Math.max(most, f1(row)), 0);
  const worse = rows.length > 0 && f1(rows[rows.length - 1]) < best;
  const untouched = rows.some((row) => row[0] === "base" && f1(row) > 0.9995);
  $("use-note").textContent = used
    ? "The images are searched anew with it; your points and regions stay."
    : (untouched ? "These regions hold no correction (before found just these nuclei), so no gain can show. "
      : worse ? "It does no better here than what you have: correct more regions first. " : "")
      + "If you use it, the images are searched anew; your points and regions stay.";
  if (rows.length) {
    const cells = (values, tag = "td") => values.map((value) => make(tag, { textContent: value }));
    table.replaceChildren(
      make("tr", {}, ...cells(["within 3 µm", "F1", "precision", "recall"], "th")),
      ...rows.map(([name, entry]) => {
        const at = entry.radius_px["12"];
        const values = [at.f1, at.precision, at.recall].map((value) => value?.toFixed(3) ?? "–");
        return make("tr", { className: f1([name, entry]) === best ? "best" : "" },
          ...cells([NAMES[name] ?? name, ...values]));
      }));
  }
  $("result-pictures").replaceChildren(...tuning.pictures.map((name) => {
    const path = `api/runs/${tuning.run}/${name}`;
    return make("button", { title: name.replace(/_|\.png/g, " ") },
      make("img", { src: path, alt: name.replace(".png", "") }));
  }));
}
