"use strict";
/* Live pages: ask the server for a stamp of the records, and update the blocks that changed. */

const { page, every } = document.body.dataset;

/* Returns header, sections and their navigation by name. */
function blocks(root) {
  const byName = new Map([["header", root.getElementById("header")]]);
  for (const section of root.querySelectorAll("main > section")) byName.set(section.id, section);
  const nav = root.querySelector("nav.sections");
  if (nav) byName.set("nav", nav);
  return byName;
}

const known = new Map();

async function fetchPage() {
  const text = await (await fetch(page, { cache: "no-store" })).text();
  return new DOMParser().parseFromString(text, "text/html");
}

/* Returns the scroll offsets of the boxes in a block, in order. */
function scrollOffsets(block) {
  return [...block.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
}

function replace(old, next) {
  const offsets = scrollOffsets(old);
  const open = [...old.querySelectorAll("details")].map((box) => box.open);
  const fresh = document.importNode(next, true);
  old.replaceWith(fresh);
  setUp(fresh);
  fresh.querySelectorAll(".scroll").forEach((box, k) => {
    if (offsets[k]) [box.scrollLeft, box.scrollTop] = offsets[k];
  });
  fresh.querySelectorAll("details").forEach((box, k) => { box.open = open[k] ?? false; });
}

function update(key, next, current, main) {
  const text = next.outerHTML;
  if (known.get(key) === text) return;
  known.set(key, text);
  if (current.has(key)) {
    replace(current.get(key), next);
    return;
  }
  const fresh = document.importNode(next, true);
  main.append(fresh);
  setUp(fresh);
}

const frame = () => new Promise((done) => { requestAnimationFrame(() => setTimeout(done)); });

/* Updates tables before figures, which take long to draw. */
async function follow() {
  const next = blocks(await fetchPage());
  const current = blocks(document);
  const main = document.getElementById("main");
  const hasFigure = ([, block]) => block.querySelector("figure.plot");
  for (const [key, block] of [...next].filter((entry) => !hasFigure(entry))) update(key, block, current, main);
  orderSections(next, main);
  await frame();
  for (const [key, block] of [...next].filter(hasFigure)) update(key, block, current, main);
  orderSections(next, main);
}

/* Orders the sections and removes deleted ones; some new sections may not be in the page yet. */
function orderSections(next, main) {
  const current = blocks(document);
  const order = [...next.keys()].filter((key) => key !== "header" && key !== "nav" && current.has(key));
  for (const [key, section] of current) if (!next.has(key)) section.remove();
  const wrong = order.some((key, k) => main.children[k] && main.children[k].id !== key);
  if (wrong) main.append(...order.map((key) => document.getElementById(key)));
  for (const stray of [...main.children]) if (stray.tagName === "P" && order.length) stray.remove();
}

async function watch() {
  const status = element("p", { className: "status", role: "status", textContent: "live" });
  document.querySelector("nav.site").append(status);
  let stamp = document.body.dataset.stamp;
  for (;;) {
    await new Promise((done) => setTimeout(done, Number(every)));
    if (document.hidden) continue;
    try {
      const state = await (await fetch(`state/${page}`, { cache: "no-store" })).json();
      status.textContent = "live";
      if (state.stamp === stamp) continue;
      await follow();
      stamp = state.stamp;
      document.body.dataset.followed = stamp;
    } catch {
      status.textContent = "the server does not respond";
    }
  }
}

if (page) watch();
