// What stands around the picture: toolbar, status, toasts, cards, categories, instances and the strip of all images.

import { canvas, colour, draw, seen } from "./picture.js";
import { kept } from "./history.js";
import { $, begun, busy, counted, primary, proposing, state } from "./state.js";

const SHOWN = 4000; // ms, a toast
const SLOW = 150; // ms that are waited without a word
let on = {}; // what a person does with what is made here: see page.js

export function made(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  for (const [key, value] of Object.entries(properties.data ?? {})) element.dataset[key] = value;
  for (const [key, value] of Object.entries(properties.aria ?? {})) element.setAttribute(`aria-${key}`, value);
  element.append(...children);
  return element;
}

function icon(name) {
  const svg = document.createElementNS($("icons").namespaceURI, "svg");
  const use = document.createElementNS(svg.namespaceURI, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

export function listen(handlers) {
  on = handlers;
  for (const button of document.querySelectorAll("[data-icon]")) {
    const { icon: name, key, word } = button.dataset;
    button.setAttribute("aria-label", button.title);
    button.title += ` (${key})`;
    button.append(icon(name), made("kbd", { textContent: key, aria: { hidden: true } }));
    button.append(made("span", { textContent: word, aria: { hidden: true } }));
  }
  $("way").addEventListener("change", () => {
    canvas.focus();
    on.way($("way").value === "several");
  });
  $("filter").addEventListener("change", () => {
    canvas.focus();
    $("strip").classList.toggle("filtered", $("filter").checked);
  });
  $("category").addEventListener("input", categories);
  $("category").addEventListener("keydown", typed);
  $("number").addEventListener("change", numbered);
}

// ---- one line at a time ---------------------------------------------------------------------------------------------

let timer = 0;
export function toast(text) {
  clearTimeout(timer);
  [$("toast").textContent, $("toast").hidden] = [text, !text];
  timer = setTimeout(() => {
    $("toast").hidden = true;
  }, SHOWN);
}

// stays until something succeeds
export function fail(line) {
  [$("error").textContent, $("error").hidden] = [line, !line];
}

export function row(buttons) {
  return made(
    "div",
    { className: "row" },
    ...buttons.map(([textContent, onclick, data = {}]) => made("button", { textContent, onclick, data })),
  );
}

export function card(title, lines, buttons = []) {
  const shown = lines.map((line) => (line instanceof Node ? line : made("p", { textContent: line })));
  $("card").replaceChildren(made("h2", { textContent: title }), ...shown, row(buttons));
  $("card").hidden = false;
}

export function uncovered() {
  $("card").hidden = true;
}

// a card that may be closed gives way to the picture; whether there was one
export function gaveWay() {
  const close = $("card").hidden ? null : $("card").querySelector("[data-closes]");
  close?.click();
  return Boolean(close);
}

function status() {
  const { at, draft } = state;
  if (!at.image || !at.readable) return "";
  if (state.armed) return "Click the new first point";
  if (begun(draft)) {
    const what = [
      [draft.clicks.length, "click"],
      [draft.strokes.length, "stroke"],
    ]
      .filter(([n]) => n)
      .map(([n, one]) => counted(n, one))
      .join(", ");
    const said = [draft.instance ? "Correcting" : "", what].filter(Boolean).join(": ");
    return `${state.crop ? "Focus · " : ""}${said}`;
  }
  if (proposing()) return "Proposal";
  if (at.done) return "Done";
  if (at.empty.includes(at.category)) return "";
  const what = at.instances.length ? "Click the next object" : "Click the object";
  return `${seen() ? "Focus · " : ""}${at.plain ? "Study: no proposal. " : ""}${what}`;
}

// [key, what it does]: what may be meant now and is not on the blue button alone
function hints() {
  const { at, draft } = state;
  const proposal = [
    ["Space", "accept"],
    ["Esc", "reject"],
  ];
  const ends = !begun(draft) && !at.done && (at.instances.length || (state.several && at.empty.length));
  return [...(proposing() ? proposal : []), ...(ends ? [["F", "image done"]] : [])];
}

let since = 0;
// all that follows from the state; what a person waits for is named after 150 ms
export function refresh() {
  const waits = busy() || state.doing;
  if (!waits) since = 0;
  else if (!since) {
    since = performance.now();
    setTimeout(refresh, SLOW + 1);
  }
  const slow = waits && performance.now() - since > SLOW;
  $("spinner").hidden = !slow;
  $("spinner").classList.toggle("middle", state.doing === "Loading");
  const words = {
    status: slow && state.doing ? `${state.doing} …` : status(),
    name: state.at.image ?? "",
    none: state.at.empty.length ? `∅ no ${state.at.empty.join(", ")}` : "",
  };
  for (const [name, text] of Object.entries(words)) $(name).textContent = text;
  $("hint").replaceChildren(...hints().flatMap(([key, what]) => [made("kbd", { textContent: key }), ` ${what} `]));
  canvas.setAttribute("aria-label", `Image to annotate: ${state.at.image ?? "none yet"}`);
  buttons();
  draw();
}

export function spinAt(x, y) {
  Object.assign($("spinner").style, { left: `${x}px`, top: `${y}px` });
}

export const redoable = () => kept.undone.length > 0 || Boolean(state.at.redo && !kept.steps.length);

function buttons() {
  const { at, draft, look, tool } = state;
  const [action, label] = primary();
  $("primary").firstElementChild.textContent = label;
  const idle = {
    primary: !action,
    reject: !draft && !proposing(),
    undo: !kept.steps.length && !at.undo,
    redo: !redoable(),
    previous: !on.neighbour?.(-1),
    next: !on.neighbour?.(1),
    propose: proposing() || !(at.done || at.empty.includes(at.category)),
    remove: !draft?.instance,
    reselect: !at.readable,
    brush: !at.readable,
    eraser: !at.readable,
    nothing: !at.image || at.instances.some((e) => e.category === at.category),
    done: !at.image,
  };
  const pressed = {
    reselect: state.armed,
    brush: tool === "add",
    eraser: tool === "erase",
    outline: look.outline,
    done: Boolean(at.done),
    nothing: at.empty.includes(at.category),
  };
  for (const button of document.querySelectorAll("[data-action]")) {
    const name = button.dataset.action;
    if (name in idle) button.disabled = idle[name] && !busy();
    if (name in pressed) button.setAttribute("aria-pressed", pressed[name]);
  }
  for (const item of $("instances").children) {
    item.classList.toggle("current", Number(item.dataset.id) === draft?.instance);
  }
}

// ---- the sidebar ----------------------------------------------------------------------------------------------------

// after an answer
export function sidebar() {
  const { at, rows } = state;
  categories();
  $("instances").replaceChildren(...at.instances.map(instance));
  $("progress").textContent = at.progress ? `${at.progress.done} of ${at.progress.total} done` : "";
  [$("number").value, $("number").max, $("count").textContent] = [
    1 + rows.findIndex((row) => row[0] === at.image),
    rows.length,
    rows.length,
  ];
  $("way").value = state.several ? "several" : "one";
  $("statistics").replaceChildren(
    ...(at.statistics ?? []).flatMap(([k, v]) => [made("dt", { textContent: k }), made("dd", { textContent: v })]),
  );
  marks();
  reveal(thumbs.get(at.image));
}

function swatch(category) {
  const element = made("i", { className: "swatch" });
  element.style.background = colour(category);
  return element;
}

// those whose name holds what is typed, and a new one of just that name
function categories() {
  const name = $("category").value.trim();
  const found = state.categories.filter((c) => c.name.toLowerCase().includes(name.toLowerCase()));
  const exact = found.find((c) => c.name === name);
  const shown = exact ? [exact, ...found.filter((c) => c !== exact)] : found;
  const add = () => chosen(on.newCategory, name);
  const adding = made("button", { textContent: `Add ${name}`, className: "long", onclick: add });
  $("categories").replaceChildren(...shown.map(category), ...(name && !exact ? [adding] : []));
}

function category({ name }) {
  const i = state.categories.findIndex((c) => c.name === name);
  const key = i < 9 ? [made("kbd", { textContent: i + 1 })] : [];
  const label = made("span", { className: "long", textContent: name });
  const properties = { title: i < 9 ? `${name} (${i + 1})` : name, aria: { pressed: name === state.at.category } };
  return made("button", { ...properties, onclick: () => chosen(on.category, name) }, swatch(name), label, ...key);
}

// Enter takes the first of the list
function typed(event) {
  if (event.key === "Enter" && $("category").value.trim()) $("categories").firstElementChild.click();
  else if (event.key === "Enter" || event.key === "Escape") chosen(() => {});
}

// the whole list is there again
function chosen(act, name) {
  $("category").value = "";
  categories();
  canvas.focus();
  act(name);
}

function instance({ id, category, clicks, strokes, covered }) {
  const closed = state.hidden.has(id);
  const what = [
    counted(clicks, "click"),
    ...(strokes ? [counted(strokes, "stroke")] : []),
    ...(covered ? ["covered"] : []),
  ].join(", ");
  const choice = made(
    "select",
    {
      title: "Change the category",
      aria: { label: `Category of instance ${id}` },
      onchange: () => on.recategorise(id, choice.value),
    },
    ...state.categories.map(({ name }) =>
      made("option", { value: name, textContent: name, selected: name === category }),
    ),
  );
  return made(
    "li",
    { data: { id } },
    swatch(category),
    choice,
    made("button", {
      className: "long",
      textContent: what,
      title: `Correct this ${category}: ${what}`,
      onclick: () => on.reopen(id),
    }),
    made(
      "button",
      {
        className: "eye",
        title: closed ? "Show" : "Hide",
        aria: { label: "Hide", pressed: closed },
        onclick: () => toggleEye(id),
      },
      icon(closed ? "closed" : "eye"),
    ),
    made("button", { title: "Delete", aria: { label: "Delete" }, onclick: () => on.remove(id) }, icon("delete")),
  );
}

function toggleEye(id) {
  const focused = document.activeElement.matches(".eye");
  if (!state.hidden.delete(id)) state.hidden.add(id);
  sidebar();
  if (focused) document.querySelector(`[data-id="${id}"] .eye`).focus();
  draw();
}

// ---- the strip of all images ----------------------------------------------------------------------------------------

const AT_ONCE = 2; // thumbnails on their way; the browser has few connections, and a click needs one
const thumbs = new Map(); // by name
const wanted = new Set(); // in view and not asked for
let loading = 0;
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries)
      isIntersecting && !target.dataset.asked ? wanted.add(target) : wanted.delete(target);
    load();
  },
  { root: $("strip"), rootMargin: "100px" },
);

async function load() {
  while (loading < AT_ONCE && wanted.size) {
    const [thumb] = wanted;
    wanted.delete(thumb);
    thumb.dataset.asked = true;
    loading++;
    on.thumbnail(thumb.dataset.image)
      .then(
        (blob) => {
          thumb.firstElementChild.src = URL.createObjectURL(blob);
        },
        () => thumb.classList.add("unreadable"),
      )
      .then(() => {
        loading--;
        load();
      });
  }
}

// a button an image; `marks` keeps them current
export function strip() {
  for (const [i, [name]] of state.rows.entries()) {
    const properties = { title: name, tabIndex: -1, data: { image: name }, onclick: () => on.open(name) };
    const number = made("span", { textContent: i + 1 });
    thumbs.set(name, made("button", properties, made("img", { alt: "" }), number, made("b")));
  }
  $("strip").replaceChildren(...thumbs.values());
  for (const thumb of thumbs.values()) watcher.observe(thumb);
}

// [mark, sign, words] of an image
function mark([name, count, done, empty]) {
  const some = state.several && count > 0;
  if (begun(kept.drafts[name])) return ["draft", "…", "unfinished clicks"];
  if (empty && !some) return ["empty", "∅", `no ${state.at.category}`];
  if (done) return ["done", "✓", "done"];
  return some ? ["some", String(count), `${counted(count, "object")}, not done`] : ["", "", "not done"];
}

export function marks() {
  for (const row of state.rows) {
    const [name, , done] = row;
    const thumb = thumbs.get(name);
    const [kind, sign, words] = mark(row);
    if (thumb.dataset.mark !== kind || thumb.lastElementChild.textContent !== sign) {
      [thumb.dataset.mark, thumb.lastElementChild.textContent] = [kind, sign];
      thumb.title = `${name}: ${words}`;
    }
    if (thumb.classList.contains("done") !== done) thumb.classList.toggle("done", done);
    const current = name === state.at.image;
    if (current !== (thumb.getAttribute("aria-current") === "true")) {
      thumb.setAttribute("aria-current", current);
      thumb.tabIndex = current ? 0 : -1;
    }
  }
}

// scrolls the strip and nothing around it
function reveal(thumb) {
  const { left, right, top, bottom } = thumb.getBoundingClientRect();
  const strip = $("strip").getBoundingClientRect();
  const x = Math.min(0, left - strip.left) + Math.max(0, right - strip.right);
  const y = Math.min(0, top - strip.top) + Math.max(0, bottom - strip.bottom);
  $("strip").scrollBy(x, y);
}

function numbered() {
  const given = $("number").value;
  const number = Number(given);
  const row = state.rows[number - 1];
  $("number").value = 1 + state.rows.findIndex(([name]) => name === state.at.image); // until another image is shown
  if (row) on.open(row[0]);
  else fail(`Image ${given || "without a number"}: expected 1 to ${state.rows.length}`);
  canvas.focus();
}
