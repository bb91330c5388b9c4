"use strict";
/* The images of a run: a page of cards at a time, and one image in all its layers. */

const CARDS = 48;
const form = document.querySelector("form.controls");
const grid = document.querySelector(".grid");
const viewer = document.getElementById("viewer");
const run = document.body.dataset.run;
const fields = form.elements;
const state = { split: null, order: [], page: 0, shown: new Set(), work: 0 };

const percent = (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(1));

function options(select, pairs) {
  const before = select.value;
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value, textContent: text })));
  if (pairs.some(([value]) => value === before)) select.value = before;
}

/* ---- which images, in which order ---- */

function judge() {
  return Number(fields.judge.value || 0);
}

function orders(index) {
  const own = judge();
  const found = [["", "as stored"], ["worst", "worst first"], ["best", "best first"]];
  index.errors.forEach((error, k) => found.push([`error ${k}`, `most ${error}`]));
  index.sources.forEach((s, k) => {
    if (k === own) return;
    found.push([`gain ${k}`, `gained most over ${s.title}`], [`loss ${k}`, `lost most against ${s.title}`]);
  });
  return found;
}

/* What an image is sorted by, smallest first; NaN goes last. */
function rank(row) {
  const [way, number] = fields.order.value.split(" ");
  const own = row && row.found[judge()];
  if (!own) return NaN;
  if (way === "worst") return own[0];
  if (way === "best") return -own[0];
  if (way === "error") return -own[1 + Number(number)];
  const other = row.found[Number(number)];
  return other ? (own[0] - other[0]) * (way === "gain" ? -1 : 1) : NaN;
}

function worstError(row) {
  const own = row.found[judge()];
  if (!own) return -1;
  const most = Math.max(...own.slice(1));
  return most > 0 ? own.slice(1).indexOf(most) : -1;
}

function wanted(row) {
  if (fields.class.value && !(row && row.classes.includes(Number(fields.class.value)))) return false;
  return !fields.error.value || (row && worstError(row) === Number(fields.error.value));
}

const needsAll = () => Boolean(fields.order.value || fields.class.value || fields.error.value);

function sorted() {
  const { rows, ids } = state.split;
  let found = ids.map((_, k) => k);
  if (!needsAll()) return found;
  found = found.filter((k) => wanted(rows[k]));
  if (!fields.order.value) return found;
  const last = (v) => (Number.isNaN(v) ? Infinity : v);
  const by = new Map(found.map((k) => [k, last(rank(rows[k]))]));
  return found.sort((a, b) => (by.get(a) === by.get(b) ? a - b : by.get(a) < by.get(b) ? -1 : 1));
}

/* Reads how all images fare, chunk by chunk, and shows what is known meanwhile. */
async function judgeAll() {
  const work = (state.work += 1);
  const { split } = state;
  let drawnAt = performance.now();
  for (let k = 0; k < split.index.chunks.length; k += 1) {
    await split.load(k);
    if (work !== state.work) return;
    if (performance.now() - drawnAt > 700) {
      state.order = sorted();
      show();
      drawnAt = performance.now();
    }
  }
  state.order = sorted();
  show();
}

function refresh() {
  state.page = 0;
  state.order = sorted();
  if (needsAll()) judgeAll();
  else state.work += 1;
  show();
}

/* ---- cards ---- */

function told(row) {
  const names = state.split.index.sources.map((s, k) => {
    const found = row.found[k];
    return `${s.title} ${found ? percent(found[0]) : "–"}`;
  });
  const kind = worstError(row);
  const error = kind < 0 ? "" : ` · ${state.split.index.errors[kind]} ${percent(row.found[judge()][1 + kind])}`;
  return names.join(" · ") + error;
}

async function show() {
  const { split, order } = state;
  const first = state.page * CARDS;
  const places = order.slice(first, first + CARDS);
  const token = (state.drawing = {});
  const draw = () => grid.replaceChildren(...places.map((place) => {
    const made = card(split, place, state.shown, open);
    const row = split.rows[place];
    if (row) made.querySelector("h3").after(element("p", { className: "scores", textContent: told(row) }));
    return made;
  }));
  draw();
  const last = Math.min(first + CARDS, order.length);
  const all = needsAll() && split.judged < split.ids.length
    ? ` · ${split.judged} of ${split.ids.length} judged so far` : "";
  fields.place.value = order.length ? `${first + 1}–${last} of ${order.length}${all}` : `no image${all}`;
  form.querySelector("[data-do=back]").disabled = state.page === 0;
  form.querySelector("[data-do=on]").disabled = last >= order.length;
  if (places.some((place) => !split.rows[place])) {
    await split.loadFor(places);
    if (token === state.drawing) draw();
  }
}

function layerBoxes() {
  const box = form.querySelector("fieldset");
  const known = state.split.layers(null);
  box.replaceChildren(box.querySelector("legend"), ...known.map((layer) => {
    const input = element("input", { type: "checkbox", checked: state.shown.has(layer.key) });
    input.addEventListener("change", () => {
      if (input.checked) state.shown.add(layer.key);
      else state.shown.delete(layer.key);
      show();
    });
    return element("label", {}, input, ` ${layer.title}`);
  }));
}

async function choose() {
  const split = await Split.of(run, fields.split.value);
  if (!split) {
    grid.replaceChildren(element("p", { textContent: "The images cannot be read." }));
    return;
  }
  state.split = split;
  const { index } = split;
  const first = !fields.judge.options.length;
  options(fields.judge, index.sources.map((s, k) => [String(k), s.title]));
  if (first) fields.judge.value = String(Math.max(0, index.sources.length - 1));
  options(fields.class, [["", "all"], ...index.classes.map((c, k) => [String(k), c]).slice(1)]);
  options(fields.error, [["", "any"], ...index.errors.map((e, k) => [String(k), e])]);
  options(fields.order, orders(index));
  const own = index.sources[judge()];
  if (own && first) state.shown.add(split.own(own));
  const count = index.ids.length < index.total ? `${index.ids.length} of these images are shown · ` : "";
  document.getElementById("scope").textContent =
    `${index.scope} · ${count}by image: mean IoU over the classes in it, per cent`;
  layerBoxes();
  refresh();
}

/* ---- one image in all its layers ---- */

const view = { place: 0, source: -1, on: new Set(), layers: new Map(), threshold: null };

function layerControl(key, title, picture, on) {
  const kept = view.layers.get(key) ?? { on, opacity: key === "image" ? 100 : 65 };
  view.layers.set(key, kept);
  const apply = () => {
    picture.style.opacity = kept.opacity / 100;
    picture.style.visibility = kept.on ? "" : "hidden";
  };
  const box = element("input", { type: "checkbox", checked: kept.on });
  const range = element("input", { type: "range", min: 0, max: 100, value: kept.opacity,
    ariaLabel: `Opacity of ${title}` });
  box.addEventListener("change", () => { kept.on = box.checked; apply(); });
  range.addEventListener("input", () => { kept.opacity = Number(range.value); apply(); });
  apply();
  const line = element("div", { className: "layer" }, element("label", {}, box, ` ${title}`), range);
  line.box = box;
  return line;
}

function classSwitches(split, maps, changed) {
  return maps.classes.filter((value) => value).map((value) => {
    const box = element("input", { type: "checkbox", checked: view.on.has(value) });
    box.addEventListener("change", () => {
      if (box.checked) view.on.add(value);
      else view.on.delete(value);
      changed();
    });
    const [chip] = chips(split, { classes: [value] });
    return element("label", {}, box, chip);
  });
}

/* The maps of one source: heat, seed, threshold, classes. */
async function mapControls(split, id, heat, seed, size, box) {
  const source = split.index.sources[view.source];
  if (!source || source.threshold === null) return;
  const maps = await planesOf(source.key, id);
  if (!maps || split.ids[view.place] !== id || split.index.sources[view.source] !== source) return;
  view.on = new Set(maps.classes);
  view.threshold ??= source.threshold;
  const range = element("input", { type: "range", min: 0, max: 0.99, step: 0.01,
    value: view.threshold, name: "threshold", ariaLabel: "Seed threshold" });
  const said = element("output", { textContent: view.threshold.toFixed(2) });
  let found = null;
  const cut = () => {
    view.threshold = Number(range.value);
    said.textContent = view.threshold.toFixed(2);
    paintSeed(seed, found, view.threshold, split.index.colours);
    seed.dataset.threshold = view.threshold;
  };
  const sum = () => {
    found = bestClass(maps, view.on, ...size);
    paintHeat(heat, maps, view.on, split.index.heat);
    cut();
  };
  range.addEventListener("input", cut);
  view.step = (by) => { range.value = view.threshold + by; cut(); };
  sum();
  const chosen = source.own ? "own background" : `chosen: ${source.threshold}`;
  box.replaceChildren(
    element("label", { className: "wide" }, `Threshold (${chosen}) `, said, range),
    element("fieldset", {}, element("legend", { textContent: "Classes" }), ...classSwitches(split, maps, sum)));
}

function showImage() {
  const { split } = state;
  const id = split.ids[view.place];
  const row = split.rows[view.place];
  const size = split.size(row);
  document.getElementById("viewer-title").textContent = id;
  const stage = viewer.querySelector(".stage");
  stage.style.aspectRatio = `${size[0]} / ${size[1]}`;
  stage.style.setProperty("--ratio", size[0] / size[1]);
  const picture = (file, alt) => element("img", { src: wsss.file(`layers/${file}`), alt });
  const image = picture(`${split.index.shards}/${id}.jpg`, id);
  const heat = element("canvas", { className: "map" });
  const seed = element("canvas", { className: "mask", id: "seed" });
  const drawn = [["image", "image", image, true], ["heat", "heat of the maps", heat, false],
    ["seed", "seed", seed, true]];
  for (const layer of split.layers(row)) {
    if (/ (map|seed)$/.test(layer.key)) continue;
    drawn.push([layer.key, layer.title, picture(layer.file(id), layer.title), false]);
  }
  stage.replaceChildren(...drawn.map(([, , shown]) => shown));
  const lines = drawn.map((layer) => layerControl(...layer));
  view.boxes = lines.map((line) => line.box);
  const of = element("select", { ariaLabel: "Maps of" });
  const maps = split.index.sources.map((s, k) => [String(k), s.title, s]).filter(([, , s]) => s.threshold !== null);
  options(of, maps);
  const wished = view.source < 0 ? judge() : view.source;
  const known = maps.some(([k]) => Number(k) === wished);
  view.source = Number(known ? wished : maps.length ? maps[maps.length - 1][0] : 0);
  of.value = String(view.source);
  const controls = element("div", { className: "maps" });
  const cut = () => mapControls(split, id, heat, seed, size, controls);
  of.addEventListener("change", () => {
    view.source = Number(of.value);
    view.threshold = null;
    cut();
  });
  viewer.querySelector(".panel").replaceChildren(
    element("p", { className: "scores", textContent: told(row) }),
    element("fieldset", {}, element("legend", { textContent: "Layers" }), ...lines),
    element("label", {}, "Maps of ", of), controls);
  cut();
}

async function open(place) {
  view.place = place;
  await state.split.loadFor([place]);
  showImage();
  if (!viewer.open) viewer.showModal();
  wsss.at(`#${state.split.ids[place]}`);
}

function step(by) {
  const at = state.order.indexOf(view.place) + by;
  if (at >= 0 && at < state.order.length) open(state.order[at]);
}

viewer.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=range], select");
  if (event.key === "ArrowLeft" && !typing) step(-1);
  else if (event.key === "ArrowRight" && !typing) step(1);
  else if (event.key === "[" && view.step) view.step(-0.01);
  else if (event.key === "]" && view.step) view.step(0.01);
  else if (/^[1-9]$/.test(event.key) && view.boxes[event.key - 1]) view.boxes[event.key - 1].click();
  else return;
  event.preventDefault();
});
viewer.addEventListener("close", () => wsss.at("#"));
viewer.querySelector(".panel").addEventListener("submit", (event) => event.preventDefault());
for (const button of viewer.querySelectorAll(".bar button")) {
  const does = { previous: () => step(-1), next: () => step(1), close: () => viewer.close() };
  button.addEventListener("click", does[button.dataset.do]);
}

/* ---- controls ---- */

function look() {
  grid.style.setProperty("--opacity", fields.opacity.value / 100);
  grid.style.setProperty("--card", `${fields.size.value}px`);
}

fields.split.addEventListener("change", choose);
fields.judge.addEventListener("change", () => {
  const own = state.split.index.sources[judge()];
  state.shown = new Set([...state.shown].filter((key) => key === "target" || key === "regions"));
  state.shown.add(state.split.own(own));
  options(fields.order, orders(state.split.index));
  layerBoxes();
  refresh();
});
for (const name of ["order", "class", "error"]) fields[name].addEventListener("change", refresh);
form.addEventListener("input", look);
form.addEventListener("submit", (event) => event.preventDefault());
for (const [name, by] of [["back", -1], ["on", 1]]) {
  form.querySelector(`[data-do=${name}]`).addEventListener("click", () => {
    state.page += by;
    show();
    form.scrollIntoView({ block: "nearest" });
  });
}

async function start() {
  if (innerWidth < NARROW) fields.size.value = 150;
  look();
  const id = decodeURIComponent(wsss.hash().slice(1));
  await choose();
  if (id && state.split && state.split.places.has(id)) open(state.split.places.get(id));
}

if (fields.split.value) start();
