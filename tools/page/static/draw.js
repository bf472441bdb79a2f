// SPDX-License-Identifier: Apache-2.0
// People on a canvas: left and right in two colours, as the demos draw them; and a canvas that zooms.
const SIDES = { left: "rgb(110,255,80)", right: "rgb(255,80,245)", middle: "#fff" };
const OUTLINE = "rgb(25,25,25)", BOX = "rgb(255,200,0)";
export const FIRST = "rgb(0,120,230)", SECOND = "rgb(255,140,60)";
const MOST_ZOOM = 16, STEP = 1.25, LEAST_BOX = 3; // the last in pixels of the image

const sideOf = (...names) => {
  const sides = new Set(names.map((name) => /^(left|right)/.exec(name)?.[1]).filter(Boolean));
  return sides.size === 1 ? [...sides][0] : "middle";
};

// The colour between those of lambda 0 and 1.
export const lambdaColour = (lambda) => {
  const [a, b] = [[0, 120, 230], [255, 140, 60]];
  return `rgb(${a.map((value, place) => Math.round(value + (b[place] - value) * lambda)).join(",")})`;
};

// `thick`: of a line, in pixels of the image. Whole numbers of the answer are the middles of pixels.
export function drawPeople(context, people, model, options, thick) {
  const at = ([x, y]) => [x + 0.5, y + 0.5];
  for (const [place, person] of people.entries()) {
    const shown = (name) => person.keypoints[name]?.[2] > options.threshold;
    const limbs = options.limbs ? model.drawn.filter((limb) => limb.every(shown)) : [];
    const points = options.points ? Object.keys(person.keypoints).filter(shown) : [];
    const own = (names) => names.map((name) => model.colours?.[name]).filter(Boolean).pop();
    const colour = (...names) => options.colour ?? person.colour ?? own(names) ?? SIDES[sideOf(...names)];
    context.lineCap = "round";
    for (const rim of [true, false]) {
      context.lineWidth = rim ? thick * 1.6 : thick;
      for (const [a, b] of limbs) {
        context.strokeStyle = rim ? OUTLINE : colour(a, b);
        context.beginPath();
        context.moveTo(...at(person.keypoints[a]));
        context.lineTo(...at(person.keypoints[b]));
        context.stroke();
      }
      for (const name of points) {
        context.fillStyle = rim ? OUTLINE : colour(name);
        context.beginPath();
        context.arc(...at(person.keypoints[name]), thick * (rim ? 1.25 : 0.95), 0, 2 * Math.PI);
        context.fill();
      }
    }
    if (options.boxes) drawBox(context, person.box, thick / 2);
    if (options.ids) drawLabel(context, person, `${person.id ?? place}`, thick);
  }
}

export function drawBox(context, [left, top, width, height], thick, colour = BOX) {
  context.strokeStyle = colour;
  context.lineWidth = thick;
  context.strokeRect(left, top, width, height);
}

function drawLabel(context, person, text, thick) {
  const highest = Object.values(person.keypoints).reduce((best, point) => (point[1] < best[1] ? point : best), [0, 1e9]);
  const size = thick * 6;
  context.font = `${size}px sans-serif`;
  context.textAlign = "center";
  context.lineWidth = size / 5;
  context.strokeStyle = OUTLINE;
  context.fillStyle = "#fff";
  const place = [highest[0], Math.max(size, highest[1] - size / 2)];
  context.strokeText(text, ...place);
  context.fillText(text, ...place);
}

export const thickness = (width, height) => Math.max(1, 0.006 * Math.max(width, height));

// A canvas that shows an image with layers {people, model, options}; wheel, +, -, 0 and arrows zoom and move it.
export class View {
  constructor(canvas, { onBox = null } = {}) {
    Object.assign(this, { canvas, image: null, overlay: null, layers: [], boxes: [], zoom: 1, x: 0, y: 0, onBox });
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
  }

  show(image) {
    Object.assign(this, { image, overlay: null, layers: [], boxes: [], zoom: 1, x: 0, y: 0 });
    this.canvas.style.aspectRatio = `${image.width} / ${image.height}`;
    this.canvas.style.maxWidth = `calc(75vh * ${image.width / image.height})`;
    this.draw();
  }

  // Pixels of the canvas a pixel of the image.
  get scale() {
    return (this.canvas.width / this.image.width) * this.zoom;
  }

  draw() {
    const { canvas, image } = this;
    if (!image || !canvas.clientWidth) return;
    canvas.style.touchAction = this.onBox || this.zoom > 1 ? "none" : "auto"; // a finger scrolls the page where it may
    canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
    canvas.height = Math.round((canvas.width * image.height) / image.width);
    const context = canvas.getContext("2d");
    context.setTransform(this.scale, 0, 0, this.scale, -this.x * this.scale, -this.y * this.scale);
    context.imageSmoothingEnabled = this.scale < 4;
    context.drawImage(image, 0, 0);
    if (this.overlay) context.drawImage(this.overlay, 0, 0, image.width, image.height);
    const thick = thickness(image.width, image.height) / Math.sqrt(this.zoom);
    for (const { people, model, options } of this.layers) drawPeople(context, people, model, options, thick);
    for (const box of this.boxes) drawBox(context, box, thick / 2);
    if (this.dragged) drawBox(context, this.dragged, thick / 2, "#fff");
  }

  // Zooms about a point of the image, its middle as shown without one.
  change(factor, point = null) {
    if (!this.image) return;
    const at = point ?? [this.x + this.image.width / this.zoom / 2, this.y + this.image.height / this.zoom / 2];
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
    this.x = at[0] - (at[0] - this.x) * (this.zoom / zoom);
    this.y = at[1] - (at[1] - this.y) * (this.zoom / zoom);
    this.zoom = zoom;
    this.move(0, 0);
  }

  move(dx, dy) {
    const most = (length) => length - length / this.zoom;
    this.x = Math.min(most(this.image.width), Math.max(0, this.x + dx));
    this.y = Math.min(most(this.image.height), Math.max(0, this.y + dy));
    this.draw();
  }

  #at(event) {
    const frame = this.canvas.getBoundingClientRect();
    const pixels = this.canvas.width / frame.width / this.scale;
    return [this.x + (event.clientX - frame.left) * pixels, this.y + (event.clientY - frame.top) * pixels];
  }

  #wheel(event) {
    if (!this.image || !(event.ctrlKey || this.zoom > 1 || document.activeElement === this.canvas)) return;
    event.preventDefault();
    this.change(event.deltaY < 0 ? STEP : 1 / STEP, this.#at(event));
  }

  #key(event) {
    if (!this.image || event.ctrlKey || event.metaKey) return;
    const step = 0.1 * Math.max(this.image.width, this.image.height) / this.zoom;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === "+" || event.key === "=") this.change(STEP);
    else if (event.key === "-") this.change(1 / STEP);
    else if (event.key === "0") this.change(1e-9);
    else if (moves[event.key] && this.zoom > 1) this.move(...moves[event.key]);
    else return;
    event.preventDefault();
  }

  // Dragging moves a zoomed image, or draws a box where the model takes boxes.
  #press(event) {
    if (!this.image || event.button || (!this.onBox && this.zoom === 1)) return;
    const start = this.#at(event), ended = new AbortController();
    const box = ([x, y]) => [Math.min(start[0], x), Math.min(start[1], y), Math.abs(x - start[0]), Math.abs(y - start[1])];
    const listen = (name, handle) => this.canvas.addEventListener(name, (next) => handle(this.#at(next)), { signal: ended.signal });
    const end = () => {
      ended.abort();
      this.dragged = null;
      this.draw();
    };
    this.canvas.setPointerCapture(event.pointerId);
    listen("pointermove", (to) => {
      if (!this.onBox) return this.move(start[0] - to[0], start[1] - to[1]);
      this.dragged = box(to);
      return this.draw();
    });
    listen("pointerup", (to) => {
      end();
      const found = box(to).map((value) => Math.round(value * 10) / 10);
      if (this.onBox && Math.min(found[2], found[3]) > LEAST_BOX) this.onBox(found);
    });
    listen("pointercancel", end);
  }
}
