// The page: what the mouse and the keys do (Sec. 3.2), and the picture. Points are (row, col); (x, y) are CSS pixels.
"use strict";

const DRAG = 4, LONG_GAP = 10000; // CSS pixels, ms
const token = location.hash.slice(1);
const reloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";
if (!reloaded || !sessionStorage.client) sessionStorage.client = crypto.randomUUID(); // a duplicated tab has a copy
const client = sessionStorage.client;

let images = [], categories = []; // names
let at = { image: 0, category: "", view: 0, size: [1, 1], picture: null, finished: null, instances: [], empty: false };
let clicks = [], proposal = null, proposed = "none", mask = null, reopened = null; // of the current instance
let seq = 0, answered = 0, busy = false, armed = false;
let zoom = { scale: 1, left: 0, top: 0, fitted: true }; // CSS pixels an image pixel, corner of the image
let look = { opacity: 0.5, outline: false, hidden: false, stay: false };
let clock = {};

// ---- the server ----------------------------------------------------------------------------------------------------

async function post(path, body) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", body: JSON.stringify(body), keepalive: path === "/bye",
      headers: { "Content-Type": "application/json", "X-Token": token, "X-Client": client } });
  } catch {
    throw new Error("the program does not answer; start it again and reload this page");
  }
  if (answer.ok) return path === "/image" ? answer.blob() : answer.json();
  const error = new Error((await answer.json()).error);
  error.status = answer.status;
  throw error;
}

async function guarded(work) { // one request that changes what is shown at a time
  if (busy) return;
  busy = true;
  draw();
  $("error").textContent = "";
  try { await work(); } catch (error) { $("error").textContent = error.message; }
  busy = false;
  draw();
}

const bitmap = async (text) => text && createImageBitmap(new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))],
  { type: "image/png" }), { colorSpaceConversion: "none" });

async function show(answer) { // an opened image, as /open, /finish, /undo and /empty answer
  const fresh = answer.image !== at.image || !at.picture;
  const [first, finished, picture] = await Promise.all([bitmap(answer.mask), bitmap(answer.finished),
    !fresh ? at.picture : !answer.readable ? null : createImageBitmap(await post("/image", { image: answer.image }),
      { colorSpaceConversion: "none", imageOrientation: "none" })]);
  at = { ...at, ...answer, finished, picture };
  [clicks, proposal, proposed, mask] = [[], answer.proposal, answer.proposal ? "shown" : "none", first];
  [reopened, armed, answered] = [null, false, seq];
  if (fresh) fit();
  const [line, ...more] = answer.notices;
  if (line) $("error").textContent = line + (more.length ? ` (and ${more.length} more on the terminal)` : "");
  panel();
  const now = performance.now();
  clock = { shown: now, last: now, first: null, kind: null, rejected: null, after: null, valid: !document.hidden };
  say(!answer.readable ? "" : answer.plain ? "Study: no proposal. Click the object" : proposal ? "Proposal: Space accepts"
    : at.empty ? "No object here" : "Click the object");
}

const open = (image, category) => guarded(async () => {
  if (image >= 0 && image < images.length) show(await post("/open", { image, category }));
});

async function segment() {
  const mine = ++seq;
  if (!clicks.length) { mask = null; answered = mine; return draw(); }
  draw();
  try {
    const answer = await post("/segment", { view: at.view, seq: mine, clicks });
    const picture = await bitmap(answer.mask);
    if (answer.view !== at.view || mine < seq) return; // a newer one is on its way
    [mask, answered] = [picture, mine];
    $("error").textContent = "";
    say(counted(clicks.length));
  } catch (error) {
    if (mine === seq && error.status !== 409) answered = mine;
    if (mine === seq) $("error").textContent = error.message;
  }
  draw();
}

// ---- what a person does --------------------------------------------------------------------------------------------

function judged(kind) { // the person's first reaction to what was shown
  const now = performance.now();
  if (clock.first === null) [clock.first, clock.kind] = [now - clock.shown, kind];
  else if (clock.rejected !== null && clock.after === null) clock.after = now - clock.rejected;
  if (kind === "reject") clock.rejected = now;
}

function click(row, col, positive) {
  if (busy) return;
  if (armed) return reselect(row, col);
  if (!clicks.length && onFinished(row, col) && positive) return reopen(row, col);
  if (proposed === "shown") positive ? discard("own") : accept();
  else if (!clicks.length) judged("click");
  clicks.push([row, col, positive]);
  segment();
}

function accept() {
  judged("accept");
  [clicks, proposed] = [[[...proposal, true]], "accepted"];
  answered = seq; // the proposal's mask is on the screen already
  say("Accepted: Space finishes");
}

function discard(kind) {
  judged(kind);
  proposed = "rejected";
}

function reselect(row, col) {
  armed = false;
  if (proposed === "shown") discard("own");
  else if (!clicks.length) judged("click");
  else if (proposed === "accepted") proposed = "rejected";
  const first = clicks.findIndex((c) => c[2]);
  clicks = [[row, col, true], ...clicks.filter((_, i) => i !== first)];
  segment();
}

function reopen(row, col) {
  guarded(async () => {
    const answer = await post("/reopen", { view: at.view, row, col });
    [clicks, proposal, proposed, reopened, mask] = [answer.clicks, null, "none", answer.id, await bitmap(answer.mask)];
    answered = seq;
    say("Reopened: click to correct, Space finishes, Del deletes, Esc leaves it as it was");
  });
}

function finish() {
  if (answered < seq) return say("Wait: the mask of the last click is on its way");
  if (!mask) return say("Nothing to finish: click the object first");
  const ms = { first: clock.first, after: clock.after, total: performance.now() - clock.shown };
  const seconds = Object.fromEntries(Object.entries(ms).map(([k, v]) => [k, v === null ? null : v / 1000]));
  const body = { view: at.view, seq, clicks, proposal: proposed, seconds: { ...seconds, kind: clock.kind, valid: clock.valid } };
  guarded(async () => {
    const answer = await post("/finish", { ...body, stay: look.stay });
    await show(answer);
    say(`Saved ${answer.saved}. ${$("status").textContent}`);
  });
}

function undo() {
  if (reopened !== null) return actions.reject();
  if (!clicks.length) return guarded(async () => { const a = await post("/undo", { view: at.view }); await show(a); say(a.undone); });
  clicks.pop();
  if (clicks.length || proposed !== "accepted") return segment();
  proposed = "shown"; // the proposal itself was the first click
  clicks = [[...proposal, true]];
  segment().then(() => { if (proposed === "shown") { clicks = []; draw(); } });
}

const actions = {
  accept() { proposed === "shown" ? accept() : finish(); draw(); },
  reject() {
    if (reopened !== null) return open(at.image, at.category);
    if (proposed === "shown") discard("reject");
    else if (proposed === "accepted") proposed = "rejected";
    clicks = [];
    segment();
    say("Click the object");
  },
  reselect() { armed = !armed; say(armed ? "Click the new first point" : ""); draw(); },
  undo,
  remove() {
    if (reopened === null) return say("Nothing to delete: click a finished instance first");
    guarded(async () => { await show(await post("/delete", { view: at.view, id: reopened })); say("Deleted"); });
  },
  nothing() { guarded(async () => show(await post("/empty", { view: at.view, empty: !at.empty }))); },
  next() { open(at.image + 1, at.category); },
  previous() { open(at.image - 1, at.category); },
  stay() { look.stay = !look.stay; draw(); },
  hide() {}, // while held: see below
  more() { look.opacity = Math.min(1, look.opacity + 0.125); draw(); },
  less() { look.opacity = Math.max(0.125, look.opacity - 0.125); draw(); },
  outline() { look.outline = !look.outline; draw(); },
  fit() { fit(); draw(); },
  help() { $("help").showModal(); },
};

// ---- keys: letters by character, digits by character or by place on the keyboard -------------------------------------

const KEYS = { " ": "accept", enter: "accept", escape: "reject", r: "reselect", z: "undo", d: "next", a: "previous", x: "nothing",
  o: "outline", "+": "more", "=": "more", "-": "less", "?": "help", delete: "remove", backspace: "remove", s: "stay" };
const digit = (event) => /^[0-9]$/.test(event.key) ? Number(event.key)
  : event.key in KEYS ? null : /^(Digit|Numpad)([0-9])$/.exec(event.code)?.[2] ?? null;

addEventListener("keydown", (event) => {
  const inside = event.target.closest?.("input, textarea, select, [contenteditable], dialog");
  if (inside || event.altKey || ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() !== "z")) return;
  if (event.target.tagName === "BUTTON" && (event.key === " " || event.key === "Enter")) return; // the button's own
  const key = event.key.toLowerCase(), number = digit(event);
  if (key === "h") look.hidden = true;
  else if (number === null && !(key in KEYS)) return;
  event.preventDefault();
  if (event.repeat) return;
  touched();
  if (key === "h") draw();
  else if (number === null) { if (!busy || key === "?") actions[KEYS[key]](); }
  else if (Number(number) === 0) actions.fit();
  else if (number <= categories.length) open(at.image, categories[number - 1]);
});
addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "h") { look.hidden = false; draw(); } });
addEventListener("blur", () => { look.hidden = false; draw(); });

// ---- mouse ---------------------------------------------------------------------------------------------------------

let held = null;
const place = (event) => {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

canvas.addEventListener("pointerdown", (event) => {
  const [x, y] = place(event);
  held = { x, y, left: zoom.left, top: zoom.top, moved: false, button: event.button };
  canvas.setPointerCapture(event.pointerId);
  canvas.focus({ preventScroll: true });
});
canvas.addEventListener("pointermove", (event) => {
  touched();
  if (!held) return;
  const [x, y] = place(event);
  held.moved ||= Math.hypot(x - held.x, y - held.y) > DRAG;
  if (!held.moved) return;
  zoom = { ...zoom, left: held.left + x - held.x, top: held.top + y - held.y, fitted: false };
  draw();
});
canvas.addEventListener("pointerup", (event) => {
  const was = held;
  held = null;
  touched();
  if (!was || was.moved) return;
  const col = Math.floor((was.x - zoom.left) / zoom.scale), row = Math.floor((was.y - zoom.top) / zoom.scale);
  if (!at.readable || row < 0 || col < 0 || row >= at.size[0] || col >= at.size[1]) return;
  if (event.button === 1 && !busy) reselect(row, col);
  else if (event.button !== 1) click(row, col, was.button === 0 && !event.shiftKey);
});
canvas.addEventListener("pointercancel", () => { held = null; });
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
for (const kind of ["mousedown", "auxclick"]) canvas.addEventListener(kind, (event) => { if (event.button === 1) event.preventDefault(); });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const [x, y] = place(event), scale = Math.min(64, Math.max(0.02, zoom.scale * 2 ** (-event.deltaY / 300)));
  const k = scale / zoom.scale;
  zoom = { scale, left: x - (x - zoom.left) * k, top: y - (y - zoom.top) * k, fitted: false };
  draw();
}, { passive: false });

for (const button of document.querySelectorAll("[data-action]")) {
  button.addEventListener("click", () => { touched(); if (!busy || button.dataset.action === "help") actions[button.dataset.action](); });
}
document.addEventListener("mousedown", (event) => { if (event.target.closest("button")) event.preventDefault(); }); // so that Space is not taken by the button
const hide = document.querySelector("[data-action=hide]");
for (const [kind, hidden] of [["pointerdown", true], ["pointerup", false], ["pointerleave", false]])
  hide.addEventListener(kind, () => { look.hidden = hidden; draw(); });
$("number").addEventListener("change", (event) => {
  const given = event.target.value, number = Number(given);
  event.target.value = at.image + 1; // until another image is shown
  if (Number.isInteger(number) && number >= 1 && number <= images.length) open(number - 1, at.category);
  else $("error").textContent = `Image ${given || "without a number"}: expected 1 to ${images.length}`;
  canvas.focus();
});

function touched() { // a person is there; a longer absence makes the times of the instance invalid
  const now = performance.now();
  if (now - clock.last > LONG_GAP) clock.valid = false;
  clock.last = now;
}
document.addEventListener("visibilitychange", () => { if (document.hidden) clock.valid = false; });
addEventListener("pagehide", () => { post("/bye", {}).catch(() => {}); });
setInterval(() => post("/alive", {}).catch(() => {}), 20000);

new ResizeObserver(() => { if (zoom.fitted) fit(); draw(); }).observe(canvas);
guarded(async () => {
  const state = await post("/state", {});
  [images, categories] = [state.images, state.categories];
  await show(await post("/open", { image: state.image, category: state.category }));
});
