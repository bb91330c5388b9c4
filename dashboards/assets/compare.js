"use strict";
/* Comparison of two runs: IoU by class, and the images with the largest gains and losses. */

const LISTED = 12;
const form = document.querySelector("form.controls");
const fields = form.elements;
const viewer = document.getElementById("viewer");
const figure = document.querySelector("figure.plot");
const pair = { a: null, b: null, work: 0, cards: [], at: 0 };

const percent = (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(1));
const points = (value) => `${value >= 0 ? "+" : "−"}${Math.abs(100 * value).toFixed(1)}`;

async function chooseRun(side, title) {
  const run = await wsss.read(`data/${fields[side].value}/run.js`, "run", fields[side].value);
  pair[side] = run;
  const select = fields[`${side}-of`];
  const before = title ?? (select.selectedOptions[0] && select.selectedOptions[0].textContent);
  const titles = run ? run.scores.map((s) => `${s.title} on ${s.split}`) : [];
  select.replaceChildren(...titles.map((text, k) => element("option", { value: String(k), textContent: text })));
  const last = run ? run.scores.findLastIndex((s) => s.split === run.splits[0]) : 0;
  const same = titles.indexOf(before);
  select.value = String(same >= 0 ? same : Math.max(0, last));
}

function chosen(side) {
  return pair[side] && pair[side].scores[Number(fields[`${side}-of`].value)];
}

/* ---- classes ---- */

/* Returns the IoU of each class of A or B; null where a result lacks the class. */
function byClass(a, b) {
  const iou = (result, name) => result.iou[result.classes.indexOf(name)] ?? null;
  return [...new Set([...a.classes, ...b.classes])].map((name) => ({ name, a: iou(a, name), b: iou(b, name) }));
}

function escaped(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function drawClasses(a, b) {
  const rows = byClass(a, b);
  const ticks = rows.map((row) => escaped(row.name.slice(0, 24)));
  const at = rows.map((_, k) => k);
  const bar = (name, values, color, text) => ({ type: "bar", orientation: "h", y: at, x: values, name, text,
    textposition: "outside", cliponaxis: false, marker: { color }, hoverinfo: "name+x" });
  const length = (v) => (v === null ? 0 : 100 * v);
  const text = (v) => (v === null ? "absent" : (100 * v).toFixed(1));
  const { layout } = figure.figure;
  layout.title.subtitle.text = escaped(`A: ${a.title}, ${a.scope} / B: ${b.title}, ${b.scope}`);
  layout.height = 150 + 44 * rows.length;
  Object.assign(layout.yaxis, { tickvals: at, ticktext: ticks, range: [rows.length - 0.5, -0.5] });
  layout.xaxis.range = [0, 115];
  layout.xaxis.title.text = "IoU %";
  figure.figure.data = [
    bar(`A: ${escaped(a.title)}`, rows.map((r) => length(r.a)), "#0072B2", rows.map((r) => text(r.a))),
    bar(`B: ${escaped(b.title)}`, rows.map((r) => length(r.b)), "#D55E00", rows.map((r) => text(r.b))),
  ];
  if (figure.drawnAt === undefined) ready(figure);
  else draw(figure);
  differenceTable(rows, a, b);
}

function onSameData(a, b) {
  return a.data === b.data || (pair.a.shards === pair.b.shards && a.split === b.split);
}

function differenceTable(rows, a, b) {
  const same = onSameData(a, b);
  const alike = rows.length === a.classes.length && rows.length === b.classes.length;
  const caption = `IoU by class: ${b.title} on ${b.split} (B) against ${a.title} on ${a.split} (A)`;
  const cell = (value, text) => element("td", { className: "number", textContent: text, "data-v": value ?? -1 });
  const line = (name, x, y, comparable) => {
    const gain = x === null || y === null || !comparable ? null : y - x;
    return element("tr", {}, element("th", { scope: "row", textContent: name }), cell(x, percent(x)),
      cell(y, percent(y)), cell(gain ?? -9, gain === null ? "–" : points(gain)));
  };
  const head = ["class", "A %", "B %", "points gained"].map((text) =>
    element("th", { scope: "col" }, element("button", { type: "button", textContent: text })));
  const table = element("table", { className: "sortable" }, element("caption", {}, element("span", { textContent: caption })),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, line("mean", a.value, b.value, same && alike),
      ...rows.map((r) => line(r.name, r.a, r.b, same))));
  const box = element("div", { className: "scroll", role: "region", tabIndex: 0, ariaLabel: caption }, table);
  const container = document.getElementById("differences");
  const unlike = same ? "The means of A and B run over different classes"
    : "A and B were scored on unlike images or masks";
  const note = element("p", { className: "note",
    textContent: `${unlike}, so no points are gained or lost between them.` });
  container.replaceChildren(box, ...(same && alike ? [] : [note]));
  tables(container);
}

/* ---- images ---- */

function showStatus(text) {
  document.getElementById("pair-scope").textContent = text;
}

async function images(a, b) {
  const work = (pair.work += 1);
  for (const name of ["gained", "lost"]) document.getElementById(name).replaceChildren();
  if (!onSameData(a, b)) {
    showStatus("The two results were scored on different images or masks, so no images are compared.");
    return;
  }
  const [left, right] = await Promise.all([Split.of(pair.a.name, a.split), Split.of(pair.b.name, b.split)]);
  const sourceOf = (split, s) => (split ? split.index.sources.findIndex((source) => source.name === s.name) : -1);
  const [i, j] = [sourceOf(left, a), sourceOf(right, b)];
  if (i < 0 || j < 0) {
    showStatus("This report lacks the images of one of the two results.");
    return;
  }
  const both = right.ids.filter((id) => left.positions.has(id)).length;
  for (const split of [left, right]) {
    for (let k = 0; k < split.index.chunks.length; k += 1) {
      await split.load(k);
      if (work !== pair.work) return;
      showStatus(`Scores of ${left.loaded + right.loaded} of ${left.ids.length + right.ids.length} images loaded.`);
    }
  }
  const pairs = [];
  right.ids.forEach((id, k) => {
    const [x, y] = [left.rows[left.positions.get(id)], right.rows[k]];
    if (x && y && x.scores[i] && y.scores[j]) pairs.push({ id, position: k, a: x.scores[i][0], b: y.scores[j][0] });
  });
  pairs.sort((x, y) => y.b - y.a - (x.b - x.a));
  showStatus(`${pairs.length} of ${both} images of ${a.split} have both scores; difference B − A of the mean IoU over the classes in an image's target or prediction`);
  const gained = pairs.slice(0, LISTED).filter((f) => f.b > f.a);
  const lost = pairs.slice(-LISTED).reverse().filter((f) => f.b < f.a);
  pair.cards = [...gained, ...lost];
  pair.results = { left, right, i, j, a, b };
  for (const [name, list] of [["gained", gained], ["lost", lost]]) {
    const layer = right.layerOf(right.index.sources[j]);
    document.getElementById(name).replaceChildren(...list.map((f) => {
      const node = card(right, f.position, new Set([layer]), () => open(pair.cards.indexOf(f)));
      node.querySelector("h3").after(element("p", { className: "scores",
        textContent: `${percent(f.a)} → ${percent(f.b)} (${points(f.b - f.a)})` }));
      return node;
    }));
  }
}

/* ---- viewer of one image: A to the left of the line, B to the right ---- */

function open(at) {
  const entry = pair.cards[at];
  if (!entry) return;
  pair.at = at;
  const { left, right, i, j, a, b } = pair.results;
  const row = right.rows[entry.position];
  const [width, height] = right.size(row);
  document.getElementById("viewer-title").textContent = entry.id;
  const stage = viewer.querySelector(".stage");
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.setProperty("--ratio", width / height);
  const picture = (file, alt) => element("img", { src: wsss.file(`layers/${file}`), alt });
  const layer = (split, source, className) => {
    const match = split.layers(row).find((l) => l.key === split.layerOf(split.index.sources[source]));
    const image = picture(match.file(entry.id), match.title);
    image.className = className;
    return image;
  };
  const [one, two] = [layer(left, i, "left"), layer(right, j, "right")];
  const target = picture(`${right.index.shards}/${entry.id}.target.png`, "target");
  target.hidden = true;
  const line = element("span", { className: "line", ariaHidden: "true" });
  stage.replaceChildren(picture(`${right.index.shards}/${entry.id}.jpg`, entry.id), target, one, two, line);
  const swipe = element("input", { type: "range", min: 0, max: 100, value: 50, name: "swipe",
    ariaLabel: "Swipe between A and B" });
  const opacity = element("input", { type: "range", min: 0, max: 100, value: 65, ariaLabel: "Opacity" });
  const cut = () => {
    stage.style.setProperty("--cut", `${swipe.value}%`);
    one.style.opacity = two.style.opacity = opacity.value / 100;
  };
  for (const range of [swipe, opacity]) range.addEventListener("input", cut);
  const box = element("input", { type: "checkbox" });
  box.addEventListener("change", () => {
    target.hidden = !box.checked;
    one.hidden = two.hidden = box.checked;
  });
  viewer.querySelector(".panel").replaceChildren(
    element("p", { textContent: `A, to the left: ${a.title} of ${pair.a.name}, ${percent(entry.a)}` }),
    element("p", { textContent: `B, to the right: ${b.title} of ${pair.b.name}, ${percent(entry.b)}` }),
    element("label", { className: "wide" }, "Swipe ", swipe),
    element("label", { className: "wide" }, "Opacity ", opacity),
    element("label", {}, box, " show the target instead"),
    element("p", {}, ...chips(right, row)));
  cut();
  if (!viewer.open) viewer.showModal();
}

viewer.addEventListener("keydown", (event) => {
  if (event.target.matches("input[type=range]")) return;
  if (event.key === "ArrowLeft") open(pair.at - 1);
  else if (event.key === "ArrowRight") open(pair.at + 1);
  else return;
  event.preventDefault();
});
for (const button of viewer.querySelectorAll(".bar button")) {
  const actions = { previous: () => open(pair.at - 1), next: () => open(pair.at + 1), close: () => viewer.close() };
  button.addEventListener("click", actions[button.dataset.do]);
}

/* ---- choice of runs and results ---- */

function compare() {
  const [a, b] = [chosen("a"), chosen("b")];
  if (!a || !b) return;
  drawClasses(a, b);
  images(a, b);
}

async function start() {
  const query = new URLSearchParams(wsss.search());
  const names = [...fields.a.options].map((o) => o.value);
  if (!names.length) return;
  fields.a.value = names.includes(query.get("a")) ? query.get("a") : names[0];
  const other = names.find((name) => name !== fields.a.value) ?? names[0];
  fields.b.value = names.includes(query.get("b")) ? query.get("b") : other;
  await chooseRun("a");
  await chooseRun("b");
  compare();
}

for (const side of ["a", "b"]) {
  fields[side].addEventListener("change", async () => { await chooseRun(side); compare(); });
  fields[`${side}-of`].addEventListener("change", compare);
}
form.addEventListener("submit", (event) => event.preventDefault());
start();
