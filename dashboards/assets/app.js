"use strict";
/* Common script of all pages: loads data, draws and saves figures, shows example images. */

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dark = matchMedia("(prefers-color-scheme: dark)");
const NARROW = 620;

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in node && key !== "list" && key !== "form") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/* ---- data in scripts, because a page that was opened from disk can load no other file ---- */

/* In a report in one file, the page around this one holds all files (single.js). */
const single = document.URL === "about:srcdoc" ? parent.wsssFiles : null;

/* Whether a server makes the files of this page when they are asked for. */
const live = Boolean(document.body.dataset.every);

const wsss = {
  file: (path) => (single ? single.url(path) : path),
  search: () => (single ? single.search : location.search),
  hash: () => (single ? single.hash : location.hash),
  at(hash) {
    if (single) single.at(hash);
    else history.replaceState(null, "", hash);
  },
  values: new Map(),
  pending: new Map(),
  add(kind, name, value) {
    wsss.values.set(`${kind}:${name}`, value);
  },
  /* Returns the value that the script `file` adds; null if the script cannot be loaded. */
  read(file, kind, name) {
    const key = `${kind}:${name}`;
    if (!wsss.pending.has(key)) {
      wsss.pending.set(key, new Promise((done) => {
        const script = element("script", { src: wsss.file(file) });
        script.addEventListener("load", () => done(wsss.values.get(key) ?? null));
        script.addEventListener("error", () => done(null));
        document.head.append(script);
      }));
    }
    return wsss.pending.get(key);
  },
};

function save(name, kind, text) {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function fileName(text, extension) {
  return `${text.replace(/[^A-Za-z0-9._-]+/g, "-").slice(0, 80)}.${extension}`;
}

function csv(rows) {
  const cell = (v) => {
    const text = String(v ?? "");
    const safe = /^[=+@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/* ---- figures ---- */

const ruler = document.createElement("canvas").getContext("2d");

/* Breaks a text into lines that are at most `width` pixels wide. */
function wrapped(text, width, size) {
  ruler.font = `${size} ${css("--font")}`;
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines[lines.length - 1];
    if (line && ruler.measureText(`${line} ${word}`).width > width) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines;
}

/* Arranges the panels of a figure in four columns, or in one or two on a narrow screen. */
function panels(layout, width) {
  const count = layout.meta && layout.meta.panels;
  if (!count) return;
  const columns = Math.min(count, width < NARROW ? (count === 2 ? 1 : 2) : 4);
  const rows = Math.ceil(count / columns);
  const gapX = width < NARROW ? 0.2 : 0.075;
  const gapY = rows > 1 ? 0.3 : 0;
  const w = (1 + gapX) / columns - gapX;
  const h = (1 + gapY) / rows - gapY;
  for (let k = 0; k < count; k += 1) {
    const x = (k % columns) * (w + gapX);
    const y = (rows - 1 - Math.floor(k / columns)) * (h + gapY);
    const key = k ? String(k + 1) : "";
    layout[`xaxis${key}`].domain = [x, Math.min(1, x + w)];
    layout[`yaxis${key}`].domain = [Math.max(0, y), Math.min(1, y + h)];
  }
  layout.height = 140 + 200 * rows;
}

/* Returns the layout of a figure in the page's colours, with wrapped titles. */
function styledLayout(figure, width) {
  const layout = structuredClone(figure.layout);
  const ink = css("--ink");
  const line = css("--line");
  layout.width = width;
  layout.font = { ...layout.font, color: ink, family: css("--font") };
  layout.hoverlabel = { bgcolor: css("--panel"), bordercolor: line, font: { color: ink } };
  for (const key of Object.keys(layout).filter((k) => /^[xy]axis\d*$/.test(k))) {
    Object.assign(layout[key], { gridcolor: line, linecolor: line, tickcolor: line });
  }
  for (const note of layout.annotations || []) {
    if (note.name === "tick") note.bgcolor = css("--veil");
  }
  const lines = wrapped(layout.title.subtitle.text, width - 10, "12px");
  const style = `font-size:12px;color:${css("--muted")}`;
  const below = lines.map((text) => `<br><span style="${style}">${text}</span>`).join("");
  const titles = wrapped(layout.title.text, width - 10, "bold 14px");
  layout.title.text = `<b>${titles.join("<br>")}</b>${below}`;
  delete layout.title.subtitle;
  panels(layout, width);
  const more = (lines.length - 2 + titles.length - 1) * 18;
  layout.margin.t += more;
  layout.height += more;
  return layout;
}

function draw(box) {
  const width = Math.floor(box.getBoundingClientRect().width);
  if (!width) return;
  const options = { displayModeBar: false, responsive: false };
  Plotly.react(box.area, box.figure.data, styledLayout(box.figure, width), options);
  box.drawnAt = width;
  box.style.minHeight = "";
}

/* Returns the values of an axis, which Plotly encodes as a list or as base64. */
function numbers(values) {
  if (!values || !values.bdata) return values ?? [];
  const bytes = Uint8Array.from(atob(values.bdata), (c) => c.charCodeAt(0));
  const kinds = { f4: Float32Array, f8: Float64Array, i1: Int8Array, i2: Int16Array, i4: Int32Array,
    u1: Uint8Array };
  return [...new kinds[values.dtype](bytes.buffer)];
}

/* Returns the text of a little HTML. */
function textOf(text) {
  return new DOMParser().parseFromString(String(text ?? ""), "text/html").body.textContent;
}

/* Returns the layout of an axis by its name, such as x2. */
function axisOf(figure, name) {
  return figure.layout[`${name[0]}axis${name.slice(1)}`] ?? {};
}

/* Returns the rows of a figure's CSV file. Axes have their titles, which tell panels apart. */
function figureRows(figure) {
  const title = figure.layout.title;
  const rows = [[textOf(title.text)], [textOf(title.subtitle && title.subtitle.text)]];
  rows.push(["series", "x", "y", "value", "x axis", "y axis"]);
  figure.data.forEach((trace, k) => {
    const name = textOf(trace.name ?? `series ${k + 1}`);
    const [across, down] = [axisOf(figure, trace.xaxis ?? "x"), axisOf(figure, trace.yaxis ?? "y")];
    const titled = [across, down.matches ? axisOf(figure, down.matches) : down];
    const titles = titled.map((axis) => textOf(axis.title && axis.title.text));
    const label = (axis, v) => (axis.ticktext && Number.isInteger(v) ? textOf(axis.ticktext[v]) : v);
    const [x, y] = [numbers(trace.x), numbers(trace.y)];
    if (trace.type === "heatmap") {
      const z = trace.z.bdata ? numbers(trace.z) : trace.z.flat();
      z.forEach((v, i) => {
        const [column, row] = [x[i % x.length], y[Math.floor(i / x.length)]];
        rows.push([name, label(across, column), label(down, row), v, ...titles]);
      });
    } else {
      const values = trace.marker && Array.isArray(trace.marker.color) ? trace.marker.color : [];
      const absent = (i) => Array.isArray(trace.text) && trace.text[i] === "absent";
      x.forEach((v, i) => {
        if (v === null || y[i] === null) return;
        rows.push([name, absent(i) ? "absent" : v, label(down, y[i]), values[i] ?? "", ...titles]);
      });
    }
  });
  return rows;
}

function saveButtons(box) {
  const name = box.getAttribute("aria-label");
  const png = element("button", { type: "button", textContent: "PNG" });
  png.addEventListener("click", () => {
    const layout = { ...styledLayout(box.figure, box.drawnAt), paper_bgcolor: css("--panel") };
    Plotly.downloadImage({ data: box.figure.data, layout },
      { format: "png", scale: 2, width: layout.width, height: layout.height,
        filename: fileName(name, "").slice(0, -1) });
  });
  const text = element("button", { type: "button", textContent: "CSV" });
  text.addEventListener("click", () => {
    save(fileName(name, "csv"), "text/csv", csv(figureRows(box.figure)));
  });
  const { meta } = box.figure.layout;
  const buttons = meta && meta.positions ? [png] : [png, text];  // positions on the page are no data
  for (const button of buttons) button.ariaLabel = `${button.textContent} of ${name}`;
  return element("div", { className: "save" }, ...buttons);
}

let plotly = null;

/* Loads Plotly, which is large, when the first figure is drawn. */
function loadPlotly() {
  plotly ??= new Promise((done, failed) => {
    const script = element("script", { src: wsss.file("plotly.min.js") });
    script.addEventListener("load", done);
    script.addEventListener("error", failed);
    document.head.append(script);
  });
  return plotly;
}

/* Draws figures near the view at once, and all other figures when the browser is idle. */
const nearView = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) ready(entry.target);
}, { rootMargin: "300px" });
const later = [];

async function ready(box) {
  if (box.requested) return;
  box.requested = true;
  nearView.unobserve(box);
  if (!box.figure && !await loadFigure(box)) return;
  await loadPlotly();
  if (box.isConnected) draw(box);
}

/* Loads a figure from its file. The server makes it from the scores of all images: it scores them a
   chunk at a time, so that it can send other pages in between. */
async function loadFigure(box) {
  const { file, name } = box.dataset;
  const index = live ? await wsss.read(`data/${name}/index.js`, "index", name) : null;
  for (let k = 0; index && k < index.chunks.length; k += 1) {
    box.note.textContent = `The images are scored: part ${k + 1} of ${index.chunks.length}.`;
    await wsss.read(`data/${name}/${k}.js`, "chunk", `${name}/${k}`);
  }
  box.figure = await wsss.read(file, "figure", name);
  if (!box.figure) {
    box.note.textContent = "The images of this run cannot be read.";
    return null;
  }
  box.note.remove();
  box.append(saveButtons(box));
  return box.figure;
}

async function drawLater() {
  const box = later.shift();
  if (!box) return;
  if (box.isConnected) await ready(box);
  (globalThis.requestIdleCallback ?? setTimeout)(drawLater);
}

function figures(root) {
  for (const box of root.querySelectorAll("figure.plot")) {
    box.area = element("div");
    box.style.minHeight = `${box.dataset.height}px`;
    if (box.dataset.file) {
      box.note = element("p", { className: "note" });
      box.append(box.note, box.area);
    } else {
      box.figure = JSON.parse(box.querySelector("script").textContent);
      box.append(box.area, saveButtons(box));
    }
    nearView.observe(box);
    if (box.figure || !live) later.push(box);
  }
  (globalThis.requestIdleCallback ?? setTimeout)(drawLater);
}

function redrawn(box) {
  if (box.drawnAt !== undefined) draw(box);
}

dark.addEventListener("change", () => document.querySelectorAll("figure.plot").forEach(redrawn));
let resizing = 0;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => {
    for (const box of document.querySelectorAll("figure.plot")) {
      if (Math.floor(box.getBoundingClientRect().width) !== box.drawnAt) redrawn(box);
    }
  }, 150);
});

/* ---- example images of runs ---- */

const nearExample = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) showExample(entry.target);
}, { rootMargin: "300px" });

async function showExample(figure) {
  nearExample.unobserve(figure);
  const { run } = figure.dataset;
  const example = await wsss.read(`data/${run}/example.js`, "example", run);
  const caption = figure.querySelector("figcaption");
  if (!example) {
    caption.append(": its images cannot be read");
    return;
  }
  const [width, height] = example.size;
  const image = element("img", { src: wsss.file(example.picture), alt: example.parts.join(", "), width, height });
  const link = element("a", { href: `images.${run}.html#${example.id}`, ariaLabel: `Open ${example.id}` }, image);
  const names = element("ol", {}, ...example.parts.map((name) => element("li", { textContent: name })));
  figure.prepend(link, names);
  caption.append(example.score === null
    ? `, ${example.split}: image ${example.id}, not scored`
    : `, ${example.split}: image ${example.id}, mIoU ${(100 * example.score).toFixed(1)} % by `
      + `${example.result}, the median of ${example.images} images`);
}

/* Sets up the tables, figures and example images of a new piece of the page. */
function setUp(root) {
  tables(root);
  figures(root);
  for (const figure of root.querySelectorAll("figure.example")) nearExample.observe(figure);
}

setUp(document);
if (single) single.arrived(document);
