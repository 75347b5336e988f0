// The picture: image, instances, the current mask and its markers, at any zoom.

import { $, begun, busy, masked, proposing, state } from "./state.js";

export const canvas = $("canvas");
const ink = canvas.getContext("2d");
// the two signs differ in shape too: round with a plus, square with a minus; CSS pixels
const MARKERS = {
  plus: ["#d00000", "M-7 0A7 7 0 1 0 7 0A7 7 0 1 0-7 0", "M-4 0H4M0-4V4"],
  minus: ["#0050d0", "M-7-7H7V7H-7Z", "M-4 0H4"],
  proposal: ["#8000c0", "M0-9L9 0L0 9L-9 0Z", ""],
};
const OUTLINE = 2; // CSS pixels
const KEPT = 80; // CSS pixels of the picture that always stay in view
const LEAST = 16; // image pixels that the network looks at
const COLOURS = [
  "#ffb000",
  "#2fa4ff",
  "#fe4d8c",
  "#12d18e",
  "#b58cff",
  "#ff6a1f",
  "#00d0d8",
  "#f2e94e",
  "#ff9ad5",
  "#8bd346",
]; // by category id

export const colour = (category) =>
  COLOURS[((state.categories.find((c) => c.name === category)?.id ?? 1) - 1) % COLOURS.length];

// corners [row, col, row, col, ...] of closed outlines as one path, in image pixels
export function traced(loops) {
  if (!loops?.length) return null;
  const path = new Path2D();
  for (const loop of loops) {
    path.moveTo(loop[1], loop[0]);
    for (let i = 2; i < loop.length; i += 2) path.lineTo(loop[i + 1], loop[i]);
    path.closePath();
  }
  return path;
}

// the newest of the category that is seen there
export function instanceAt(row, col) {
  ink.setTransform(1, 0, 0, 1, 0, 0);
  return state.at.instances.findLast(
    (e) =>
      e.category === state.at.category &&
      e.path &&
      !state.hidden.has(e.id) &&
      ink.isPointInPath(e.path, col + 0.5, row + 0.5, "evenodd"),
  );
}

// ---- the view -------------------------------------------------------------------------------------------------------

// the picture cannot be lost out of view
export function view(scale, left, top, fitted = false) {
  const [h, w] = state.at.size.map((n) => n * scale);
  const within = (start, size, room) =>
    Math.min(room - Math.min(KEPT, size), Math.max(Math.min(KEPT, size) - size, start));
  state.zoom = { scale, left: within(left, w, canvas.clientWidth), top: within(top, h, canvas.clientHeight), fitted };
}

export function fit() {
  const { clientWidth: w, clientHeight: h } = canvas;
  const [rows, cols] = state.at.size;
  const scale = Math.max(1e-3, Math.min(w / cols, h / rows));
  view(scale, (w - cols * scale) / 2, (h - rows * scale) / 2, true);
}

export function zoomAt(x, y, factor) {
  const { scale, left, top } = state.zoom;
  const [rows, cols] = state.at.size;
  const least = Math.min(canvas.clientWidth / cols, canvas.clientHeight / rows) / 2;
  const wanted = Math.min(64, Math.max(Math.min(least, scale), scale * factor));
  const k = wanted / scale;
  view(wanted, x - (x - left) * k, y - (y - top) * k);
}

export const inImage = (x, y) => [(y - state.zoom.top) / state.zoom.scale, (x - state.zoom.left) / state.zoom.scale];

// the box in view if it shows less than half of the image's width, else null
export function seen() {
  const [top, left] = inImage(0, 0).map(Math.floor);
  const [bottom, right] = inImage(canvas.clientWidth, canvas.clientHeight).map(Math.ceil);
  const [h, w] = state.at.size;
  if (2 * (Math.min(w, right) - Math.max(0, left)) >= w) return null;
  const y = Math.max(0, LEAST - (bottom - top));
  const x = Math.max(0, LEAST - (right - left));
  return [Math.max(0, top - y), Math.max(0, left - x), Math.min(h, bottom + y), Math.min(w, right + x)];
}

// ---- drawing --------------------------------------------------------------------------------------------------------

export function draw() {
  const ratio = devicePixelRatio;
  const w = Math.round(canvas.clientWidth * ratio);
  const h = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const { zoom, look, at, draft } = state;
  ink.setTransform(1, 0, 0, 1, 0, 0);
  ink.clearRect(0, 0, w, h);
  ink.setTransform(zoom.scale * ratio, 0, 0, zoom.scale * ratio, zoom.left * ratio, zoom.top * ratio);
  ink.imageSmoothingEnabled = zoom.scale * ratio < 1;
  if (state.picture) ink.drawImage(state.picture, 0, 0);
  if (!look.hidden) {
    for (const e of at.instances)
      if (e.path && e.id !== draft?.instance && !state.hidden.has(e.id))
        paint(e.path, colour(e.category), look.opacity);
    if (masked())
      paint(masked(), colour(draft?.category ?? at.category), Math.min(1, look.opacity * 1.6), "#fff", proposing());
  }
  if (begun(draft) && state.crop && !look.hidden) framed(state.crop);
  for (const s of [state.stroke, pendingStroke()]) if (s) brushed(s);
  ink.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (proposing()) marker(at.proposal, "proposal");
  for (const [row, col, positive] of draft?.clicks ?? []) marker([row, col], positive ? "plus" : "minus");
  if (state.tool && state.pointer) ring(...state.pointer);
  Object.assign(canvas.dataset, {
    image: at.image ?? "",
    shown: at.number ?? 0,
    scale: zoom.scale,
    left: zoom.left,
    top: zoom.top,
    clicks: JSON.stringify(draft?.clicks ?? []),
    proposal: JSON.stringify(proposing() ? at.proposal : null),
    mask: masked() ? "shown" : "none",
    state: !at.image || busy() ? "busy" : "ready",
  });
}

function paint(path, fill, opacity, edge = fill, dashed = false) {
  if (!state.look.outline) {
    ink.globalAlpha = opacity;
    ink.fillStyle = fill;
    ink.fill(path, "evenodd");
    ink.globalAlpha = 1;
  }
  outlined(path, edge, dashed);
}

// two tones are seen on any ground
function outlined(path, edge, dashed) {
  const px = 1 / state.zoom.scale;
  ink.lineJoin = "round";
  for (const [width, style] of [
    [OUTLINE + 2, "#000c"],
    [OUTLINE, edge],
  ]) {
    [ink.lineWidth, ink.strokeStyle] = [width * px, style];
    ink.setLineDash(dashed && style === edge ? [6 * px, 4 * px] : []);
    ink.stroke(path);
  }
  ink.setLineDash([]);
}

// what the network looks at is framed, the rest is dimmed
function framed([top, left, bottom, right]) {
  const [h, w] = state.at.size;
  const frame = new Path2D();
  frame.rect(left, top, right - left, bottom - top);
  const rest = new Path2D(frame);
  rest.rect(0, 0, w, h);
  ink.fillStyle = "#0008";
  ink.fill(rest, "evenodd");
  outlined(frame, "#fff", true);
}

const pendingStroke = () => (state.answered < state.seq && begun(state.draft) ? state.draft.strokes.at(-1) : null);

// until the server's mask has it
function brushed({ mode, radius, points }) {
  [ink.lineCap, ink.lineJoin, ink.lineWidth, ink.globalAlpha] = ["round", "round", 2 * radius, 0.5];
  ink.strokeStyle = mode === "add" ? colour(state.at.category) : "#000";
  ink.beginPath();
  for (const [row, col] of [points[0], ...points]) ink.lineTo(col, row);
  ink.stroke();
  ink.globalAlpha = 1;
}

function ring(x, y) {
  for (const [width, style] of [
    [3, "#000"],
    [1.5, "#fff"],
  ]) {
    [ink.lineWidth, ink.strokeStyle] = [width, style];
    ink.beginPath();
    ink.arc(x, y, state.brush, 0, 7);
    ink.stroke();
  }
}

function marker([row, col], kind) {
  const { scale, left, top } = state.zoom;
  const [fill, shape, sign] = MARKERS[kind];
  const moved = new DOMMatrix([1, 0, 0, 1, left + (col + 0.5) * scale, top + (row + 0.5) * scale]);
  const path = new Path2D();
  path.addPath(new Path2D(shape), moved);
  [ink.fillStyle, ink.strokeStyle, ink.lineWidth] = [fill, "#fff", 2];
  ink.fill(path);
  path.addPath(new Path2D(sign), moved);
  ink.stroke(path);
}
