// The times of an instance: until the person's first reaction, until the click after a rejection, and in all.

const LONG_GAP = 10000; // ms; after a longer absence the times do not count

let clock = {};

export function begin() {
  const now = performance.now();
  clock = { shown: now, last: now, first: null, kind: null, rejected: null, after: null, valid: !document.hidden };
}

// the person's first reaction to what was shown
export function judged(kind) {
  const now = performance.now();
  if (clock.first === null) [clock.first, clock.kind] = [now - clock.shown, kind];
  else if (clock.rejected !== null && clock.after === null) clock.after = now - clock.rejected;
  if (kind === "reject") clock.rejected = now;
}

// a person is there
export function touched() {
  const now = performance.now();
  if (now - clock.last > LONG_GAP) clock.valid = false;
  clock.last = now;
}

export function seconds() {
  const { first, after, kind, valid, shown } = clock;
  const inSeconds = (ms) => (ms === null ? null : ms / 1000);
  return { first: inSeconds(first), after: inSeconds(after), total: inSeconds(performance.now() - shown), kind, valid };
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clock.valid = false;
});
