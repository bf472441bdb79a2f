// SPDX-License-Identifier: Apache-2.0
// The browser's camera: the newest frame goes to the server as soon as the answer to the one before is there.
import { $, attempt, fill, post, say } from "./api.js";
import { View } from "./draw.js";
import { t } from "./words.js";

const LONGEST = 640, QUALITY = 0.85, COUNTED = 30; // pixels of a frame, of JPEG, answers that the rate is taken of
const FIRST_MS = 5000; // until the first frame
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const view = new View($("camera-canvas"));
let page, stream = null;

async function start() {
  const opened = await navigator.mediaDevices?.getUserMedia({ video: { width: { ideal: LONGEST } } }).catch(() => null);
  if (!opened) return say(t("no-camera"), true);
  stream = opened;
  $("camera-start").disabled = true;
  $("camera-stop").disabled = false;
  say("");
  const player = Object.assign(document.createElement("video"), { srcObject: stream, muted: true, playsInline: true });
  await player.play();
  if (!(await hasFrames(player))) say(t("no-camera"), true);
  else await attempt(() => loop(player, opened, crypto.getRandomValues(new Uint32Array(2)).join("-")));
  stop();
}

// Whether true frames come: before the first one Chromium shows one of two pixels.
async function hasFrames(player) {
  for (let waited = 0; waited < FIRST_MS && player.videoWidth <= 2; waited += 50) await pause(50);
  return player.videoWidth > 2;
}

async function loop(player, mine, session) {
  const began = performance.now(), times = [];
  const next = async () => {
    const taken = performance.now(), { frame, blob } = await grab(player);
    const words = { model: $("camera-model").value, session, time: ((taken - began) / 1000).toFixed(4), smooth: Number($("camera-smooth").checked) };
    return { taken, frame, answer: await answered(words, blob) };
  };
  for (let coming = next(); stream === mine;) {
    const { taken, frame, answer } = await coming;
    if (stream !== mine) return;
    coming = next(); // on its way while this one is drawn
    if (!answer) continue;
    show(frame, answer);
    times.push(performance.now());
    if (times.length > COUNTED) times.shift();
    const rate = times.length > 1 ? (1000 * (times.length - 1)) / (times.at(-1) - times[0]) : 0;
    $("camera-answer").textContent = t("rate", rate.toFixed(1), Math.round(performance.now() - taken), answer.line.people.length);
    Object.assign($("camera-canvas").dataset, { rate: rate.toFixed(2), ids: answer.line.people.map((person) => person.id).join(",") });
  }
}

async function answered(words, blob) {
  try {
    return await (await post("camera", words, blob)).json();
  } catch (error) {
    if (error.status !== 503) throw error;
    await pause(500);
    return null;
  }
}

async function grab(player) {
  const scale = Math.min(1, LONGEST / Math.max(player.videoWidth, player.videoHeight));
  const frame = document.createElement("canvas");
  [frame.width, frame.height] = [Math.round(player.videoWidth * scale), Math.round(player.videoHeight * scale)];
  frame.getContext("2d").drawImage(player, 0, 0, frame.width, frame.height);
  return { frame, blob: await new Promise((resolve) => frame.toBlob(resolve, "image/jpeg", QUALITY)) };
}

function show(frame, { line }) {
  if (view.image?.width !== frame.width || view.image?.height !== frame.height) view.show(frame);
  view.image = frame;
  const options = { threshold: 0.1, limbs: true, points: true, ids: $("camera-ids").checked };
  view.layers = [{ people: line.people, model: page.models[Number($("camera-model").value)], options }];
  view.draw();
  $("camera-canvas").ariaLabel = t("shown", line.people.length);
}

function stop() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  $("camera-start").disabled = false;
  $("camera-stop").disabled = true;
}

export function open(state) {
  page = state;
  fill($("camera-model"), page.names);
  $("camera-start").addEventListener("click", start);
  $("camera-stop").addEventListener("click", stop);
  return { show: () => {}, view, hide: stop };
}
