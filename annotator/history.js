// Drafts and history: what is unfinished, image by image, and every step a person took. A reload of the tab keeps both.
// A step is {kind, image, before, after, event}: the drafts before and after it, and the server's event or null.

const STEPS = 300; // older ones are forgotten here; the server's own events can still be undone

// unanswered: the change that is asked for; lost: the newest that may have been made, but was never answered
export const kept = { drafts: {}, steps: [], undone: [], unanswered: null, lost: null, place: null };
let storage = null; // its name in the tab's storage: one for each folder of annotations

export function restore(out) {
  storage = `siis ${out}`;
  Object.assign(kept, JSON.parse(sessionStorage.getItem(storage) ?? "{}"));
}

export function save() {
  kept.steps.splice(0, kept.steps.length - STEPS);
  for (;;) {
    try {
      return sessionStorage.setItem(storage, JSON.stringify(kept));
    } catch (error) {
      // the browser's quota: the older half of the steps makes room
      if (!kept.steps.length) throw error;
      kept.steps.splice(0, Math.ceil(kept.steps.length / 2));
    }
  }
}

export function keep(image, draft) {
  if (draft) kept.drafts[image] = draft;
  else delete kept.drafts[image];
}

export function record(step) {
  kept.steps.push({ event: null, ...step });
  kept.undone = [];
  keep(step.image, step.after);
  save();
}

// the newest step of one list moves to the other, with the draft before or after it
function shifted(from, to, draft) {
  const step = kept[from].pop();
  kept[to].push(step);
  keep(step.image, step[draft]);
  save();
  return step;
}

export const undone = () => shifted("steps", "undone", "before");
export const redone = () => shifted("undone", "steps", "after");

// What the server answers to a change that this page asked for becomes a new step, or one that was undone or redone.
export function settle({ action, step }, { event, image }) {
  if (action === "/undo") return moved(kept.steps, undone, event, image);
  if (action === "/redo") return moved(kept.undone, redone, event, image);
  if (event !== null) record({ ...step, event });
  return step;
}

function moved(from, move, event, image) {
  if (event === null) {
    from.pop(); // it was undone elsewhere
    return null;
  }
  if (from.at(-1)?.event !== event) {
    const draft = kept.drafts[image] ?? null; // made in another tab, or forgotten here
    from.push({ kind: "change", image, before: draft, after: draft, event });
  }
  return move();
}
