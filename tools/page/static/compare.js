// SPDX-License-Identifier: Apache-2.0
// The same image through all models: times, people, and how far their keypoints lie apart.
import { $, attempt, fill, post, say } from "./api.js";
import { FIRST, SECOND, View } from "./draw.js";
import { t } from "./words.js";

const LEAST = 0.1; // score of a keypoint, from where it counts
const view = new View($("compare-canvas"));
let page, answers = [], running = null;

const common = (a, b) => Object.keys(a.keypoints).filter((name) => a.keypoints[name][2] > LEAST && b.keypoints[name]?.[2] > LEAST);
const apart = ([x, y], [u, v]) => Math.hypot(x - u, y - v);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// Distances of all common keypoints of people who fit together, the nearest pairs first.
export function distances(people, others) {
  const pairs = people.flatMap((a, i) => others.map((b, j) => {
    const found = common(a, b).map((name) => apart(a.keypoints[name], b.keypoints[name]));
    return { i, j, found, cost: found.length ? mean(found) : Infinity };
  })).filter(({ i, cost }) => cost < Math.max(10, 0.5 * Math.hypot(people[i].box[2], people[i].box[3])));
  pairs.sort((a, b) => a.cost - b.cost);
  const [rows, columns] = [new Set(), new Set()];
  return pairs.filter(({ i, j }) => !rows.has(i) && !columns.has(j) && rows.add(i) && columns.add(j)).flatMap(({ found }) => found);
}

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

function draw() {
  const options = { threshold: LEAST, limbs: true, points: true };
  const layer = (id, colour) => {
    const answer = answers[Number($(id).value)];
    return answer ? [{ people: answer.line.people, model: page.models[answer.model], options: { ...options, colour } }] : [];
  };
  view.layers = [...layer("first", FIRST), ...($("first").value === $("second").value ? [] : layer("second", SECOND))];
  view.draw();
  const first = answers[Number($("first").value)];
  $("compare-table").tBodies[0].replaceChildren(...answers.map((answer) => row(answer, first)));
}

function row(answer, first) {
  const { seconds, line } = answer, line_ = document.createElement("tr");
  const far = answer === first ? [] : distances(first.line.people, line.people);
  const cells = [page.names[answer.model], line.people.length,
    ...["preprocessing", "network", "decoding"].map((part) => (1000 * seconds[part]).toFixed(1)),
    far.length ? mean(far).toFixed(2) : "–", far.length ? median(far).toFixed(2) : "–"];
  line_.replaceChildren(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
  return line_;
}

async function asked(numbers, boxes, signal) {
  if (!numbers.length) return [];
  const words = { models: numbers.join(","), name: page.image.name, boxes: boxes?.length ? JSON.stringify(boxes) : null };
  return (await (await post("people", words, page.image.blob, signal)).json()).answers;
}

async function show() {
  if (!page.image) return;
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  answers = [];
  $("compare-table").tBodies[0].replaceChildren();
  view.show(page.image.bitmap);
  say(t("working"));
  await attempt(async () => {
    const numbers = [...page.models.keys()], top = numbers.filter((number) => page.models[number].boxes);
    const found = await asked(numbers.filter((number) => !page.models[number].boxes), null, signal);
    const boxes = $("compare-boxes").checked ? found[0]?.line.people.map((person) => person.box) : null;
    found.push(...await asked(top, boxes, signal));
    answers = found.sort((a, b) => a.model - b.model);
    say("");
    $("compare-canvas").ariaLabel = t("shown", answers.map(({ line }) => line.people.length).join(", "));
    draw();
  });
}

export function open(state) {
  page = state;
  for (const id of ["first", "second"]) {
    fill($(id), page.names);
    $(id).addEventListener("change", draw);
  }
  $("second").selectedIndex = Math.min(1, page.models.length - 1);
  $("compare-boxes").addEventListener("change", show);
  return { show, view, hide: () => running?.abort() };
}
