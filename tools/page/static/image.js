// SPDX-License-Identifier: Apache-2.0
// One image through one model: people, maps, downloads.
import { $, attempt, fill, post, say } from "./api.js";
import { View } from "./draw.js";
import { annotated, asJson, coco, save, table } from "./saving.js";
import { t } from "./words.js";

const view = new View($("image-canvas"));
let page, answer = null, running = null;

const options = () => ({
  threshold: Number($("threshold").value), limbs: $("show-limbs").checked, points: $("show-points").checked,
  ids: $("show-ids").checked, boxes: $("show-boxes").checked,
});
const chosen = () => page.models[Number($("image-model").value)];
const milliseconds = (seconds) => (1000 * seconds).toFixed(1);

export function summary({ seconds, line }) {
  const parts = [seconds.preprocessing, seconds.network, seconds.decoding];
  return t("found-parts", line.people.length, milliseconds(parts.reduce((a, b) => a + b)), ...parts.map(milliseconds));
}

export function shellName(name) {
  return /^[\w.\/-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}

function draw() {
  $("threshold-shown").textContent = Number($("threshold").value).toFixed(2);
  view.layers = answer ? [{ people: answer.line.people, model: chosen(), options: options() }] : [];
  view.draw();
}

function take(found) {
  answer = found;
  for (const button of document.querySelectorAll("[data-save]")) button.disabled = !answer;
  describe();
}

function describe() {
  $("image-answer").textContent = answer ? summary(answer) : "";
  if (answer) $("image-canvas").ariaLabel = t("shown", answer.line.people.length);
}

async function show() {
  if (!page.image) return;
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  take(null);
  view.show(page.image.bitmap);
  say(t("working"));
  await attempt(async () => {
    const model = $("image-model").value;
    const found = await post("people", { models: model, name: page.image.name }, page.image.blob, signal);
    take((await found.json()).answers[0]);
    say("");
    $("image-command").value = `${chosen().command} --images ${shellName(page.image.name)} --output_dir=people`;
    draw();
    await showMaps();
  });
}

async function showMaps() {
  const kind = $("maps").value;
  view.overlay = null;
  if (kind && page.image) {
    const boxes = chosen().boxes && answer?.line.people.length ? JSON.stringify(answer.line.people.map(({ box }) => box)) : null;
    const words = { model: $("image-model").value, kind, channel: $("channel").value, boxes };
    const found = await attempt(() => post("overlay", words, page.image.blob));
    if (found) {
      view.overlay = await createImageBitmap(await found.blob());
      say("");
    }
  }
  view.draw();
  $("image-canvas").dataset.maps = kind;
}

function fillChannels() {
  const { points, limbs } = chosen();
  const names = $("maps").value === "pafs" ? limbs.map((limb) => limb.join(" – ")) : points;
  fill($("channel"), [t("all"), ...names], ["", ...names.keys()]);
  $("maps").querySelector("[value=pafs]").disabled = !limbs.length;
}

async function saved(kind) {
  const { line } = answer, stem = line.source.replace(/\.[^.]*$/, "");
  if (kind === "json") save(asJson(line), `${stem}.people.json`);
  if (kind === "csv") save(new Blob([table(line)], { type: "text/csv" }), `${stem}.people.csv`);
  if (kind === "coco") save(asJson(coco(line, chosen())), `${stem}.coco.json`);
  if (kind === "png") save(await annotated(page.image.bitmap, line.people, chosen(), options()), `${stem}.people.png`);
}

export function open(state) {
  page = state;
  fill($("image-model"), page.names);
  fillChannels();
  for (const id of ["threshold", "show-limbs", "show-points", "show-ids", "show-boxes"]) $(id).addEventListener("input", draw);
  $("image-model").addEventListener("change", () => { fillChannels(); show(); });
  $("maps").addEventListener("change", () => { fillChannels(); showMaps(); });
  $("channel").addEventListener("change", showMaps);
  $("zoom-in").addEventListener("click", () => view.change(1.25));
  $("zoom-out").addEventListener("click", () => view.change(0.8));
  $("zoom-reset").addEventListener("click", () => view.change(1e-9));
  for (const button of document.querySelectorAll("[data-save]")) button.addEventListener("click", () => saved(button.dataset.save));
  return { show, view, hide: () => running?.abort(), translate: () => { fillChannels(); describe(); } };
}
