// Keys, mouse and touch. Letters go by character, and by place where the layout has none; digits by either.

import { canvas, draw, fit, inImage, view, zoomAt } from "./picture.js";
import { gaveWay, refresh, spinAt } from "./panel.js";
import { $, state } from "./state.js";

const DRAG = 4; // CSS pixels
const LONG_PRESS = 500; // ms
const DOUBLE = 300; // ms
export const KEYS = {
  " ": "primary",
  enter: "primary",
  escape: "reject",
  z: "undo",
  y: "redo",
  r: "reselect",
  d: "next",
  a: "previous",
  x: "nothing",
  f: "done",
  p: "propose",
  b: "brush",
  e: "eraser",
  "[": "smaller",
  "]": "larger",
  c: "find",
  o: "outline",
  "+": "more",
  "=": "more",
  "-": "less",
  "?": "help",
  delete: "remove",
  backspace: "remove",
  h: "hide",
};

// the character, or what stands at that place on an English keyboard
export function meant({ key, code }) {
  const given = key.toLowerCase();
  if (given in KEYS) return given;
  const letter = /^Key([A-Z])$/.exec(code)?.[1].toLowerCase();
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(code)?.[1];
  if (/^[0-9]$/.test(given)) return given;
  if (letter && /^\p{L}$/u.test(given) && !/^\p{Script=Latin}$/u.test(given)) return letter;
  return digit ?? { BracketLeft: "[", BracketRight: "]" }[code] ?? given;
}

export function listen(on) {
  addEventListener("keydown", (event) => keyed(event, on));
  addEventListener("keyup", (event) => {
    if (meant(event) === "h") hide(false);
  });
  addEventListener("blur", () => hide(false));
  for (const button of document.querySelectorAll("[data-action]"))
    button.addEventListener("click", () => {
      on.touched();
      on.act(button.dataset.action);
    });
  const hiding = document.querySelector("[data-action=hide]");
  for (const [kind, hidden] of [
    ["pointerdown", true],
    ["pointerup", false],
    ["pointerleave", false],
  ])
    hiding.addEventListener(kind, () => hide(hidden));
  document.addEventListener("mousedown", (event) => {
    if (event.target.closest("button")) event.preventDefault();
  }); // so that Space is not taken by the button
  pointing(on);
  new ResizeObserver(() => {
    const { scale, left, top, fitted } = state.zoom;
    fitted ? fit() : view(scale, left, top);
    draw();
  }).observe(canvas);
}

function hide(hidden) {
  state.look.hidden = hidden;
  draw();
}

function keyed(event, on) {
  if (event.target.closest?.("input, textarea, select, [contenteditable], dialog")) return;
  if (event.target.closest?.("button, summary") && (event.key === " " || event.key === "Enter")) return; // the button's own
  const key = meant(event);
  const command = event.ctrlKey || event.metaKey;
  const graph = event.getModifierState?.("AltGraph");
  if (!graph && (event.altKey || (command && key !== "z" && key !== "y"))) return;
  if (!/^[0-9]$/.test(key) && !(key in KEYS)) return;
  if (key === "y" && !command) return;
  event.preventDefault();
  last = null;
  on.touched();
  const action = key === "z" && event.shiftKey ? "redo" : KEYS[key];
  if (action === "hide") hide(true);
  else if (event.repeat && !["smaller", "larger", "more", "less"].includes(action)) return;
  else if (key === "0") on.act("fit");
  else if (/^[1-9]$/.test(key)) on.category(Number(key) - 1);
  else on.act(action);
}

// ---- mouse and touch ------------------------------------------------------------------------------------------------

const pointers = new Map(); // those that are down: [x, y]
let held = null; // the one that may become a click, a stroke or a drag
let last = null; // the last left click that was no double click

const place = (event) => {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const near = (one, other, distance) => Math.hypot(one.x - other.x, one.y - other.y) <= distance;
const inside = ([row, col]) =>
  state.at.readable && row >= 0 && col >= 0 && row < state.at.size[0] && col < state.at.size[1];

function pointing(on) {
  canvas.addEventListener("pointerdown", (event) => down(event, on));
  canvas.addEventListener("pointermove", (event) => move(event, on));
  canvas.addEventListener("pointerup", (event) => up(event, on));
  canvas.addEventListener("pointercancel", (event) => {
    pointers.delete(event.pointerId);
    drop();
  });
  canvas.addEventListener("pointerleave", () => {
    state.pointer = null;
    draw();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  for (const kind of ["mousedown", "auxclick"])
    canvas.addEventListener(kind, (event) => {
      if (event.button === 1) event.preventDefault();
    });
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoomAt(...place(event), 2 ** (-event.deltaY / (event.ctrlKey ? 100 : 300)));
      refresh();
    },
    { passive: false },
  );
}

function drop() {
  clearTimeout(held?.timer);
  [held, state.stroke] = [null, null];
  draw();
}

function down(event, on) {
  const [x, y] = place(event);
  pointers.set(event.pointerId, [x, y]);
  canvas.setPointerCapture(event.pointerId);
  canvas.focus({ preventScroll: true });
  if (pointers.size > 1) return drop(); // two fingers zoom and pan
  const { left, top } = state.zoom;
  const at = inImage(x, y);
  const point = inside(at) ? at : null;
  held = { x, y, left, top, moved: false, button: event.button, point, image: state.at.image };
  if (state.tool && event.button === 0 && state.at.readable) {
    state.stroke = { mode: state.tool, radius: Math.max(0.5, state.brush / state.zoom.scale), points: [inImage(x, y)] };
    draw();
  } else if (event.pointerType === "touch")
    held.timer = setTimeout(() => {
      pressed(on, false);
      held = null;
    }, LONG_PRESS);
}

function move(event, on) {
  on.touched();
  const [x, y] = place(event);
  const before = pointers.get(event.pointerId);
  state.pointer = event.pointerType === "touch" ? null : [x, y];
  const { offsetWidth, offsetHeight } = $("pill");
  $("pill").classList.toggle("under", x < offsetWidth + 16 && y < offsetHeight + 16);
  if (before) pointers.set(event.pointerId, [x, y]);
  if (before && pointers.size === 2) return pinch(event.pointerId, before, [x, y]);
  if (state.stroke) {
    const [row, col] = inImage(x, y);
    const [r, c] = state.stroke.points.at(-1);
    if (Math.hypot(row - r, col - c) * state.zoom.scale >= 2) state.stroke.points.push([row, col]);
  } else if (held) {
    held.moved ||= Math.hypot(x - held.x, y - held.y) > DRAG;
    if (held.moved) clearTimeout(held.timer);
    if (held.moved) view(state.zoom.scale, held.left + x - held.x, held.top + y - held.y);
  }
  if (held || state.tool) draw();
}

function pinch(id, before, now) {
  const other = [...pointers].find(([key]) => key !== id)[1];
  const size = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
  const middle = (p) => [(p[0] + other[0]) / 2, (p[1] + other[1]) / 2];
  const [from, to] = [middle(before), middle(now)];
  view(state.zoom.scale, state.zoom.left + to[0] - from[0], state.zoom.top + to[1] - from[1]);
  zoomAt(...to, size(now) / Math.max(1, size(before)));
  refresh();
}

function up(event, on) {
  pointers.delete(event.pointerId);
  on.touched();
  const was = held;
  const drawn = state.stroke;
  drop();
  if (!was) return;
  if (drawn) {
    spinAt(was.x, was.y);
    return on.stroke(was.image, { ...drawn, points: drawn.points.map((p) => p.map((v) => Math.round(v * 10) / 10)) });
  }
  if (was.moved) return;
  held = was;
  pressed(on, was.button === 0 && !event.shiftKey);
  held = null;
}

// a click where the pointer went down
function pressed(on, positive) {
  const { x, y, button, point, image } = held;
  const click = { time: performance.now(), x, y, at: state.at };
  const twice = positive && last?.at === state.at && click.time - last.time < DOUBLE && near(click, last, DRAG);
  if (twice && !state.zoom.fitted) {
    on.revert();
    on.act("fit");
  }
  last = positive && !twice ? click : null;
  if (!point) gaveWay();
  if (twice || !point) return;
  spinAt(x, y);
  const [row, col] = point.map(Math.floor);
  if (button === 1) on.reselect(image, row, col);
  else on.click(image, row, col, positive);
}
