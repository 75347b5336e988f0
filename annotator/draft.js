// The draft: what is unfinished in the image shown, and the mask that the network gives for it.

import { keep, record, save } from "./history.js";
import * as panel from "./panel.js";
import { traced } from "./picture.js";
import { post } from "./requests.js";
import { begun, segmenting, state } from "./state.js";

const BLANK = { box: null, instance: null, clicks: [], strokes: [], proposal: null };

let segmented = Promise.resolve();

export function blank() {
  const { category, plain } = state.at;
  return { ...BLANK, category, plain };
}

// what is unfinished, or a new draft; by then the proposal was seen and not accepted
export function begin() {
  const { proposal } = state.at;
  return state.draft ?? { ...blank(), proposal: proposal && { point: proposal, accepted: false } };
}

// as the server takes it
export function sent(draft) {
  const { category, box, instance, clicks, strokes } = draft;
  const { image, plain } = state.at;
  return { image, category, box, plain: instance ? draft.plain : plain, instance, clicks, strokes };
}

// one that can be undone
export function step(kind, after) {
  record({ kind, image: state.at.image, before: state.draft, after });
  put(after);
}

export function put(draft) {
  panel.gaveWay();
  keep(state.at.image, draft);
  state.draft = draft;
  segment();
  panel.marks();
}

export function segment() {
  const { draft } = state;
  const seq = ++state.seq;
  const ready = (mask, crop = null) => {
    Object.assign(state, { mask, crop: draft?.box && crop, answered: seq });
    panel.refresh();
  };
  if (!begun(draft)) return ready(null);
  if (!draft.clicks.length && !draft.strokes.length) {
    return ready(state.at.instances.find(({ id }) => id === draft.instance).path);
  }
  if (isProposal(draft)) return ready(state.proposed);
  segmented = ask(seq, draft, ready);
  panel.refresh();
}

// its mask is known already
function isProposal({ clicks, strokes, instance, category }) {
  const { proposal } = state.at;
  if (!proposal || instance || strokes.length || clicks.length > 1 || category !== state.at.category) return false;
  return String(clicks[0]) === String([...proposal, true]);
}

async function ask(seq, draft, ready) {
  try {
    const { mask, crop } = await post("/segment", { seq, draft: sent(draft) });
    if (seq !== state.seq) return; // a newer one is on its way
    panel.fail("");
    ready(traced(mask), crop);
  } catch (error) {
    if (seq !== state.seq) return;
    if (error.reason === "outside") {
      panel.toast("A click outside: the network looks at the whole image again");
      put({ ...draft, box: null });
      save();
    } else {
      panel.fail(error.message);
      ready(state.mask, state.crop);
    }
  }
}

export async function settled() {
  while (segmenting()) await segmented;
}
