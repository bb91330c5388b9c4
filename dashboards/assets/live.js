"use strict";
/* Follows the store: asks for its state, and takes over the parts of the page that changed. */

const { page, every } = document.body.dataset;

function parts(of) {
  const found = new Map([["header", of.getElementById("header")]]);
  for (const section of of.querySelectorAll("main > section")) found.set(section.id, section);
  const nav = of.querySelector("nav.sections");
  if (nav) found.set("nav", nav);
  return found;
}

const known = new Map();

async function asked() {
  const text = await (await fetch(page, { cache: "no-store" })).text();
  return new DOMParser().parseFromString(text, "text/html");
}

/* Where a table or a box was scrolled to, by its place in the part. */
function scrolled(part) {
  return [...part.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
}

function replace(old, made) {
  const kept = scrolled(old);
  const open = [...old.querySelectorAll("details")].map((box) => box.open);
  const fresh = document.importNode(made, true);
  old.replaceWith(fresh);
  setUp(fresh);
  fresh.querySelectorAll(".scroll").forEach((box, k) => {
    if (kept[k]) [box.scrollLeft, box.scrollTop] = kept[k];
  });
  fresh.querySelectorAll("details").forEach((box, k) => { box.open = open[k] ?? false; });
}

function take(key, made, here, main) {
  const text = made.outerHTML;
  if (known.get(key) === text) return;
  known.set(key, text);
  if (here.has(key)) {
    replace(here.get(key), made);
    return;
  }
  const fresh = document.importNode(made, true);
  main.append(fresh);
  setUp(fresh);
}

const frame = () => new Promise((done) => { requestAnimationFrame(() => setTimeout(done)); });

/* Tables are shown before figures, which take long to draw, are taken over. */
async function follow() {
  const next = parts(await asked());
  const here = parts(document);
  const main = document.getElementById("main");
  const drawn = ([, made]) => made.querySelector("figure.plot");
  for (const [key, made] of [...next].filter((part) => !drawn(part))) take(key, made, here, main);
  arrange(next, main);
  await frame();
  for (const [key, made] of [...next].filter(drawn)) take(key, made, here, main);
  arrange(next, main);
}

/* Sections in their order, without those that are gone; some may not be here yet. */
function arrange(next, main) {
  const here = parts(document);
  const order = [...next.keys()].filter((key) => key !== "header" && key !== "nav" && here.has(key));
  for (const [key, section] of here) if (!next.has(key)) section.remove();
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
      status.textContent = "the server does not answer";
    }
  }
}

if (page) watch();
