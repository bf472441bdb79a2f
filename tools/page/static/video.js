// SPDX-License-Identifier: Apache-2.0
// A video as a job: its lines arrive while it runs, and lie as skeletons over the playing video.
import { $, ask, attempt, fill, follow, post, say } from "./api.js";
import { drawPeople, thickness } from "./draw.js";
import { save } from "./saving.js";
import { shellName } from "./image.js";
import { t, translated } from "./words.js";

let page, file = null, job = sessionStorage.getItem("job"), sending = null, lines = [], total = 0;
let own = true; // the player shows the chosen file, with people drawn over it; else the annotated video

function choose(given) {
  if ($("video-file").disabled) return say(t("busy"), true);
  file = given;
  lines = [];
  own = true;
  $("video-player").src = URL.createObjectURL(file);
  $("video-start").disabled = false;
  $("video-answer").textContent = file.name;
  return draw(); // without the people of the video before
}

async function start() {
  if (file.size > page.limits.video_bytes) return say(t("too-large", page.limits.video_bytes / 1e6), true);
  say(t("sending"));
  job = null;
  busy(true);
  await attempt(async () => {
    if (!await send()) return;
    say("");
    const model = page.models[Number($("video-model").value)];
    $("video-command").value = `${model.command} --source=${shellName(file.name)} --output_dir=people`;
    await watch();
  });
  busy(false);
}

// Sends the video; false if that was cancelled. The id is chosen here: what was cancelled may have arrived, answer on its way.
async function send() {
  const id = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  sending = new AbortController();
  try {
    await post("jobs", { model: $("video-model").value, name: file.name, id }, file, sending.signal);
  } catch (error) {
    if (error.name !== "AbortError") throw error;
    await ask(`jobs/${id}`, {}, { method: "DELETE" }).catch(() => {});
    return false;
  }
  job = id;
  sessionStorage.setItem("job", job);
  return true;
}

async function watch() {
  [lines, total] = [[], 0];
  await follow(`jobs/${job}/events`, take);
}

// The job that ran when the page was reloaded, if the server still has it.
async function resume() {
  own = false;
  busy(true);
  await watch().catch(() => { job = null; });
  busy(false);
}

function cancel() {
  if (job) return attempt(() => ask(`jobs/${job}`, {}, { method: "DELETE" }));
  sending.abort();
  return say("");
}

function busy(is) {
  $("video-start").disabled = is || !file;
  $("video-file").disabled = is;
  $("video-cancel").disabled = !is;
  for (const button of document.querySelectorAll("[data-result]")) button.disabled = is || !job;
}

function take(kind, content) {
  if (kind === "about") total = content.frames ?? 0;
  if (kind === "line") {
    lines.push(content);
    $("video-progress").value = total ? lines.length / total : 0;
    $("video-answer").textContent = t("frames", lines.length, total || "?", content.people.length);
    if (lineAt(lines, $("video-player").currentTime) === content) draw(); // the people of the frame on screen have arrived
    for (const button of document.querySelectorAll("[data-result]")) button.disabled = false;
  }
  if (kind === "state") ended(content);
}

async function ended({ state, error }) {
  if (error) say(translated(error), true);
  else if (state === "done" && lines.length < total) say(t("short", lines.length, total), true);
  $("video-answer").textContent = state === "failed" ? file?.name ?? "" : t(state, lines.length);
  $("video-progress").value = 1;
  if (!own && lines.length) $("video-player").src = URL.createObjectURL(await (await ask(`jobs/${job}/people.webm`)).blob());
  draw();
}

// The line of the frame that is shown at a time: the last one that begins before it.
export function lineAt(found, time) {
  let [low, high] = [0, found.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (found[middle].time_s <= time + 1e-3) low = middle + 1;
    else high = middle;
  }
  return found[low - 1];
}

function draw(_, frame) {
  const canvas = $("video-canvas"), player = $("video-player");
  const line = own ? lineAt(lines, frame?.mediaTime ?? player.currentTime) : null;
  const scale = line ? Math.min(player.clientWidth / line.width, player.clientHeight / line.height) * devicePixelRatio : 1;
  [canvas.width, canvas.height] = line ? [Math.round(line.width * scale), Math.round(line.height * scale)] : [1, 1];
  if (line) {
    const options = { threshold: 0.1, limbs: true, points: true, ids: true };
    const model = page.models[Number($("video-model").value)], context = canvas.getContext("2d");
    context.scale(scale, scale);
    drawPeople(context, line.people, model, options, thickness(line.width, line.height));
    canvas.ariaLabel = t("shown", line.people.length);
    canvas.dataset.frame = line.frame;
  }
}

function everyFrame(now, frame) {
  draw(now, frame);
  $("video-player").requestVideoFrameCallback?.(everyFrame);
}

export function open(state) {
  page = state;
  fill($("video-model"), page.names);
  $("video-file").addEventListener("change", (event) => event.target.files[0] && choose(event.target.files[0]));
  $("video-start").addEventListener("click", start);
  $("video-cancel").addEventListener("click", cancel);
  $("video-player").addEventListener("error", () => { own = false; });
  $("video-player").addEventListener("seeked", () => draw());
  $("video-player").requestVideoFrameCallback?.(everyFrame);
  for (const button of document.querySelectorAll("[data-result]")) {
    button.addEventListener("click", () => attempt(async () => {
      const { result } = button.dataset;
      save(await (await ask(`jobs/${job}/${result}`)).blob(), result);
    }));
  }
  if (job) resume();
  return { show: () => {}, choose };
}
