// Images: opening one, showing what the server says of it, and what comes after a change of saved data.

import * as clock from "./clock.js";
import { segment } from "./draft.js";
import { kept, save } from "./history.js";
import * as panel from "./panel.js";
import { fit, traced } from "./picture.js";
import { change, during, inOrder, post } from "./requests.js";
import { $, state } from "./state.js";

const PICTURES = 2; // kept: this one and the last
const pictures = new Map();

async function loaded(image) {
  const raw = { colorSpaceConversion: "none", imageOrientation: "none" }; // the pixels that the network sees
  const picture = pictures.get(image) ?? (await createImageBitmap(await post("/image", { image }), raw));
  pictures.delete(image);
  pictures.set(image, picture);
  for (const [old, bitmap] of [...pictures].slice(0, -PICTURES)) {
    bitmap.close();
    pictures.delete(old);
  }
  return picture;
}

// null if it cannot be shown: then nothing can be clicked in it, and work goes on
async function pictureOf({ image, readable }) {
  try {
    return readable ? await during("Loading", loaded(image)) : null;
  } catch (error) {
    panel.fail(error.message);
    return null;
  }
}

// an image with a draft is opened in the draft's category
export async function open(image, category = state.at.category, propose = false) {
  const wanted = kept.drafts[image]?.category ?? category;
  await show(await during("Loading", post("/open", { image, category: wanted, propose })));
}

async function show(answer) {
  tell(answer);
  const draft = draftFor(answer);
  if (draft && draft.category !== answer.category) return open(answer.image);
  const fresh = answer.image !== state.at.image;
  const listed = answer.category === state.at.category && answer.several === state.several;
  state.picture = await pictureOf(answer);
  if (!listed) state.rows = (await post("/images", { category: answer.category })).images;
  const instances = answer.instances.map((e) => ({ ...e, path: traced(e.loops) }));
  const readable = Boolean(state.picture); // if the browser can show it, too
  state.at = { ...answer, number: (state.at.number ?? 0) + 1, instances, readable };
  Object.assign(state, { draft, proposed: traced(answer.mask), several: answer.several, armed: false });
  for (const row of answer.rows) state.rows[state.rows.findIndex(([name]) => name === row[0])] = row;
  if (fresh) fit();
  clock.begin();
  segment();
  kept.place = { image: answer.image, category: answer.category };
  save();
  panel.sidebar();
}

function tell({ notices, said }) {
  const [line = "", ...more] = notices;
  panel.uncovered();
  panel.fail(more.length ? `${line} (and ${more.length} more on the terminal)` : line);
  if (said) panel.toast(said);
}

// the draft kept for an image; the instance that it corrects, or its category, may be gone
function draftFor({ image, category, instances }) {
  const draft = kept.drafts[image];
  if (!draft) return null;
  const known = state.categories.some(({ name }) => name === draft.category);
  const there = instances.some(({ id }) => id === draft.instance);
  return { ...draft, category: known ? draft.category : category, instance: there ? draft.instance : null };
}

// saved data
export async function changed(action, body, step) {
  const answer = await during("Saving", change(action, body, step));
  try {
    await show(answer);
  } catch (error) {
    state.draft = kept.drafts[state.at.image] ?? null; // what is saved is no draft any more
    throw error;
  }
  if (["/finish", "/done", "/empty"].includes(action)) finished();
  return answer;
}

// is anything left?
export function finished() {
  const { progress, category } = state.at;
  if (progress.done < progress.total) return;
  const names = state.several ? [] : state.categories.map(({ name }) => name);
  const line = names.length > 1 ? `Every image is done for ${category}.` : "Every image is done.";
  const command = panel.made("code", { textContent: state.command });
  const more = names.slice(names.indexOf(category) + 1, names.indexOf(category) + 2);
  const goingOn = more.map((next) => [`Go on with ${next}`, () => inOrder(() => goOn(next))]);
  const review = ["Review", () => inOrder(() => open(state.rows[0][0]))];
  const exports = ["coco", "yolo", "labelme"].map((format) => [
    `Export ${format}`,
    () => inOrder(() => exported(format)),
  ]);
  const title = `${progress.done} of ${progress.total} done`;
  const lines = [line, panel.row(exports), "or, when the program has ended:", command];
  panel.card(title, lines, [...goingOn, review, ["Close", panel.uncovered, { closes: true }]]);
}

async function exported(format) {
  panel.toast((await during("Exporting", post("/export", { format }))).said);
}

async function goOn(category) {
  await open(state.rows[0][0], category);
  if (state.at.done) await advance();
}

// the next or previous image that the strip shows
export function neighbour(way) {
  const here = state.rows.findIndex(([name]) => name === state.at.image);
  const listed = ([, , done]) => !$("filter").checked || !done;
  const [row] =
    way > 0 ? state.rows.slice(here + 1).filter(listed) : state.rows.slice(0, here).filter(listed).reverse();
  return row?.[0];
}

export async function advance() {
  const here = state.rows.findIndex(([name]) => name === state.at.image);
  const next = [...state.rows.slice(here + 1), ...state.rows.slice(0, here)].find(([, , done]) => !done);
  if (next) await open(next[0]);
  else finished();
}
