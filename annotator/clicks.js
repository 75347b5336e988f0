// Clicks and strokes, each on the image that it was made on, and the instance that comes of them.

import { judged, seconds } from "./clock.js";
import { begin, blank, put, sent, settled, step } from "./draft.js";
import { kept, record, save, undone } from "./history.js";
import { changed, open } from "./images.js";
import * as panel from "./panel.js";
import { instanceAt, seen, traced } from "./picture.js";
import { during, inOrder, post } from "./requests.js";
import { begun, proposing, state } from "./state.js";

let last; // the newest step before the newest click

// where the picture stood, whatever is shown by the time it is carried out
export function click(image, row, col, positive) {
  const box = seen();
  const added = (draft) => ({ ...draft, clicks: [...draft.clicks, [row, col, positive]] });
  inOrder(() => {
    last = kept.steps.at(-1);
    if (image !== state.at.image) return elsewhere(image, "click", added);
    if (state.armed) return reselected(row, col);
    const found = positive && !begun(state.draft) && instanceAt(row, col);
    if (found) return reopen(found.id);
    if (proposing() && !positive) accept();
    else if (!begun(state.draft)) judged(proposing() ? "own" : "click");
    const draft = begin();
    step("click", added(begun(draft) ? draft : { ...draft, box }));
  });
}

export function stroke(image, drawn) {
  const added = (draft) => ({ ...draft, strokes: [...draft.strokes, drawn] });
  inOrder(async () => {
    if (image !== state.at.image) return elsewhere(image, "stroke", added);
    const found = !begun(state.draft) && instanceAt(...drawn.points[0].map(Math.floor));
    if (found) await reopen(found.id);
    else if (proposing()) accept();
    if (drawn.mode === "add" || begun(state.draft)) step("stroke", added(begin()));
    else panel.toast("Nothing to erase: click the object first");
  });
}

// meant for an image that has given way to another
function elsewhere(image, kind, added) {
  const before = kept.drafts[image] ?? null;
  record({ kind, image, before, after: added(before ?? blank()) });
  panel.toast(`A ${kind} was meant for ${image}: it is kept there as a draft`);
  panel.marks();
}

export function accept() {
  const { proposal } = state.at;
  judged("accept");
  step("accept", { ...blank(), proposal: { point: proposal, accepted: true }, clicks: [[...proposal, true]] });
}

export function reject() {
  const { draft } = state;
  if (panel.gaveWay()) return;
  if (state.armed) state.armed = false;
  else if (proposing()) {
    judged("reject");
    step("rejection", begin());
  } else if (draft?.instance) step("leaving an instance", null);
  else if (begun(draft)) {
    const { proposal } = draft;
    step("clearing", proposal && { ...blank(), proposal: { ...proposal, accepted: false } });
  }
}

export function reselect(image, row, col) {
  inOrder(() => {
    if (image === state.at.image) reselected(row, col);
    else panel.toast(`The first click of ${image} stays as it was`);
  });
}

function reselected(row, col) {
  state.armed = false;
  if (!begun(state.draft)) judged(proposing() ? "own" : "click");
  const draft = begin();
  const first = draft.clicks.findIndex(([, , positive]) => positive);
  const clicks = [[row, col, true], ...draft.clicks.filter((_, i) => i !== first)];
  step("re-selection", { ...draft, proposal: draft.proposal && { ...draft.proposal, accepted: false }, clicks });
}

// the first click of a double click was none
export function revert() {
  inOrder(() => {
    while (kept.steps.at(-1) !== last && kept.steps.at(-1)?.event === null) {
      const { image, before } = undone();
      kept.undone.pop();
      if (image === state.at.image) put(before);
    }
    save();
  });
}

export async function reopen(id) {
  if (id === state.draft?.instance) return;
  const { draft, mask, crop } = await during("Loading", post("/instance", { instance: id }));
  const { category, box, plain, instance, clicks, strokes } = draft;
  const after = { category, box, plain, instance, clicks, strokes, proposal: null };
  if (begun(state.draft) && !state.draft.instance) panel.toast("The unfinished clicks are put away; Z brings them back");
  record({ kind: "reopening", image: state.at.image, before: state.draft, after });
  if (category !== state.at.category) return open(state.at.image);
  Object.assign(state, { draft: after, mask: traced(mask), crop: box && crop, answered: ++state.seq });
  panel.sidebar();
}

export async function finish() {
  await settled();
  const { draft } = state;
  if (!begun(draft)) return;
  const proposal = draft.instance ? null : draft.proposal;
  const step = { kind: "finish", image: state.at.image, before: draft, after: null };
  await changed("/finish", { draft: sent(draft), proposal, seconds: seconds() }, step);
}
