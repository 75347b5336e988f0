// What the page knows. Points are (row, col) in image pixels; (x, y) are CSS pixels. A draft is
// {category, box, plain, instance, clicks, strokes, proposal}; it is never changed, only replaced.

export const $ = (id) => document.getElementById(id);

export const state = {
  categories: [], // {id, name}
  rows: [], // of all images: [name, instances, done, no object]
  several: false, // objects an image
  command: "", // that exports
  at: { image: null, category: "", size: [1, 1], instances: [], empty: [] }, // what the server says of the image shown
  picture: null, // its pixels
  proposed: null, // the mask of the proposal
  draft: null, // what is unfinished in it; null: nothing was done yet
  mask: null, // the mask of the draft
  crop: null, // what the network looks at for it, if that is not the whole image
  hidden: new Set(), // instances whose eye is closed
  zoom: { scale: 1, left: 0, top: 0, fitted: true }, // CSS pixels an image pixel, corner of the image
  look: { opacity: 0.35, outline: false, hidden: false },
  tool: null, // "add" or "erase" while the brush or the eraser is chosen
  brush: 12, // its radius
  stroke: null, // the one that is being drawn
  pointer: null, // where the mouse is
  armed: false, // the next click replaces the first one
  seq: 0, // of the newest request for a mask
  answered: 0, // of the one that is shown
  waiting: 0, // inputs that are not carried out yet
  doing: "", // what a person waits for: "Loading" or "Saving"
};

export const begun = (draft) =>
  Boolean(draft && (draft.clicks.length || draft.strokes.length || draft.instance !== null));
export const proposing = () => Boolean(state.at.readable && state.at.proposal && !state.draft);
export const masked = () => (begun(state.draft) ? state.mask : proposing() ? state.proposed : null);
export const segmenting = () => state.answered < state.seq;
export const busy = () => state.waiting > 0 || segmenting();
export const counted = (n, one) => `${n} ${one}${n === 1 ? "" : "s"}`;

// what Space does now: [action, label], without an action if it does nothing
export function primary() {
  const { at, draft } = state;
  if (!at.image) return [null, "Loading"];
  if (begun(draft)) return ["finish", "Finish"];
  if (proposing()) return ["accept", "Accept"];
  if (at.done || !at.readable) return ["advance", "Next"];
  if (!at.instances.length && !at.empty.length) return [null, "Finish"];
  return state.several ? ["done", "Done"] : ["advance", "Next"];
}
