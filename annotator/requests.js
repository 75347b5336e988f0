// Requests to the server, one input after the other, and what happens when it is away or another tab has the place.

import { kept, save, settle } from "./history.js";
import { card, fail, refresh, uncovered } from "./panel.js";
import { state } from "./state.js";

const RETRY = 500; // ms
const LOST = 3; // times that one request gets no answer from a server that is there
const ALIVE = 20000; // ms
const BLOBS = ["/image", "/thumbnail"];
const GONE = "Nothing is lost. Start it again with the same command: this page goes on by itself.";
const CLOSED = "Open the address that the program printed, with all that follows the #.";

const reloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";
if (!reloaded || !sessionStorage.client) sessionStorage.client = random(); // a duplicated tab has a copy

function random() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// ---- in order -------------------------------------------------------------------------------------------------------

let queue = Promise.resolve();

export function inOrder(job) {
  state.waiting++;
  const ended = () => {
    state.waiting--;
    refresh();
  };
  queue = queue.then(job).then(ended, (error) => {
    fail(error.message);
    ended();
  });
  refresh();
  return queue;
}

// names what a person waits for
export async function during(word, work) {
  state.doing = word;
  refresh();
  try {
    return await work;
  } finally {
    state.doing = "";
  }
}

// ---- the server -----------------------------------------------------------------------------------------------------

function send(action, body) {
  const token = location.hash.slice(1);
  const headers = { "Content-Type": "application/json", "X-Token": token, "X-Client": sessionStorage.client };
  return fetch(action, { method: "POST", body: JSON.stringify(body), keepalive: action === "/bye", headers });
}

// waits while the server is away; an Error holds its one line and the reason
export async function post(action, body = {}) {
  for (let lost = 0; ; ) {
    let refusal;
    try {
      const answer = await send(action, body);
      if (answer.ok) return await (BLOBS.includes(action) ? answer.blob() : answer.json());
      refusal = await answer.json();
    } catch {
      if (++lost > LOST) throw new Error(`No answer to ${action}, asked ${lost} times. Your clicks are kept: try again`);
      await back();
      continue;
    }
    const { error, reason } = refusal;
    if (reason === "ending") await back();
    else if (reason === "tab") await taken(error);
    else if (reason === "token") await new Promise(() => card("No access", [CLOSED]));
    else throw Object.assign(new Error(error), { reason });
  }
}

let returning = null;

// once for all requests that wait: the server, started again under the same address
function back() {
  returning ??= (async () => {
    card("The program does not answer", [GONE]);
    let answer;
    do {
      await new Promise((done) => setTimeout(done, RETRY));
      answer = await send("/state", {}).catch(() => null);
    } while (!answer || answer.status === 503);
    uncovered();
    returning = null;
  })();
  return returning;
}

// the page starts anew when it has the place; the tab's storage holds what is unfinished
function taken(line) {
  const takeOver = async () => {
    await send("/take_over", {});
    removeEventListener("pagehide", leave); // the first tab, if it is busy, would get the place back
    location.reload();
  };
  return new Promise(() => card("Open in another tab", [line], [["Take over", takeOver]]));
}

// saved data: made once, even if the answer is lost or the page reloaded; what may have been made keeps its key
export async function change(action, body, step = null) {
  const asked = JSON.stringify([action, { ...body, seconds: null }]);
  const key = kept.lost?.asked === asked ? kept.lost.body.key : random();
  kept.unanswered = { action, body: { key, ...body }, step, asked };
  save();
  return resume();
}

export async function resume() {
  const { unanswered } = kept;
  kept.lost = null;
  try {
    const answer = await post(unanswered.action, unanswered.body).catch((error) => found(unanswered.body, error));
    return { ...answer, step: settle(unanswered, answer) };
  } catch (error) {
    if (!error.reason) kept.lost = unanswered;
    throw error;
  } finally {
    kept.unanswered = null;
    save();
  }
}

// no answer was heard: if it was made all the same, the answer is what stands now
async function found({ key }, error) {
  if (error.reason) throw error;
  const answer = await post("/open", { ...kept.place, propose: false });
  const [newest, event] = answer.newest ?? [];
  if (newest !== key) throw error;
  return { ...answer, event, said: "Done, though no answer was heard" };
}

const leave = () => send("/bye", {}).catch(() => null);
addEventListener("pagehide", leave);
setInterval(() => post("/alive"), ALIVE);
