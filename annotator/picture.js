// The picture: image, finished instances, mask and markers, at any zoom; and what stands beside it.
"use strict";

const $ = (id) => document.getElementById(id);
const canvas = $("canvas"), ink = canvas.getContext("2d"), side = document.createElement("canvas");
const MARKER = 7; // CSS pixels

function onFinished(row, col) {
  if (!at.finished) return false;
  [side.width, side.height] = [1, 1];
  const one = side.getContext("2d");
  one.drawImage(at.finished, -col, -row);
  return one.getImageData(0, 0, 1, 1).data[3] > 0;
}

function fit() {
  const { clientWidth: w, clientHeight: h } = canvas;
  const scale = Math.min(w / at.size[1], h / at.size[0]);
  zoom = { scale, left: (w - at.size[1] * scale) / 2, top: (h - at.size[0] * scale) / 2, fitted: true };
}

function draw() {
  const ratio = devicePixelRatio, w = Math.round(canvas.clientWidth * ratio), h = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const onto = (pen) => pen.setTransform(zoom.scale * ratio, 0, 0, zoom.scale * ratio, zoom.left * ratio, zoom.top * ratio);
  ink.setTransform(1, 0, 0, 1, 0, 0);
  ink.clearRect(0, 0, w, h);
  onto(ink);
  ink.imageSmoothingEnabled = zoom.scale * ratio < 1;
  if (at.picture) ink.drawImage(at.picture, 0, 0);
  if (!look.hidden) for (const layer of [at.finished, mask]) if (layer) paint(layer, onto, w, h, layer === mask ? look.opacity : look.opacity / 2);
  ink.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (proposed === "shown" && proposal) marker(proposal, "proposal");
  for (const [row, col, positive] of clicks) marker([row, col], positive ? "plus" : "minus");
  for (const [name, on] of [["reselect", armed], ["outline", look.outline], ["stay", look.stay], ["nothing", at.empty]])
    document.querySelector(`[data-action=${name}]`).setAttribute("aria-pressed", on);
  Object.assign(canvas.dataset, { view: at.view, image: at.image, scale: zoom.scale, left: zoom.left, top: zoom.top,
    clicks: JSON.stringify(clicks), proposal: JSON.stringify(proposed === "shown" ? proposal : null),
    mask: mask ? "shown" : "none", state: busy || answered < seq ? "busy" : "ready" });
}

function paint(layer, onto, w, h, opacity) {
  if (!look.outline) {
    ink.globalAlpha = opacity;
    ink.drawImage(layer, 0, 0);
    ink.globalAlpha = 1;
    return;
  }
  [side.width, side.height] = [w, h];
  const pen = side.getContext("2d"), t = 2 / zoom.scale; // two CSS pixels
  pen.imageSmoothingEnabled = false;
  onto(pen);
  for (const [x, y] of [[-t, 0], [t, 0], [0, -t], [0, t]]) pen.drawImage(layer, x, y);
  pen.globalCompositeOperation = "destination-out";
  pen.drawImage(layer, 0, 0);
  ink.setTransform(1, 0, 0, 1, 0, 0);
  ink.drawImage(side, 0, 0);
  onto(ink);
}

function marker([row, col], kind) { // the two signs differ in shape too: round with a plus, square with a minus
  const x = zoom.left + (col + 0.5) * zoom.scale, y = zoom.top + (row + 0.5) * zoom.scale, r = MARKER;
  ink.beginPath();
  if (kind === "plus") ink.arc(x, y, r, 0, 7);
  else if (kind === "minus") ink.rect(x - r, y - r, 2 * r, 2 * r);
  else for (const [dx, dy] of [[0, -r - 2], [r + 2, 0], [0, r + 2], [-r - 2, 0], [0, -r - 2]]) ink.lineTo(x + dx, y + dy);
  [ink.fillStyle, ink.strokeStyle, ink.lineWidth] = [{ plus: "#d00000", minus: "#0050d0", proposal: "#8000c0" }[kind], "#fff", 2];
  ink.fill();
  ink.stroke();
  ink.beginPath();
  if (kind !== "proposal") { ink.moveTo(x - 4, y); ink.lineTo(x + 4, y); }
  if (kind === "plus") { ink.moveTo(x, y - 4); ink.lineTo(x, y + 4); }
  ink.stroke();
}

// ---- beside the picture ----------------------------------------------------------------------------------------------

const counted = (n) => `${n} click${n === 1 ? "" : "s"}`;

function say(text) { $("status").textContent = text; draw(); }

function element(name, text, onclick, pressed) {
  const made = document.createElement(name);
  made.textContent = text;
  if (onclick) made.addEventListener("click", onclick);
  if (pressed !== undefined) made.setAttribute("aria-pressed", pressed);
  return made;
}

function panel() {
  $("name").textContent = `${images[at.image]} · ${at.category}`;
  [$("number").value, $("number").max, $("count").textContent] = [at.image + 1, images.length, images.length];
  $("categories").replaceChildren(...categories.map((c, i) =>
    element("button", i < 9 ? `${i + 1} ${c}` : c, () => open(at.image, c), c === at.category)));
  $("instances").replaceChildren(...at.instances.filter((e) => e.pixel).map((e, i) => {
    const item = document.createElement("li");
    item.append(element("button", `${i + 1}: ${counted(e.clicks)}`, () => { if (!busy) reopen(...e.pixel); }));
    return item;
  }));
  $("statistics").replaceChildren(...(at.statistics ?? []).flatMap(([k, v]) => [element("dt", k), element("dd", v)]));
}
