// What a person does (Sec. 3.2): every input is carried out in order, on the image that it was meant for.

import { keep, kept, record, redone, restore, save, undone } from "./history.js";
import { listen } from "./keys.js";
import * as panel from "./panel.js";
import { fit, instanceAt, seen, traced } from "./picture.js";
import { change, post, resume } from "./requests.js";
import { $, BLANK, begun, counted, primary, proposing, segmenting, state } from "./state.js";

const LONG_GAP = 10000, PICTURES = 3; // ms; images that are kept
const pictures = new Map();
let command = "", masking = Promise.resolve(), clock = {};

// ---- in order --------------------------------------------------------------------------------------------------------

let queue = Promise.resolve();
function inOrder(job) {
  state.waiting++;
  queue = queue.then(job).catch((error) => panel.fail(error.message)).then(() => { state.waiting--; panel.refresh(); });
  panel.refresh();
  return queue;
}

async function during(word, work) {
  state.doing = word;
  panel.refresh();
  try { return await work; } finally { state.doing = ""; }
}

async function settled() { while (segmenting()) await masking; }

// ---- images ----------------------------------------------------------------------------------------------------------

async function pictureOf(image) {
  const known = pictures.get(image) ?? await createImageBitmap(await post("/image", { image }), { colorSpaceConversion: "none", imageOrientation: "none" });
  pictures.delete(image);
  pictures.set(image, known);
  if (pictures.size > PICTURES) pictures.delete(pictures.keys().next().value);
  return known;
}

async function open(image, category = state.at.category, propose = false) {
  const wanted = kept.drafts[image]?.category ?? category;
  await show(await during("Loading", post("/open", { image, category: wanted, propose })));
}

async function show(answer) { // what the server says of an image; its draft, if there is one, goes on
  const [line = "", ...more] = answer.notices;
  panel.uncovered();
  panel.fail(more.length ? `${line} (and ${more.length} more on the terminal)` : line);
  if (answer.said) panel.toast(answer.said);
  let draft = kept.drafts[answer.image] ?? null;
  if (draft && draft.category !== answer.category && state.categories.some(({ name }) => name === draft.category)) return open(answer.image);
  if (draft) draft = { ...draft, category: answer.category, instance: answer.instances.some((e) => e.id === draft.instance) ? draft.instance : null };
  const fresh = answer.image !== state.at.image;
  if (fresh) state.picture = answer.readable ? await during("Loading", pictureOf(answer.image)) : null;
  const listed = answer.category === state.at.category && answer.several === state.several;
  state.at = { ...answer, number: (state.at.number ?? 0) + 1, instances: answer.instances.map((e) => ({ ...e, path: traced(e.loops) })) };
  Object.assign(state, { draft, proposed: traced(answer.mask), several: answer.several, armed: false });
  if (fresh) fit();
  if (!listed) state.rows = (await post("/images", { category: answer.category })).images;
  for (const row of answer.rows ?? []) state.rows[state.rows.findIndex(([name]) => name === row[0])] = row;
  const now = performance.now();
  clock = { shown: now, last: now, first: null, kind: null, rejected: null, after: null, valid: !document.hidden };
  segment();
  kept.place = { image: answer.image, category: answer.category };
  save();
  if (!listed) panel.strip();
  panel.sidebar();
}

function finished() { // after a change: is anything left?
  const { progress, category } = state.at;
  if (progress.done < progress.total) return;
  const line = state.several ? "Every image is done." : `Every image is done for ${category}.`;
  const code = panel.made("code", { textContent: command });
  panel.card(`${progress.done} of ${progress.total} done`, [line, "Export what is annotated with", code], [
    ["Review", () => { panel.uncovered(); inOrder(() => open(state.rows[0][0])); }], ["Close", panel.uncovered]]);
}

async function changed(action, body, step) { // saved data
  const answer = await during("Saving", change(action, body, step));
  await show(answer);
  if (["/finish", "/done", "/empty"].includes(action)) finished();
  return answer;
}

function neighbour(way) {
  const i = state.rows.findIndex(([name]) => name === state.at.image), there = (row) => !$("filter").checked || !row[2];
  return (way > 0 ? state.rows.slice(i + 1).find(there) : state.rows.slice(0, Math.max(0, i)).findLast(there))?.[0];
}

// ---- the draft -------------------------------------------------------------------------------------------------------

function step(kind, after) { // one that can be undone
  record({ kind, image: state.at.image, before: state.draft, after });
  put(after);
}

function put(draft) {
  keep(state.at.image, draft);
  state.draft = draft;
  segment();
  panel.marks();
}

const begin = () => state.draft ?? { ...BLANK, category: state.at.category, plain: state.at.plain, proposal: state.at.proposal && { point: state.at.proposal, accepted: false } };

const sent = ({ proposal, ...draft }) => ({ image: state.at.image, ...draft, plain: draft.instance ? draft.plain : state.at.plain });

function segment() {
  const draft = state.draft, seq = ++state.seq, ready = (path) => { [state.mask, state.answered] = [path, seq]; panel.refresh(); };
  if (!begun(draft)) return ready(null);
  const { clicks, strokes, instance, category } = draft, [first] = clicks;
  if (!clicks.length && !strokes.length) return ready(state.at.instances.find((e) => e.id === instance).path);
  const accepted = clicks.length === 1 && !strokes.length && !instance && category === state.at.category && state.proposed && first[2]
    && String(first.slice(0, 2)) === String(state.at.proposal);
  if (accepted) return ready(state.proposed);
  masking = asked(seq, draft, ready);
  panel.refresh();
}

async function asked(seq, draft, ready) {
  try {
    const answer = await post("/segment", { seq, draft: sent(draft) });
    if (seq === state.seq) { panel.fail(""); ready(traced(answer.mask)); }
  } catch (error) {
    if (seq !== state.seq) return;
    if (error.reason !== "outside") { panel.fail(error.message); return ready(state.mask); }
    panel.toast("A click outside: the network looks at the whole image again");
    put({ ...draft, box: null });
    save();
  }
}

// ---- clicks and strokes ----------------------------------------------------------------------------------------------

function judged(kind) { // the person's first reaction to what was shown
  const now = performance.now();
  if (clock.first === null) [clock.first, clock.kind] = [now - clock.shown, kind];
  else if (clock.rejected !== null && clock.after === null) clock.after = now - clock.rejected;
  if (kind === "reject") clock.rejected = now;
}

function click(row, col, positive) { // where the picture stands now, whatever is shown by the time it is carried out
  const { image } = state.at, box = seen();
  inOrder(async () => {
    if (image !== state.at.image) return elsewhere(image, "click", (draft) => ({ ...draft, clicks: [...draft.clicks, [row, col, positive]] }));
    if (state.armed) return reselected(row, col);
    const found = positive && !begun(state.draft) && instanceAt(row, col);
    if (found) return reopen(found.id);
    if (proposing() && !positive) accept();
    else if (!begun(state.draft)) judged(proposing() ? "own" : "click");
    const draft = begin();
    step("click", { ...draft, box: begun(draft) ? draft.box : box, clicks: [...draft.clicks, [row, col, positive]] });
  });
}

function stroke(drawn) {
  const { image } = state.at;
  inOrder(async () => {
    if (image !== state.at.image) return elsewhere(image, "stroke", (draft) => ({ ...draft, strokes: [...draft.strokes, drawn] }));
    const found = !begun(state.draft) && instanceAt(...drawn.points[0].map(Math.floor));
    if (found) await reopen(found.id);
    else if (proposing()) accept();
    if (drawn.mode === "erase" && !begun(state.draft)) return panel.toast("Nothing to erase: click the object first");
    const draft = begin();
    step("stroke", { ...draft, strokes: [...draft.strokes, drawn] });
  });
}

function elsewhere(image, kind, add) { // meant for an image that has given way to another
  const before = kept.drafts[image] ?? null;
  record({ kind, image, before, after: add(before ?? { ...BLANK, category: state.at.category, plain: false }) });
  panel.toast(`A ${kind} was meant for ${image}: it is kept there as a draft`);
  panel.marks();
}

function accept() {
  judged("accept");
  const { proposal, category, plain } = state.at;
  step("accept", { ...BLANK, category, plain, proposal: { point: proposal, accepted: true }, clicks: [[...proposal, true]] });
}

function reselect(row, col) {
  const { image } = state.at;
  inOrder(() => (image === state.at.image ? reselected(row, col) : panel.toast(`The first click of ${image} stays as it was`)));
}

function reselected(row, col) {
  state.armed = false;
  if (!begun(state.draft)) judged(proposing() ? "own" : "click");
  const draft = begin(), first = draft.clicks.findIndex((c) => c[2]);
  step("re-selection", { ...draft, proposal: draft.proposal && { ...draft.proposal, accepted: false },
    clicks: [[row, col, true], ...draft.clicks.filter((_, i) => i !== first)] });
}

function revert(length) { // the first click of a double click was none
  inOrder(() => {
    while (kept.steps.length > length && kept.steps.at(-1).event === null && kept.steps.at(-1).image === state.at.image) {
      const { before } = undone();
      kept.undone.pop();
      put(before);
    }
    save();
  });
}

async function reopen(id) {
  if (id === state.draft?.instance) return;
  const { draft, mask } = await during("Loading", post("/instance", { instance: id }));
  const { category, box, plain, instance, clicks, strokes } = draft;
  const after = { category, box, plain, instance, clicks, strokes, proposal: null };
  record({ kind: "reopening", image: state.at.image, before: state.draft, after });
  if (category !== state.at.category) return open(state.at.image);
  [state.draft, state.mask, state.answered] = [after, traced(mask), ++state.seq];
  panel.sidebar();
}

async function finish() {
  await settled();
  const { image } = state.at, before = state.draft;
  if (!begun(before)) return;
  const ms = { first: clock.first, after: clock.after, total: performance.now() - clock.shown };
  const seconds = Object.fromEntries(Object.entries(ms).map(([k, v]) => [k, v === null ? null : v / 1000]));
  await changed("/finish", { draft: sent(before), proposal: before.instance ? null : before.proposal, seconds: { ...seconds, kind: clock.kind, valid: clock.valid } },
    { kind: "finish", image, before, after: null });
}

// ---- undo and redo ---------------------------------------------------------------------------------------------------

async function back(action, steps, move, word) {
  const last = steps.at(-1);
  if (last && last.event === null) {
    const { kind, image, before, after } = move(), draft = action === "/undo" ? before : after;
    if (image === state.at.image && (!draft || draft.category === state.at.category)) put(draft);
    else await open(image, draft?.category ?? before?.category ?? after?.category);
    return panel.toast(`${word}: ${kind} in ${image}`);
  }
  const { image, category } = state.at, { step: found } = await changed(action, { image, category }, null);
  if (action === "/undo" && found?.before) panel.toast(`Undone: ${found.kind} in ${found.image}; ${counted(found.before.clicks.length, "click")} came back`);
}

// ---- what keys and buttons do ------------------------------------------------------------------------------------------

const image = () => ({ image: state.at.image, category: state.at.category });
const mark = (kind) => ({ kind, image: state.at.image, before: state.draft, after: state.draft });

const ordered = { // these wait for their turn
  async primary(shown) { // of what Space would do, only a finish of one's own clicks may have come up since it was pressed
    const [action] = primary();
    if (state.at !== shown && (action !== "finish" || state.at.image !== shown.image)) return panel.toast("Space was pressed before this was shown: press it again");
    if (!action) panel.toast("Nothing to finish: click the object first");
    if (action === "accept") accept();
    if (action === "finish") await finish();
    if (action === "advance") await advance();
  },
  reject() {
    const { draft } = state;
    if (proposing()) { judged("reject"); step("rejection", begin()); }
    else if (draft?.instance) step("leaving an instance", null);
    else if (draft) step("clearing", draft.proposal ? { ...begin(), ...BLANK, proposal: { ...draft.proposal, accepted: false } } : null);
  },
  undo: () => back("/undo", kept.steps, undone, "Undone"),
  redo: () => (kept.undone.length || (state.at.redo && !kept.steps.length) ? back("/redo", kept.undone, redone, "Done again") : panel.toast("Nothing to redo")),
  reselect() { state.armed = !state.armed; },
  next: () => go(neighbour(1)),
  previous: () => go(neighbour(-1)),
  async done() { // what is clicked is finished first
    const { image: there } = state.at;
    if (begun(state.draft)) await finish();
    if (state.at.image === there) await changed("/done", { ...image(), done: !state.at.done }, mark("'image done'"));
  },
  nothing: () => changed("/empty", { ...image(), empty: !state.at.empty.includes(state.at.category) }, mark("'no object'")),
  propose: () => open(state.at.image, state.at.category, true),
  remove: () => (state.draft?.instance ? remove(state.draft.instance) : panel.toast("Nothing to delete: click a finished instance first")),
};

const atOnce = { // these change the display alone
  brush() { state.tool = state.tool === "add" ? null : "add"; },
  eraser() { state.tool = state.tool === "erase" ? null : "erase"; },
  larger() { state.brush = Math.min(200, state.brush * 1.25); },
  smaller() { state.brush = Math.max(1, state.brush / 1.25); },
  more() { state.look.opacity = Math.min(1, state.look.opacity + 0.13); },
  less() { state.look.opacity = Math.max(0.09, state.look.opacity - 0.13); },
  outline() { state.look.outline = !state.look.outline; },
  fit,
  hide() {}, // while held: see keys.js
  find() { $("category").focus(); },
  help() { $("help").showModal(); },
};

function act(name) {
  const shown = state.at;
  if (name in ordered) return inOrder(() => ordered[name](shown));
  atOnce[name]();
  panel.refresh();
}

const go = (name) => name && open(name);

async function advance() {
  const here = state.rows.findIndex(([name]) => name === state.at.image);
  const next = [...state.rows.slice(here + 1), ...state.rows.slice(0, here)].find((row) => !row[2]);
  if (next) await open(next[0]);
  else finished();
}

async function category(name) { // clicks are carried over; a reopened instance changes its category
  const { draft } = state;
  if (name === state.at.category) return;
  if (draft?.instance) return recategorise(draft.instance, name);
  if (begun(draft)) record({ kind: "category", image: state.at.image, before: draft, after: { ...draft, category: name, proposal: null } });
  else keep(state.at.image, null);
  await open(state.at.image, name);
}

function recategorise(instance, name) {
  const draft = state.draft?.instance === instance ? { ...state.draft, category: name } : state.draft;
  return changed("/recategorise", { instance, category: name }, { ...mark("change of category"), after: draft });
}

function remove(instance) {
  const draft = state.draft?.instance === instance ? null : state.draft;
  return changed("/delete", { instance }, { ...mark("deletion"), after: draft });
}

async function newCategory(name) {
  state.categories = (await post("/category", { name })).categories;
  await category(name);
}

async function way(several) {
  state.several = (await post("/way", { several })).several;
  state.rows = (await post("/images", { category: state.at.category })).images;
  await open(state.at.image);
  panel.marks();
}

function eye(id) {
  const focused = document.activeElement.matches(".eye");
  state.hidden.delete(id) || state.hidden.add(id);
  panel.sidebar();
  if (focused) document.querySelector(`[data-id="${id}"] .eye`).focus();
  panel.refresh();
}

function touched() { // a person is there; a longer absence makes the times of the instance invalid
  const now = performance.now();
  if (now - clock.last > LONG_GAP) clock.valid = false;
  clock.last = now;
}

document.addEventListener("visibilitychange", () => { if (document.hidden) clock.valid = false; });
listen({ act, click, stroke, reselect, revert, touched, category: (i) => state.categories[i] && inOrder(() => category(state.categories[i].name)) });
panel.listen({ neighbour, eye, thumbnail: (name) => post("/thumbnail", { image: name }), ...Object.fromEntries(
  Object.entries({ open, category, newCategory, recategorise, remove, reopen, way }).map(([name, work]) => [name, (...given) => inOrder(() => work(...given))])) });
inOrder(async () => {
  const begins = await during("Loading", post("/state"));
  Object.assign(state, { categories: begins.categories, several: begins.several });
  command = begins.command;
  document.title = `${begins.folder} · siis annotate`;
  restore(begins.out);
  const lost = kept.unanswered && await resume().then(() => "", (error) => error.message);
  const { image, category } = kept.place ?? begins, known = begins.categories.some(({ name }) => name === category);
  await open(image, known ? category : begins.category).catch(() => open(begins.image, begins.category)); // it may be gone from the folder
  if (lost) panel.fail(lost);
  else finished();
});
