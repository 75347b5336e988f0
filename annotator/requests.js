// Requests to the server, and what happens when it does not answer or another tab has the place.

import { kept, save, settle } from "./history.js";
import { card, uncovered } from "./panel.js";

const RETRY = 1000, ALIVE = 20000; // ms
const BLOBS = ["/image", "/thumbnail"];
const reloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";
if (!reloaded || !sessionStorage.client) sessionStorage.client = random(); // a duplicated tab has a copy

function random() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function send(action, body) {
  return fetch(action, { method: "POST", body: JSON.stringify(body), keepalive: action === "/bye",
    headers: { "Content-Type": "application/json", "X-Token": location.hash.slice(1), "X-Client": sessionStorage.client } });
}

export async function post(action, body = {}) { // waits while the server is away; an Error holds its one line and the reason
  for (;;) {
    let answer;
    try {
      answer = await send(action, body);
      if (answer.ok) return await (BLOBS.includes(action) ? answer.blob() : answer.json());
    } catch {
      await back();
      continue;
    }
    const { error, reason } = await answer.json();
    if (reason === "ending") await back();
    else if (reason === "tab") await taken(error);
    else if (reason === "token") await new Promise(() => card("No access", ["Open the address that the program printed, with all that follows the #."]));
    else throw Object.assign(new Error(error), { reason });
  }
}

let coming = null;
function back() { // the server, started again under the same address
  return (coming ??= (async () => {
    card("The program does not answer", ["Nothing is lost. Start it again with the same command: this page goes on by itself."]);
    for (;;) {
      await pause(RETRY);
      const answer = await send("/state", {}).catch(() => null);
      if (answer && answer.status !== 503) break;
    }
    uncovered();
    coming = null;
  })());
}

function taken(line) { // the page starts anew when it has the place; its storage holds what is unfinished
  return new Promise(() => card("Open in another tab", [line], [["Take over", async () => {
    await send("/take_over", {});
    location.reload();
  }]]));
}

export async function change(action, body, step = null) { // saved data: made once, even if the answer is lost or the page reloaded
  kept.unanswered = { action, body: { key: random(), ...body }, step };
  save();
  return resume();
}

export async function resume() {
  const { unanswered } = kept;
  try {
    const answer = await post(unanswered.action, unanswered.body);
    return { ...answer, step: settle(unanswered, answer) };
  } finally {
    kept.unanswered = null;
    save();
  }
}

addEventListener("pagehide", () => send("/bye", {}).catch(() => null));
setInterval(() => post("/alive"), ALIVE);
