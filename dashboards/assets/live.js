"use strict";
/* Live pages: ask the server for a stamp of the records, and update the blocks that changed. */

const { page, every } = document.body.dataset;
const SLOWEST = 8000;  // most milliseconds between two questions after answers that are no page

/* Returns header, sections and their navigation by name. */
function blocks(root) {
  const byName = new Map([["header", root.getElementById("header")]]);
  for (const section of root.querySelectorAll("main > section")) byName.set(section.id, section);
  const nav = root.querySelector("nav.sections");
  if (nav) byName.set("nav", nav);
  return byName;
}

const known = new Map();

/* Returns the server's answer. Where there is none, or it is no success, raises an error in words. */
async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" }).catch(() => null);
  if (!answer) throw new Error("the server does not respond");
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer;
}

async function fetchPage() {
  return new DOMParser().parseFromString(await (await ask(page)).text(), "text/html");
}

/* Returns the scroll offsets of the boxes in a block, in order. */
function scrollOffsets(block) {
  return [...block.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
}

/* Returns the elements of a block that have tag, class and linked page of an element. */
function alike(block, node) {
  const same = (other) => other.className === node.className
    && other.getAttribute("href") === node.getAttribute("href");
  return [...block.querySelectorAll(node.tagName)].filter(same);
}

/* Returns a function that gives the keyboard focus, with the selected text, from an element of a
   block to the element at the same place of the block that replaces it. */
function focusOf(block) {
  const focused = document.activeElement;
  if (!block.contains(focused)) return () => {};
  const place = alike(block, focused).indexOf(focused);
  const selected = [focused.selectionStart, focused.selectionEnd];
  return (fresh) => {
    const target = alike(fresh, focused)[place];
    if (target) target.focus({ preventScroll: true });
    if (target && target.type === "search") target.setSelectionRange(...selected);
  };
}

function replace(old, next) {
  const giveFocus = focusOf(old);
  const offsets = scrollOffsets(old);
  const open = [...old.querySelectorAll("details")].map((box) => box.open);
  const fresh = document.importNode(next, true);
  old.replaceWith(fresh);
  setUp(fresh);
  fresh.querySelectorAll(".scroll").forEach((box, k) => {
    if (offsets[k]) [box.scrollLeft, box.scrollTop] = offsets[k];
  });
  fresh.querySelectorAll("details").forEach((box, k) => { box.open = open[k] ?? false; });
  giveFocus(fresh);
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
  const focused = document.activeElement;
  if (wrong) main.append(...order.map((key) => document.getElementById(key)));
  if (focused !== document.activeElement) focused.focus({ preventScroll: true });
  for (const stray of [...main.children]) if (stray.tagName === "P" && order.length) stray.remove();
}

async function watch() {
  const status = element("p", { className: "status", role: "status", textContent: "live" });
  document.querySelector("nav.site").append(status);
  const show = (text, fault) => {
    if (status.textContent !== text) status.textContent = text;
    status.classList.toggle("fault", fault);
  };
  let stamp = document.body.dataset.stamp;
  let pause = Number(every);
  for (;;) {
    await new Promise((done) => setTimeout(done, pause));
    if (document.hidden) continue;
    try {
      const state = await (await ask(`state/${page}`)).json();
      if (state.stamp !== stamp) {
        await follow();
        stamp = state.stamp;
        document.body.dataset.followed = stamp;
      }
      show("live", false);
      pause = Number(every);
    } catch (error) {
      show(error.message, true);
      pause = Math.max(Number(every), Math.min(2 * pause, SLOWEST));
    }
  }
}

if (page) watch();
