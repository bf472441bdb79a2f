// SPDX-License-Identifier: Apache-2.0
// The person that a network with lambda finds in a box, from lambda 0 to 1. All steps come in one answer: the slider only draws.
import { $, attempt, fill, post, say } from "./api.js";
import { lambdaColour, View } from "./draw.js";
import { t } from "./words.js";

const LEAST = 0.1;
const view = new View($("lambda-canvas"), { onBox: add });
let page, boxes = [], answer = null, running = null, took = 0, moved = 0;

const model = () => page.models.find((_, number) => $("lambda-model").value === `${number}`); // none where none takes lambda

// The people of one step, as the people schema has them.
function peopleAt(step) {
  const lambda = answer.lambdas[step];
  return answer.keypoints.map((modes, place) => ({
    id: place, lambda, box: answer.boxes[place], colour: lambdaColour(lambda),
    keypoints: Object.fromEntries(answer.points.map((name, point) => [name, modes[step][point]])),
  }));
}

function shownPeople() {
  const show = document.querySelector("[name=lambda-show]:checked").value, last = answer.lambdas.length - 1;
  if (show === "both") return [...peopleAt(0), ...peopleAt(last)];
  if (show === "merged") return answer.merged.map((person) => ({ ...person, colour: lambdaColour(person.lambda ?? 1) }));
  return peopleAt(Math.round(Number($("lambda-slider").value) * last));
}

function draw() {
  const began = performance.now();
  $("lambda-shown").textContent = Number($("lambda-slider").value).toFixed(1);
  const people = answer ? shownPeople() : [];
  view.boxes = answer?.boxes ?? boxes;
  view.layers = [{ people, model: model() ?? page.models[0], options: { threshold: LEAST, limbs: true, points: true } }];
  view.draw();
  moved = (performance.now() - began).toFixed(1);
  describe(people);
}

function describe(people) {
  $("lambda-answer").textContent = answer ? t("sweep-answer", answer.boxes.length, answer.lambdas.length, took, moved) : "";
  $("lambda-canvas").ariaLabel = t("shown", people.length);
  $("lambda-canvas").dataset.moved = moved;
}

async function take(given) {
  boxes = given;
  $("lambda-boxes").value = boxes.map((box) => box.join(",")).join("; ");
  await compute();
}

// A call in place of the one at work.
function begin() {
  running?.abort();
  running = new AbortController();
  say(t("working"));
  return running.signal;
}

async function compute() {
  if (!page.image || !model()) return;
  const signal = begin();
  await attempt(async () => {
    const began = performance.now();
    const words = { model: $("lambda-model").value, boxes: boxes.length ? JSON.stringify(boxes) : null };
    answer = await (await post("sweep", words, page.image.blob, signal)).json();
    took = Math.round(performance.now() - began);
    $("lambda-slider").disabled = false;
    say("");
    draw();
  });
}

// Boxes of the people that another model finds, of the detector, by hand, or the whole image.
async function fromSource() {
  const source = $("lambda-source").value;
  if (source === "hand" || !page.image) return;
  if (source === "whole") return take([]);
  const words = { models: source.slice(1), name: page.image.name }, signal = begin();
  await attempt(async () => {
    const [found] = (await (await post("people", words, page.image.blob, signal)).json()).answers;
    await take(found.line.people.map((person) => person.box));
  });
}

// A box drawn by hand joins others drawn by hand; those of a model go.
function add(box) {
  const others = $("lambda-source").value === "hand" ? boxes : [];
  $("lambda-source").value = "hand";
  take([...others, box]);
}

function typed() {
  const found = $("lambda-boxes").value.split(";").map((box) => box.split(",").map(Number)).filter((box) => box.length === 4);
  $("lambda-source").value = "hand";
  if (found.length && found.flat().every(Number.isFinite)) take(found);
}

async function show() {
  if (!model()) return say(t("no-lambda"), true);
  if (!page.image) return;
  [answer, boxes] = [null, []];
  view.show(page.image.bitmap);
  draw();
  await ($("lambda-source").value === "hand" ? compute() : fromSource());
}

function clear() {
  running?.abort();
  $("lambda-source").value = "hand";
  $("lambda-boxes").value = "";
  [answer, boxes] = [null, []];
  say("");
  draw();
}

function sources() {
  const others = [...page.models.keys()].filter((number) => !page.models[number].boxes || page.models[number].detector);
  const names = others.map((number) => page.models[number].detector
    ? t("detected", page.models[number].detector) : t("people-of", page.names[number]));
  fill($("lambda-source"), [t("whole-image"), t("by-hand"), ...names], ["whole", "hand", ...others.map((number) => `m${number}`)]);
}

export function open(state) {
  page = state;
  const able = [...page.models.keys()].filter((number) => page.models[number].lambda);
  fill($("lambda-model"), able.map((number) => page.names[number]), able);
  sources();
  $("lambda-source").selectedIndex = Math.min(2, $("lambda-source").options.length - 1); // people of another model, where there are
  $("lambda-slider").addEventListener("input", () => { document.querySelector("[name=lambda-show]").checked = true; draw(); });
  for (const radio of document.querySelectorAll("[name=lambda-show]")) radio.addEventListener("change", draw);
  $("lambda-model").addEventListener("change", compute);
  $("lambda-source").addEventListener("change", fromSource);
  $("lambda-boxes").addEventListener("change", typed);
  $("lambda-clear").addEventListener("click", clear);
  return { show, view, hide: () => running?.abort(), translate: () => { sources(); draw(); } };
}
