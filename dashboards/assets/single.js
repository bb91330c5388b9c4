"use strict";
/* Report in one file: shows one of its pages at a time in a frame. The address holds page, query and
   anchor after the #, so that links and the browser's back and forward buttons work as usual. */

const KINDS = { html: "text/html", js: "text/javascript", css: "text/css", png: "image/png", jpg: "image/jpeg" };
const frame = document.querySelector("iframe");
const urls = new Map();
const held = new Map();
for (const holder of document.querySelectorAll("script[data-path]")) held.set(holder.dataset.path, holder);

function bytes(path) {
  const holder = held.get(path);
  if (!holder) return null;
  const text = atob(holder.textContent);
  const data = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k += 1) data[k] = text.charCodeAt(k);
  return data;
}

function scroll(page, hash) {
  page.getElementById(decodeURIComponent(hash.slice(1)))?.scrollIntoView();
}

/* Interface for the page in the frame. */
globalThis.wsssFiles = {
  search: "",
  hash: "",
  url(path) {
    if (!urls.has(path)) {
      const data = bytes(path);
      if (!data) return "data:,";
      const kind = KINDS[path.split(".").pop()];
      urls.set(path, URL.createObjectURL(new Blob([data], { type: kind })));
    }
    return urls.get(path);
  },
  at(hash) {
    const page = location.hash.slice(1).split("#")[0] || document.body.dataset.start;
    history.replaceState(null, "", `#${page}${hash}`);
  },
  /* Called when a page has loaded in the frame: makes its links change this file's address. */
  arrived(page) {
    page.addEventListener("click", (event) => {
      const link = event.target.closest("a[href]");
      const to = link && link.getAttribute("href");
      if (!to || /^[a-z]+:/.test(to)) return;
      event.preventDefault();
      if (to.startsWith("#")) scroll(page, to);
      else location.hash = to;
    });
    if (wsssFiles.hash) scroll(page, wsssFiles.hash);
  },
};

function show() {
  const address = location.hash.slice(1) || document.body.dataset.start;
  const [, path, search, hash] = /^([^?#]*)(\?[^#]*)?(#.*)?$/.exec(address);
  const data = bytes(path.endsWith(".html") && held.has(path) ? path : document.body.dataset.start);
  const page = new DOMParser().parseFromString(new TextDecoder().decode(data), "text/html");
  page.querySelector("meta[http-equiv]")?.remove(); // the policy of this file applies in the frame too
  for (const [query, name] of [["script[src]", "src"], ["img[src]", "src"], ["link[rel=stylesheet]", "href"]]) {
    for (const item of page.querySelectorAll(query)) {
      const file = item.getAttribute(name);
      if (!file.startsWith("data:")) item.setAttribute(name, wsssFiles.url(file));
    }
  }
  Object.assign(wsssFiles, { search: search ?? "", hash: hash ?? "" });
  document.title = page.title;
  frame.title = page.title;
  frame.srcdoc = `<!doctype html>${page.documentElement.outerHTML}`;
}

addEventListener("hashchange", show);
show();
