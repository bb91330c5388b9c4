"use strict";
/* Class maps in the browser, decoded without loss, and resized and cut exactly as in Python. */

let halves = null;

/* Returns the number of every float16 bit pattern. */
function halfTable() {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits += 1) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const rest = bits & 1023;
    table[bits] = exponent === 31 ? (rest ? NaN : sign * Infinity)
      : sign * (exponent ? 2 ** (exponent - 15) * (1 + rest / 1024) : 2 ** -14 * (rest / 1024));
  }
  return table;
}

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* Returns the class maps of an image: classes, grid [h, w], size [H, W], float32 values [n * h * w]. */
async function planesOf(key, id) {
  const maps = await wsss.read(`layers/${key}/${id}.planes.js`, "planes", `${key}/${id}`);
  if (!maps) return null;
  if (!maps.values) {
    halves ??= halfTable();
    const bytes = await inflated(maps.data);
    const count = bytes.length / 2;
    maps.values = new Float32Array(count);
    for (let k = 0; k < count; k += 1) maps.values[k] = halves[(bytes[k] << 8) | bytes[count + k]];
  }
  return maps;
}

/* Returns the cells and weights of bilinear interpolation in float32 along one axis: `count` pixels
   of a picture, at the nearest of `full` pixels of the image, between the `cells` of a grid. */
function axis(cells, full, count) {
  const f = Math.fround;
  const scale = f(cells / full);
  const out = { low: new Int32Array(count), high: new Int32Array(count),
    a: new Float32Array(count), b: new Float32Array(count) };
  for (let k = 0; k < count; k += 1) {
    const pixel = Math.floor(((k + 0.5) * full) / count);
    const at = Math.max(0, f(f(scale * f(pixel + 0.5)) - 0.5));
    const low = Math.min(Math.floor(at), cells - 1);
    out.low[k] = low;
    out.high[k] = Math.min(low + 1, cells - 1);
    out.b[k] = f(at - low);
    out.a[k] = f(1 - out.b[k]);
  }
  return out;
}

function resized(plane, [h, w], y, x) {
  const f = Math.fround;
  const [height, width] = [y.low.length, x.low.length];
  const out = new Float32Array(height * width);
  for (let r = 0; r < height; r += 1) {
    const [top, bottom, a, b] = [y.low[r] * w, y.high[r] * w, y.a[r], y.b[r]];
    for (let c = 0; c < width; c += 1) {
      const [left, right, p, q] = [x.low[c], x.high[c], x.a[c], x.b[c]];
      const above = f(f(p * plane[top + left]) + f(q * plane[top + right]));
      const below = f(f(p * plane[bottom + left]) + f(q * plane[bottom + right]));
      out[r * width + c] = f(f(a * above) + f(b * below));
    }
  }
  return out;
}

/* Returns score and mask value of the best of the selected classes, at the size of the picture. */
function bestClass(maps, on, width, height) {
  const [h, w] = maps.grid;
  const y = axis(h, maps.size[0], height);
  const x = axis(w, maps.size[1], width);
  const plane = (k) => resized(maps.values.subarray(k * h * w, (k + 1) * h * w), [h, w], y, x);
  const hasBackground = maps.classes[0] === 0;
  const score = new Float32Array(width * height).fill(0);
  const best = new Uint8Array(width * height);
  let first = true;
  maps.classes.forEach((value, k) => {
    if (value === 0 || !on.has(value)) return;
    const values = plane(k);
    for (let i = 0; i < values.length; i += 1) {
      if (first || values[i] > score[i]) {
        score[i] = values[i];
        best[i] = value;
      }
    }
    first = false;
  });
  if (hasBackground && !first) {
    const back = plane(0);
    const f = Math.fround;
    for (let i = 0; i < back.length; i += 1) score[i] = f(f(f(1 + score[i]) - back[i]) / 2);
  }
  return { score, best, width, height };
}

function rgb(hex) {
  return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

/* Draws the seed: the best class where its score exceeds the threshold. */
function paintSeed(canvas, scored, threshold, colours) {
  const limit = Math.fround(threshold);
  const image = new ImageData(scored.width, scored.height);
  const table = colours.map(rgb);
  for (let i = 0; i < scored.score.length; i += 1) {
    if (scored.best[i] && scored.score[i] > limit) {
      image.data.set(table[scored.best[i]], 4 * i);
      image.data[4 * i + 3] = 255;
    }
  }
  canvas.width = scored.width;
  canvas.height = scored.height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/* Draws the maximum of the selected class maps as a heat map, at the size of the maps. */
function paintHeat(canvas, maps, on, heat) {
  const [h, w] = maps.grid;
  const image = new ImageData(w, h);
  const levels = heat.length / 4 - 1;
  for (let i = 0; i < h * w; i += 1) {
    let largest = 0;
    maps.classes.forEach((value, k) => {
      if (value && on.has(value)) largest = Math.max(largest, maps.values[k * h * w + i]);
    });
    const step = 4 * Math.round(Math.min(1, largest) * levels);
    image.data.set(heat.slice(step, step + 4), 4 * i);
  }
  canvas.width = w;
  canvas.height = h;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/* ---- images of one split of a run ---- */

class Split {
  static async of(run, split) {
    const name = `${run}/${split}`;
    const index = await wsss.read(`data/${name}/index.js`, "index", name);
    return index && new Split(name, index);
  }

  constructor(name, index) {
    Object.assign(this, { name, index, ids: index.ids, rows: new Array(index.ids.length).fill(null) });
    this.starts = [0];
    for (const size of index.chunks) this.starts.push(this.starts[this.starts.length - 1] + size);
    this.positions = new Map(index.ids.map((id, k) => [id, k]));
  }

  get loaded() {
    return this.rows.reduce((count, row) => count + (row ? 1 : 0), 0);
  }

  /* Loads size, classes and scores of the images of a chunk. */
  async load(chunk) {
    const rows = await wsss.read(`data/${this.name}/${chunk}.js`, "chunk", `${this.name}/${chunk}`);
    (rows ?? []).forEach(([height, width, classes, scores], k) => {
      this.rows[this.starts[chunk] + k] = { height, width, classes, scores };
    });
  }

  /* Loads the chunks that hold the images at these positions. */
  async loadFor(positions) {
    const chunks = new Set(positions.map((k) => this.starts.findIndex((s) => s > k) - 1));
    await Promise.all([...chunks].map((chunk) => this.load(chunk)));
  }

  /* Returns width and height of the picture of an image. */
  size(row) {
    const scale = Math.min(1, this.index.long / Math.max(row.width, row.height));
    return [Math.max(1, Math.round(row.width * scale)), Math.max(1, Math.round(row.height * scale))];
  }

  /* Returns key, title and file of the layers that can be drawn over an image. */
  layers(row) {
    const { shards, regions, regionsTitle, sources } = this.index;
    const layers = [];
    if (regions) layers.push({ key: "regions", title: regionsTitle, file: (id) => `${regions}/${id}.regions.png` });
    if (this.index.scored && (!row || row.scores.some((s) => s))) {
      layers.push({ key: "target", title: "target", file: (id) => `${shards}/${id}.target.png` });
    }
    for (const s of sources) {
      if (s.threshold === null) {
        layers.push({ key: s.name, title: s.title, file: (id) => `${s.key}/${id}.labels.png` });
        continue;
      }
      const level = Math.round(100 * s.threshold);
      layers.push({ key: `${s.name} map`, title: `${s.title} map`, file: (id) => `${s.key}/${id}.map.png` });
      layers.push({ key: `${s.name} seed`, title: `${s.title} seed`,
        file: (id) => `${s.key}/${id}.${level}.seed.png` });
      if (s.edges) layers.push({ key: `${s.name} edges`, title: `${s.title} boundaries`, file: (id) => `${s.key}/${id}.edges.png` });
    }
    return layers;
  }

  /* Returns the key of the layer with the seed or labels of a source. */
  layerOf(source) {
    return source.threshold === null ? source.name : `${source.name} seed`;
  }
}

function chips(split, row) {
  return row.classes.map((value) => {
    const chip = element("span", { className: "chip" });
    const colour = element("i", { ariaHidden: "true" });
    colour.style.background = split.index.colours[value];
    chip.append(colour, split.index.classes[value] ?? `class ${value}`);
    return chip;
  });
}

/* Returns the card of an image with the layers `visible`; a click calls `onOpen`. */
function card(split, position, visible, onOpen) {
  const id = split.ids[position];
  const row = split.rows[position];
  const stack = element("span", { className: "stack" });
  const [width, height] = row ? split.size(row) : [4, 3];
  stack.style.aspectRatio = `${width} / ${height}`;
  const picture = (file, kind, alt) => element("img", { src: wsss.file(`layers/${file}`), alt, className: kind,
    loading: "lazy", decoding: "async", width, height });
  stack.append(picture(`${split.index.shards}/${id}.jpg`, "image", ""));
  for (const layer of split.layers(row)) {
    if (visible.has(layer.key)) {
      stack.append(picture(layer.file(id), / (map|edges)$/.test(layer.key) ? "map" : "mask", layer.title));
    }
  }
  const button = element("button", { type: "button", className: "open", ariaLabel: `Open ${id}` }, stack);
  button.addEventListener("click", () => onOpen(position));
  return element("div", { className: "card", role: "listitem" }, button,
    element("h3", { textContent: id }),
    element("p", {}, ...(row ? chips(split, row) : [])));
}
