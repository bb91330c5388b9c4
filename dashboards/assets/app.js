"use strict";
/* Draws figures from the page's data, sorts tables, moves the image layers. No other file is read. */

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dark = matchMedia("(prefers-color-scheme: dark)");
const NARROW = 620;

/* ---- figures ---- */

function wrapped(text, width, size) {
  const room = Math.max(20, Math.floor(width / (size * 0.52)));
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines[lines.length - 1];
    if (line && line.length + word.length + 1 > room) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines;
}

/* Panels side by side where there is room, two a row where there is not. */
function panels(layout, width) {
  const count = layout.meta && layout.meta.panels;
  if (!count) return;
  const columns = Math.min(count, width < NARROW ? 2 : 4);
  const rows = Math.ceil(count / columns);
  const gapX = width < NARROW ? 0.14 : 0.055;
  const gapY = rows > 1 ? 0.24 : 0;
  const w = (1 + gapX) / columns - gapX;
  const h = (1 + gapY) / rows - gapY;
  for (let k = 0; k < count; k += 1) {
    const x = (k % columns) * (w + gapX);
    const y = (rows - 1 - Math.floor(k / columns)) * (h + gapY);
    const key = k ? String(k + 1) : "";
    layout[`xaxis${key}`].domain = [x, Math.min(1, x + w)];
    layout[`yaxis${key}`].domain = [y, Math.min(1, y + h)];
  }
  layout.height = 150 + 190 * rows;
}

function dressed(figure, width) {
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
  const lines = wrapped(layout.title.subtitle.text, width - 10, 12);
  const style = `font-size:12px;color:${css("--muted")}`;
  const below = lines.map((text) => `<br><span style="${style}">${text}</span>`).join("");
  layout.title.text = `<b>${layout.title.text}</b>${below}`;
  delete layout.title.subtitle;
  layout.margin.t += (lines.length - 2) * 18;
  panels(layout, width);
  layout.height += (lines.length - 2) * 18;
  return layout;
}

function draw(box) {
  const figure = box.figure;
  const width = Math.floor(box.getBoundingClientRect().width);
  if (!width) return;
  const options = {
    displaylogo: false,
    modeBarButtons: [["toImage"]],
    toImageButtonOptions: { filename: box.getAttribute("aria-label"), scale: 2 },
  };
  Plotly.react(box.area, figure.data, dressed(figure, width), options);
  box.drawnAt = width;
}

function figures() {
  const boxes = [...document.querySelectorAll("figure.plot")];
  for (const box of boxes) {
    box.figure = JSON.parse(box.querySelector("script").textContent);
    box.area = document.createElement("div");
    box.append(box.area);
    draw(box);
  }
  dark.addEventListener("change", () => boxes.forEach(draw));
  let wait = 0;
  addEventListener("resize", () => {
    clearTimeout(wait);
    wait = setTimeout(() => {
      for (const box of boxes) {
        if (Math.floor(box.getBoundingClientRect().width) !== box.drawnAt) draw(box);
      }
    }, 150);
  });
}

/* ---- tables ---- */

function order(a, b) {
  const [x, y] = [Number(a), Number(b)];
  if (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return a.localeCompare(b);
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up === 1 ? "ascending" : "descending");
      const body = table.tBodies[0];
      const value = (row) => {
        const cell = row.cells[column];
        return cell ? (cell.dataset.v ?? cell.textContent) : "";
      };
      body.append(...[...body.rows].sort((a, b) => up * order(value(a), value(b))));
    });
  });
}

/* ---- images ---- */

function images() {
  const form = document.querySelector("form.controls");
  if (!form) return;
  const grid = document.querySelector(".grid");
  const boxes = [...form.querySelectorAll("input[data-layer]")];
  const show = () => {
    for (const box of boxes) {
      for (const picture of grid.querySelectorAll(`img[data-layer="${box.dataset.layer}"]`)) {
        picture.hidden = !box.checked;
      }
    }
  };
  for (const box of boxes) {
    box.addEventListener("change", show);
    box.closest("label").addEventListener("click", (event) => {
      if (!event.shiftKey) return;
      event.preventDefault();
      const chosen = box;
      setTimeout(() => {
        for (const other of boxes) other.checked = other === chosen || other === boxes[0];
        show();
      });
    });
  }
  const look = () => {
    grid.style.setProperty("--opacity", form.elements.opacity.value / 100);
    grid.style.setProperty("--card", `${form.elements.size.value}px`);
  };
  if (innerWidth < NARROW) form.elements.size.value = 150;
  form.addEventListener("input", look);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.order.addEventListener("change", (event) => {
    const [key, way] = event.target.value.split(":");
    const score = (card) => {
      if (!key) return Number(card.dataset.order);
      const value = card.dataset[`s${key.slice(1)}`];
      if (value === undefined) return NaN;
      if (key[0] === "s") return Number(value) * way;
      return card.dataset.s0 === undefined ? NaN : (value - card.dataset.s0) * way;
    };
    const last = (v) => (Number.isNaN(v) ? Infinity : v);
    const cards = [...grid.children].map((card) => [last(score(card)), card]);
    cards.sort((a, b) => (a[0] === b[0] ? a[1].dataset.order - b[1].dataset.order : a[0] < b[0] ? -1 : 1));
    grid.append(...cards.map((pair) => pair[1]));
  });
  show();
  look();
}

document.querySelectorAll("table.sortable").forEach(sortable);
images();
figures();
