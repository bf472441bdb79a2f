// SPDX-License-Identifier: Apache-2.0
// The frame of the page: tabs, language, and where images come from.
import { $, ask, attempt, say, setToken } from "./api.js";
import * as camera from "./camera.js";
import * as compare from "./compare.js";
import * as image from "./image.js";
import * as lambda from "./lambda.js";
import { speak, spoken, t, translate } from "./words.js";
import * as video from "./video.js";

const MODULES = { image, compare, lambda, video, camera };
const page = { models: [], names: [], image: null, limits: {} };
const parts = {};
let current = "image";

async function start() {
  const state = await (await ask("state")).json();
  Object.assign(page, state);
  page.names = page.models.map((model, place) => `${page.models.length > 1 ? `${place + 1} ` : ""}${model.name}, ${model.file}`);
  $("token-form").hidden = true;
  for (const [name, module] of Object.entries(MODULES)) parts[name] = module.open(page);
  await offerSamples(state.samples);
}

async function offerSamples(count) {
  const buttons = await Promise.all([...Array(count).keys()].map(async (number) => {
    const blob = await (await ask(`samples/${number}`)).blob();
    const button = document.createElement("button");
    button.append(Object.assign(new Image(), { src: URL.createObjectURL(blob), alt: t("sample", number + 1) }));
    button.addEventListener("click", () => take(blob, `sample_${number + 1}.jpg`));
    return button;
  }));
  $("samples").replaceChildren(...buttons);
}

async function take(blob, name) {
  if (blob.type.startsWith("video/") || /\.(mkv|avi|mov)$/i.test(name)) {
    select("video");
    return parts.video.choose(blob instanceof File ? blob : new File([blob], name));
  }
  if (blob.size > page.limits.image_bytes) return say(t("too-large", page.limits.image_bytes / 1e6), true);
  // What the browser cannot show, or should not decode, goes to the server all the same, which knows why.
  const bitmap = (await pixelsOf(blob)) <= page.limits.image_pixels ? await createImageBitmap(blob).catch(() => null) : null;
  if (!bitmap) return attempt(async () => {
    await ask("people", { name }, { method: "POST", body: blob });
    throw new Error(t("not-shown"));
  });
  page.image = { blob, name, bitmap };
  if (!["image", "compare", "lambda"].includes(current)) select("image");
  else await parts[current].show();
}

// Of an image, before it is decoded; 0 for another file.
async function pixelsOf(blob) {
  const image = new Image(), loaded = new Promise((resolve) => { image.onload = image.onerror = resolve; });
  image.src = URL.createObjectURL(blob);
  await loaded;
  URL.revokeObjectURL(image.src);
  return image.naturalWidth * image.naturalHeight;
}

function select(name) {
  parts[current]?.hide?.();
  current = name;
  for (const tab of $("tabs").children) {
    const is = tab.id === `tab-${name}`;
    tab.ariaSelected = is;
    tab.tabIndex = is ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !is;
  }
  $("source").hidden = ["video", "camera"].includes(name);
  say("");
  parts[name]?.show();
}

function tabKeys(event) {
  const tabs = [...$("tabs").children], at = tabs.indexOf(document.activeElement);
  const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (next === undefined) return;
  const tab = tabs[(next + tabs.length) % tabs.length];
  tab.focus();
  tab.click();
  event.preventDefault();
}

function listen() {
  for (const tab of $("tabs").children) tab.addEventListener("click", () => select(tab.id.slice(4)));
  $("tabs").addEventListener("keydown", tabKeys);
  $("file").addEventListener("change", ({ target }) => target.files[0] && take(target.files[0], target.files[0].name));
  $("language").addEventListener("change", ({ target }) => {
    speak(target.value);
    for (const part of Object.values(parts)) part.translate?.();
  });
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken($("token").value.trim());
    attempt(start);
  });
  addEventListener("paste", ({ clipboardData }) => {
    const [file] = clipboardData.files;
    if (file) take(file, file.name);
  });
  addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
  addEventListener("dragleave", () => document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  });
}

translate();
$("language").value = spoken();
listen();
select("image");
await attempt(start);
document.documentElement.dataset.ready = "yes";
