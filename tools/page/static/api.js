// SPDX-License-Identifier: Apache-2.0
// Requests to the server, and the line that says how they went.
import { t, translated } from "./words.js";

export const $ = (id) => document.getElementById(id);

let token = sessionStorage.getItem("token") ?? "";
if (location.hash.startsWith("#token=")) setToken(decodeURIComponent(location.hash.slice(7)));

export function setToken(given) {
  token = given;
  sessionStorage.setItem("token", token);
  history.replaceState(null, "", location.pathname);
}

// The answer of a route; an Error with a sentence for people where there is none.
export async function ask(path, words = {}, options = {}) {
  const search = new URLSearchParams(Object.entries(words).filter(([, value]) => value !== null && value !== undefined));
  const query = search.toString();
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(`/api/${path}${query ? `?${query}` : ""}`, { headers, ...options });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(t("gone"));
  }
  if (answer.ok) return answer;
  const content = await answer.json().catch(() => ({}));
  if (answer.status === 401) $("token-form").hidden = false;
  throw Object.assign(new Error(content.error ? translated(content.error) : `${answer.status} ${answer.statusText}`), { status: answer.status });
}

export const post = (path, words, body, signal) => ask(path, words, { method: "POST", body, signal });

// Server-sent events, by fetch: an EventSource sends no token.
export async function follow(path, handle) {
  const reader = (await ask(path)).body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (waiting + part.value).split("\n\n");
    waiting = events.pop();
    for (const event of events) {
      const found = /^event: (\w+)\ndata: (.*)$/.exec(event);
      if (found) handle(found[1], JSON.parse(found[2]));
    }
  }
}

export function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

// Runs what the page does; a failure becomes the sentence on the page.
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
    return null;
  }
}

export function fill(select, names, values = names.map((_, place) => place)) {
  const before = select.value;
  select.replaceChildren(...names.map((name, place) => new Option(name, values[place])));
  if ([...select.options].some((option) => option.value === before)) select.value = before;
}
