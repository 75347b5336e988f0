// What keys and buttons do (Sec. 3.2), and the start of the page.

import { accept, click, finish, reject, reopen, reselect, revert, stroke } from "./clicks.js";
import { touched } from "./clock.js";
import { put } from "./draft.js";
import { keep, kept, record, redone, restore, undone } from "./history.js";
import { advance, changed, finished, neighbour, open } from "./images.js";
import { listen } from "./keys.js";
import * as panel from "./panel.js";
import { fit } from "./picture.js";
import { during, inOrder, post, resume } from "./requests.js";
import { $, begun, counted, primary, state } from "./state.js";

const here = () => ({ image: state.at.image, category: state.at.category });
const marked = (kind) => ({ kind, image: state.at.image, before: state.draft, after: state.draft });

// these wait for their turn
const ordered = {
  primary: space,
  reject,
  undo: () => back("/undo", kept.steps, undone),
  redo: () => (panel.redoable() ? back("/redo", kept.undone, redone) : panel.toast("Nothing to redo")),
  reselect: () => void (state.armed = !state.armed),
  next: () => neighbour(1) && open(neighbour(1)),
  previous: () => neighbour(-1) && open(neighbour(-1)),
  done: onSight(done),
  nothing: onSight(nothing),
  propose: () => open(state.at.image, state.at.category, true),
  remove: onSight(() =>
    state.draft?.instance ? remove(state.draft.instance) : panel.toast("Click a finished instance first"),
  ),
};

// what marks or deletes is meant for the image that is shown when the key is pressed
function onSight(work) {
  return (shown) => (shown.image === state.at.image ? work() : panel.toast("Another image came up: press it again"));
}

// these change the display alone
const atOnce = {
  brush: () => (state.tool = state.tool === "add" ? null : "add"),
  eraser: () => (state.tool = state.tool === "erase" ? null : "erase"),
  larger: () => (state.brush = Math.min(200, state.brush * 1.25)),
  smaller: () => (state.brush = Math.max(1, state.brush / 1.25)),
  more: () => (state.look.opacity = Math.min(1, state.look.opacity + 0.13)),
  less: () => (state.look.opacity = Math.max(0.09, state.look.opacity - 0.13)),
  outline: () => (state.look.outline = !state.look.outline),
  fit,
  hide: () => {}, // while held: see keys.js
  find: () => $("category").focus(),
  help: () => $("help").showModal(),
};

function act(name) {
  const shown = state.at;
  if (name in ordered) return inOrder(() => ordered[name](shown));
  atOnce[name]();
  panel.refresh();
}

// what came up after Space was pressed is not accepted unseen; a finish of one's own clicks is
async function space(shown) {
  const [action] = primary();
  const seen = state.at === shown || (action === "finish" && state.at.image === shown.image);
  if (!seen) panel.toast("Space was pressed before this was shown: press it again");
  else if (action === "accept") accept();
  else if (action === "finish") await finish();
  else if (action === "advance") await advance();
  else if (action === "done") await done();
  else panel.toast("Nothing to finish: click the object first");
}

// what is clicked is finished first
async function done() {
  const { image } = state.at;
  if (begun(state.draft)) await finish();
  if (state.at.image !== image) return;
  const done = !state.at.done;
  await changed("/done", { ...here(), done }, marked("'image done'"));
  const [, , still] = state.rows.find(([name]) => name === image);
  if (still && !done) panel.toast(`Still done: ${image} has a finished ${state.at.category}, or is marked as having none`);
  else panel.toast(`${done ? "Done" : "Not done"}: ${image}`);
}

async function nothing() {
  const { image, category, empty } = state.at;
  const none = !empty.includes(category);
  await changed("/empty", { ...here(), empty: none }, marked("'no object'"));
  panel.toast(`${none ? "No" : "Perhaps a"} ${category}: ${image}`);
}

// one step of undo or redo: of a draft here, of saved data by the server
async function back(action, steps, move) {
  const word = action === "/undo" ? "Undone" : "Redone";
  if (steps.length && steps.at(-1).event === null) {
    const { kind, image, before, after } = move();
    const draft = action === "/undo" ? before : after;
    const category = (draft ?? before ?? after).category;
    if (image === state.at.image && (!draft || category === state.at.category)) put(draft);
    else await open(image, category);
    return panel.toast(`${word}: ${kind} in ${image}`);
  }
  const { step } = await changed(action, here(), null);
  if (step && step.image !== state.at.image) await open(step.image); // its first answer was lost
  const clicks = action === "/undo" && step?.kind === "finish" && step.before.clicks.length;
  if (clicks) panel.toast(`${word}: ${step.kind} in ${step.image}; ${counted(clicks, "click")} came back`);
}

// clicks are carried over; a reopened instance changes its category
async function category(name) {
  const { draft } = state;
  const { image } = state.at;
  if (name === state.at.category) return;
  if (draft?.instance) return recategorise(draft.instance, name);
  const after = { ...draft, category: name, proposal: null };
  if (begun(draft)) record({ kind: "category", image, before: draft, after });
  else keep(image, null);
  await open(image, name);
}

function recategorise(instance, name) {
  const draft = state.draft?.instance === instance ? { ...state.draft, category: name } : state.draft;
  return changed("/recategorise", { instance, category: name }, { ...marked("change of category"), after: draft });
}

function remove(instance) {
  const draft = state.draft?.instance === instance ? null : state.draft;
  return changed("/delete", { instance }, { ...marked("deletion"), after: draft });
}

async function newCategory(name) {
  state.categories = (await post("/category", { name })).categories;
  await category(name);
}

async function way(several) {
  state.several = (await post("/way", { several })).several;
  state.rows = (await post("/images", { category: state.at.category })).images;
  await open(state.at.image);
}

// where this tab was, if it was anywhere; else where the server says that there is something to do
async function start() {
  const begins = await during("Loading", post("/state"));
  Object.assign(state, { categories: begins.categories, several: begins.several, command: begins.command });
  document.title = `${begins.folder} · siis annotate`;
  restore(begins.out);
  const lost = kept.unanswered && (await resume().then(() => "", String));
  const known = begins.categories.some(({ name }) => name === kept.place?.category);
  state.at.category = known ? kept.place.category : begins.category;
  state.rows = (await post("/images", { category: state.at.category })).images;
  panel.strip();
  await open(state.rows.some(([name]) => name === kept.place?.image) ? kept.place.image : begins.image);
  if (lost) panel.fail(lost);
  else finished();
}

function queued(work) {
  return (...given) => inOrder(() => work(...given));
}

function numbered(i) {
  if (i < state.categories.length) queued(category)(state.categories[i].name);
}

listen({ act, click, stroke, reselect, revert, touched, category: numbered });
panel.listen({
  neighbour,
  thumbnail: (image) => post("/thumbnail", { image }),
  open: queued(open),
  category: queued(category),
  newCategory: queued(newCategory),
  recategorise: queued(recategorise),
  remove: queued(remove),
  reopen: queued(reopen),
  way: queued(way),
});
inOrder(start);
