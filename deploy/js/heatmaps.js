// SPDX-License-Identifier: Apache-2.0
// Heatmaps of a top-down network -> joints: the decoders of common/topdown/heatmaps.py, as an ES module without
// dependencies. Maps are {data: Float32Array, count, height, width}, map by map, row by row; joints are {x, y, score}.

const SIGMA = 2, REACH = 5; // cells, of the smoothing before the Taylor step
const TAPS = Array.from({ length: 2 * REACH + 1 }, (_, k) => Math.exp(-((k - REACH) ** 2) / (2 * SIGMA ** 2)));
const TOTAL = TAPS.reduce((sum, tap) => sum + tap);

function highest(map) {
  let place = 0;
  for (let i = 1; i < map.length; i++) if (map[i] > map[place]) place = i;
  return place;
}

// A Gaussian blur with black borders, brought back to the former maximum.
function blurred(map, height, width) {
  const lines = new Float32Array(map.length), found = new Float32Array(map.length);
  for (let y = 0; y < height; y++) {
    for (let k = Math.max(-REACH, -y); k <= Math.min(REACH, height - 1 - y); k++) {
      const tap = TAPS[k + REACH] / TOTAL;
      for (let x = 0; x < width; x++) lines[y * width + x] += tap * map[(y + k) * width + x];
    }
  }
  for (let y = 0; y < height; y++) {
    for (let k = -REACH; k <= REACH; k++) {
      const tap = TAPS[k + REACH] / TOTAL;
      for (let x = Math.max(0, -k); x < Math.min(width, width - k); x++) found[y * width + x] += tap * lines[y * width + x + k];
    }
  }
  const scale = map[highest(map)] / found[highest(found)];
  return found.map((value) => value * scale);
}

// Neither in the first two columns and rows nor in the last `border`.
const isInside = ({ x, y }, height, width, border) => x > 1 && y > 1 && x < width - border && y < height - border;

const REFINEMENTS = {
  none: () => {},
  quarter: (joint, map, height, width) => { // of a cell towards the higher neighbour
    if (!isInside(joint, height, width, 1)) return;
    const at = joint.y * width + joint.x;
    joint.x += 0.25 * Math.sign(map[at + 1] - map[at - 1]);
    joint.y += 0.25 * Math.sign(map[at + width] - map[at - width]);
  },
  dark: (joint, map, height, width) => { // Newton's step on the logarithm of the smoothed map (arXiv 1910.06278)
    if (!isInside(joint, height, width, 2)) return;
    const smooth = blurred(map, height, width), place = joint.y * width + joint.x;
    const at = (x, y) => Math.log(Math.max(smooth[place + y * width + x], 1e-10)), here = at(0, 0);
    const dx = 0.5 * (at(1, 0) - at(-1, 0)), dy = 0.5 * (at(0, 1) - at(0, -1));
    const dxx = 0.25 * (at(2, 0) - 2 * here + at(-2, 0)), dyy = 0.25 * (at(0, 2) - 2 * here + at(0, -2));
    const dxy = 0.25 * (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)), determinant = dxx * dyy - dxy * dxy;
    if (!determinant) return;
    joint.x += (dxy * dy - dyy * dx) / determinant;
    joint.y += (dxy * dx - dxx * dy) / determinant;
  },
};

const each = ({ data, count, height, width }, make) => Array.from({ length: count },
  (_, joint) => make(data.subarray(joint * height * width, (joint + 1) * height * width)));

// The highest cell of each map, the first where several are equal, refined ("none", "quarter" or "dark"). A joint whose map
// is nowhere above 0 is at (0, 0); with `keepZero`, one whose map is somewhere 0 stays there.
export function decodeHeatmaps(maps, refinement = "quarter", keepZero = false) {
  const { height, width } = maps;
  return each(maps, (map) => {
    const place = highest(map), score = map[place], kept = score > 0 || (keepZero && score === 0) ? place : 0;
    const joint = { x: kept % width, y: Math.floor(kept / width), score };
    REFINEMENTS[refinement](joint, map, height, width);
    return joint;
  });
}

// Joints as the mean of the cells, weighted by the sigmoid of the map, or by its softmax (arXiv 1711.08229).
export function regressHeatmaps(maps, isSoftmax = false) {
  const { height, width } = maps, sigmoid = (value) => 1 / (1 + Math.exp(-value));
  return each(maps, (map) => {
    const most = map[highest(map)];
    let total = 0, sumX = 0, sumY = 0;
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const weight = isSoftmax ? Math.exp(map[at] - most) : sigmoid(map[at]);
        total += weight;
        sumX += weight * x;
        sumY += weight * y;
      }
    }
    return { x: sumX / total, y: sumY / total, score: isSoftmax ? 1 : sigmoid(most) };
  });
}

// The mean of maps and of those of the mirrored image. `flip` says which map mirrors which; `shift` moves the mirrored ones
// a column to the right: input columns mirror about a pixel, cells about a cell.
export function mergeFlip(maps, mirrored, flip, shift = true) {
  const { height, width } = maps, data = new Float32Array(maps.data.length);
  for (let joint = 0, at = 0; joint < flip.length; joint++) {
    for (let y = 0; y < height; y++) {
      const row = (flip[joint] * height + y) * width;
      for (let x = 0; x < width; x++, at++) {
        data[at] = 0.5 * (maps.data[at] + mirrored.data[row + width - 1 - (shift ? Math.max(x - 1, 0) : x)]);
      }
    }
  }
  return { ...maps, data };
}

// The crop of a box [left, top, width, height] for an input of (height, width); `padding`: as the model's directory has it.
export const cropOf = ([left, top, width, height], heightIn, widthIn, padding = 1.25) => ({
  x: left + width / 2, y: top + height / 2, width: Math.max(width, (height * widthIn) / heightIn) * padding,
});

// Joints in original pixels, of the crop in which they were found.
export function toImage(joints, crop, { height, width }) {
  const pixels = crop.width / width;
  return joints.map(({ x, y, score }) => ({ x: crop.x + (x - width / 2) * pixels, y: crop.y + (y - height / 2) * pixels, score }));
}
