"use strict";
/* Images of a run: a grid of cards, and a viewer of one image with all its layers. */

const CARDS = 48;
const form = document.querySelector("form.controls");
const grid = document.querySelector(".grid");
const viewer = document.getElementById("viewer");
const run = document.body.dataset.run;
const fields = form.elements;
const state = { split: null, order: [], page: 0, layers: new Set(), work: 0 };

const percent = (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(1));

function options(select, pairs) {
  const before = select.value;
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value, textContent: text })));
  if (pairs.some(([value]) => value === before)) select.value = before;
}

/* ---- selection and order of the images ---- */

/* Returns the number of the result whose scores order the images. */
function scoredSource() {
  return Number(fields.judge.value || 0);
}

function orders(index) {
  if (!index.scored) return [["", "stored order"]];
  const chosen = scoredSource();
  const choices = [["worst", "lowest mIoU first"], ["best", "highest mIoU first"]];
  index.errors.forEach((error, k) => choices.push([`error ${k}`, `most ${error} first`]));
  index.sources.forEach((s, k) => {
    if (k === chosen) return;
    choices.push([`gain ${k}`, `largest gain over ${s.title}`], [`loss ${k}`, `largest loss against ${s.title}`]);
  });
  return [...choices, ["", "stored order"]];
}

/* Returns the number by which an image is sorted, smallest first; NaN sorts last. */
function rank(row) {
  const [criterion, number] = fields.order.value.split(" ");
  const scores = row && row.scores[scoredSource()];
  if (!scores) return NaN;
  if (criterion === "worst") return scores[0];
  if (criterion === "best") return -scores[0];
  if (criterion === "error") return -scores[1 + Number(number)];
  const other = row.scores[Number(number)];
  return other ? (scores[0] - other[0]) * (criterion === "gain" ? -1 : 1) : NaN;
}

/* Returns the number of the kind of error with most pixels; -1 without errors. */
function mainError(row) {
  const scores = row.scores[scoredSource()];
  if (!scores) return -1;
  const shares = scores.slice(1);
  const largest = Math.max(...shares);
  return largest > 0 ? shares.indexOf(largest) : -1;
}

function isSelected(row) {
  if (fields.class.value && !(row && row.classes.includes(Number(fields.class.value)))) return false;
  return !fields.error.value || (row && mainError(row) === Number(fields.error.value));
}

const needsAllScores = () => Boolean(fields.order.value || fields.class.value || fields.error.value);

function sorted() {
  const { rows, ids } = state.split;
  let positions = ids.map((_, k) => k);
  if (!needsAllScores()) return positions;
  positions = positions.filter((k) => isSelected(rows[k]));
  if (!fields.order.value) return positions;
  const last = (v) => (Number.isNaN(v) ? Infinity : v);
  const by = new Map(positions.map((k) => [k, last(rank(rows[k]))]));
  return positions.sort((a, b) => (by.get(a) === by.get(b) ? a - b : by.get(a) < by.get(b) ? -1 : 1));
}

/* Loads the scores of all images chunk by chunk, and shows the images of which it has them. */
async function loadAll() {
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
  if (needsAllScores()) loadAll();
  else state.work += 1;
  show();
}

/* ---- cards ---- */

function scoreText(row) {
  if (!state.split.index.scored) return "";
  const names = state.split.index.sources.map((s, k) => {
    const scores = row.scores[k];
    return `${s.title} ${scores ? percent(scores[0]) : "–"}`;
  });
  const kind = mainError(row);
  const error = kind < 0 ? "" : ` · ${state.split.index.errors[kind]} ${percent(row.scores[scoredSource()][1 + kind])}`;
  return names.join(" · ") + error;
}

async function show() {
  const { split, order } = state;
  const first = state.page * CARDS;
  const positions = order.slice(first, first + CARDS);
  const token = (state.drawing = {});
  const draw = () => grid.replaceChildren(...positions.map((position) => {
    const node = card(split, position, state.layers, open);
    const row = split.rows[position];
    const text = row ? scoreText(row) : "";
    if (text) node.querySelector("h3").after(element("p", { className: "scores", textContent: text }));
    return node;
  }));
  draw();
  const last = Math.min(first + CARDS, order.length);
  const all = needsAllScores() && split.loaded < split.ids.length
    ? ` · scores of ${split.loaded} of ${split.ids.length} images loaded` : "";
  fields.place.value = order.length ? `${first + 1}–${last} of ${order.length}${all}` : `no images${all}`;
  form.querySelector("[data-do=back]").disabled = state.page === 0;
  form.querySelector("[data-do=on]").disabled = last >= order.length;
  if (positions.some((position) => !split.rows[position])) {
    await split.loadFor(positions);
    if (token === state.drawing) draw();
  }
}

function layerBoxes() {
  const box = form.querySelector("fieldset");
  const known = state.split.layers(null);
  box.replaceChildren(box.querySelector("legend"), ...known.map((layer) => {
    const input = element("input", { type: "checkbox", checked: state.layers.has(layer.key) });
    input.addEventListener("change", () => {
      if (input.checked) state.layers.add(layer.key);
      else state.layers.delete(layer.key);
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
  options(fields.error, [["", "any"], ...(index.scored ? index.errors : []).map((e, k) => [String(k), e])]);
  options(fields.order, orders(index));
  if (first && index.scored) fields.order.value = "worst";
  document.getElementById("judge-title").textContent = index.scored ? "Scores of" : "Result";
  for (const name of ["order", "error"]) fields[name].parentElement.hidden = !index.scored;
  const source = index.sources[scoredSource()];
  if (source && first) state.layers.add(split.layerOf(source));
  const count = index.ids.length < index.total ? `this report includes ${index.ids.length} of the images` : "";
  document.getElementById("scope").textContent =
    `${index.scope}${count && ` · ${count}`}${index.scored ? " · below each image: mean IoU % over the classes in its target or prediction" : ""}`;
  layerBoxes();
  refresh();
}

/* ---- viewer of one image with all its layers ---- */

const view = { position: 0, source: -1, on: new Set(), layers: new Map(), threshold: null };

function layerControl(key, title, picture, on) {
  const setting = view.layers.get(key) ?? { on, opacity: key === "image" ? 100 : 65 };
  view.layers.set(key, setting);
  const apply = () => {
    picture.style.opacity = setting.opacity / 100;
    picture.style.visibility = setting.on ? "" : "hidden";
  };
  const box = element("input", { type: "checkbox", checked: setting.on });
  const range = element("input", { type: "range", min: 0, max: 100, value: setting.opacity,
    ariaLabel: `Opacity of ${title}` });
  box.addEventListener("change", () => { setting.on = box.checked; apply(); });
  range.addEventListener("input", () => { setting.opacity = Number(range.value); apply(); });
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

/* Sets up heat map, seed, threshold slider and class switches of one result with class maps. */
async function mapControls(split, id, heat, seed, size, box) {
  const source = split.index.sources[view.source];
  if (!source || source.threshold === null) return;
  const maps = await planesOf(source.key, id);
  if (!maps || split.ids[view.position] !== id || split.index.sources[view.source] !== source) return;
  view.on = new Set(maps.classes);
  view.threshold ??= source.threshold;
  const range = element("input", { type: "range", min: 0, max: 0.99, step: 0.01,
    value: view.threshold, name: "threshold", ariaLabel: "Seed threshold" });
  const readout = element("output", { textContent: view.threshold.toFixed(2) });
  let scored = null;
  const cut = () => {
    view.threshold = Number(range.value);
    readout.textContent = view.threshold.toFixed(2);
    paintSeed(seed, scored, view.threshold, split.index.colours);
    seed.dataset.threshold = view.threshold;
  };
  const update = () => {
    scored = bestClass(maps, view.on, ...size);
    paintHeat(heat, maps, view.on, split.index.heat);
    cut();
  };
  range.addEventListener("input", cut);
  view.step = (by) => { range.value = view.threshold + by; cut(); };
  update();
  box.replaceChildren(
    element("label", { className: "wide" }, `Threshold (${source.origin}) `, readout, range),
    element("fieldset", {}, element("legend", { textContent: "Classes" }), ...classSwitches(split, maps, update)));
}

function showImage() {
  const { split } = state;
  const id = split.ids[view.position];
  const row = split.rows[view.position];
  const size = split.size(row);
  document.getElementById("viewer-title").textContent = id;
  const stage = viewer.querySelector(".stage");
  stage.style.aspectRatio = `${size[0]} / ${size[1]}`;
  stage.style.setProperty("--ratio", size[0] / size[1]);
  const picture = (file, alt) => element("img", { src: wsss.file(`layers/${file}`), alt });
  const image = picture(`${split.index.shards}/${id}.jpg`, id);
  const heat = element("canvas", { className: "map" });
  const seed = element("canvas", { className: "mask", id: "seed" });
  const drawn = [["image", "image", image, true], ["heat", "heat map", heat, false],
    ["seed", "seed", seed, true]];
  for (const layer of split.layers(row)) {
    if (/ (map|seed)$/.test(layer.key)) continue;
    drawn.push([layer.key, layer.title, picture(layer.file(id), layer.title), false]);
  }
  stage.replaceChildren(...drawn.map(([, , picture]) => picture));
  const lines = drawn.map((layer) => layerControl(...layer));
  view.boxes = lines.map((line) => line.box);
  const select = element("select", { ariaLabel: "Class maps of" });
  const maps = split.index.sources.map((s, k) => [String(k), s.title, s]).filter(([, , s]) => s.threshold !== null);
  options(select, maps);
  const preferred = view.source < 0 ? scoredSource() : view.source;
  const hasMaps = maps.some(([k]) => Number(k) === preferred);
  view.source = Number(hasMaps ? preferred : maps.length ? maps[maps.length - 1][0] : 0);
  select.value = String(view.source);
  const controls = element("div", { className: "maps" });
  const cut = () => mapControls(split, id, heat, seed, size, controls);
  select.addEventListener("change", () => {
    view.source = Number(select.value);
    view.threshold = null;
    cut();
  });
  viewer.querySelector(".panel").replaceChildren(
    element("p", { className: "scores", textContent: scoreText(row) }),
    element("fieldset", {}, element("legend", { textContent: "Layers" }), ...lines),
    element("label", {}, "Class maps of ", select), controls);
  cut();
}

async function open(position) {
  view.position = position;
  await state.split.loadFor([position]);
  showImage();
  if (!viewer.open) viewer.showModal();
  wsss.at(`#${state.split.ids[position]}`);
}

function step(by) {
  const at = state.order.indexOf(view.position) + by;
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
  const actions = { previous: () => step(-1), next: () => step(1), close: () => viewer.close() };
  button.addEventListener("click", actions[button.dataset.do]);
}

/* ---- controls ---- */

function applyLook() {
  grid.style.setProperty("--opacity", fields.opacity.value / 100);
  grid.style.setProperty("--card", `${fields.size.value}px`);
}

fields.split.addEventListener("change", choose);
fields.judge.addEventListener("change", () => {
  const source = state.split.index.sources[scoredSource()];
  state.layers = new Set([...state.layers].filter((key) => key === "target" || key === "regions"));
  state.layers.add(state.split.layerOf(source));
  options(fields.order, orders(state.split.index));
  layerBoxes();
  refresh();
});
for (const name of ["order", "class", "error"]) fields[name].addEventListener("change", refresh);
form.addEventListener("input", applyLook);
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
  applyLook();
  const id = decodeURIComponent(wsss.hash().slice(1));
  await choose();
  if (id && state.split && state.split.positions.has(id)) open(state.split.positions.get(id));
}

if (fields.split.value) start();
