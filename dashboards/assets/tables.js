"use strict";
/* Tables of all pages: sorts, filters and saves them. */

function order(a, b) {
  const [x, y] = [Number(a), Number(b)];
  if (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return a.localeCompare(b);
}

/* Sorting and filter of each table, by section and number in the section, so that they survive when
   the page follows the store. */
const arranged = new Map();

function arrange(table, state) {
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows];
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  if (state.column !== undefined && heads[state.column]) {
    heads[state.column].setAttribute("aria-sort", state.up === 1 ? "ascending" : "descending");
    const value = (row) => {
      const cell = row.cells[state.column];
      return cell ? (cell.dataset.v ?? cell.textContent) : "";
    };
    table.tBodies[0].append(...rows.sort((a, b) => state.up * order(value(a), value(b))));
  }
  const words = (state.filter ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of rows) {
    const text = words.length ? row.textContent.toLowerCase() : "";
    row.hidden = !words.every((word) => text.includes(word));
  }
}

/* Returns the text of a cell for a CSV file: a number as programs read it, nothing for a dash. */
function plain(cell) {
  const text = cell.textContent;
  if (!cell.matches(".number")) return text;
  if (text === "–") return "";
  return /^[+−]?[0-9,.]+$/.test(text) ? text.replace("−", "-").replace(/[+,]/g, "") : text;
}

function tableTools(box, table, key, state) {
  const name = box.getAttribute("aria-label");
  const button = element("button", { type: "button", textContent: "CSV", ariaLabel: `CSV of ${name}` });
  button.addEventListener("click", () => {
    const rows = [...table.tHead.rows, ...table.tBodies[0].rows].filter((row) => !row.hidden);
    save(fileName(name, "csv"), "text/csv",
      csv([[name], ...rows.map((row) => [...row.cells].map(plain))]));
  });
  const tools = element("div", { className: "save" }, button);
  if (table.matches(".sortable") && table.tBodies[0].rows.length > 8) {
    const filter = element("input", { type: "search", placeholder: "Filter", value: state.filter ?? "",
      ariaLabel: `Filter: ${name}` });
    filter.addEventListener("input", () => {
      state.filter = filter.value;
      arranged.set(key, state);
      arrange(table, state);
    });
    tools.prepend(filter);
  }
  box.before(tools);
}

function tables(root) {
  root.querySelectorAll(".scroll").forEach((box) => {
    const table = box.querySelector("table");
    const section = box.closest("section");
    const key = `${section.id}:${[...section.querySelectorAll(".scroll")].indexOf(box)}`;
    const state = arranged.get(key) ?? {};
    tableTools(box, table, key, state);
    if (!table.matches(".sortable")) return;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        state.up = state.column === column && state.up === -1 ? 1 : -1;
        state.column = column;
        arranged.set(key, state);
        arrange(table, state);
      });
    });
    arrange(table, state);
  });
}
