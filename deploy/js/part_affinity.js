// SPDX-License-Identifier: Apache-2.0
// Heatmaps and part affinity fields of a network -> people, by the rules of both OpenPoses of this repository: the
// decoders of Lightweight_OpenPose/decode.py and OpenPose_MindSpore_port/decode.py, as an ES module without dependencies.
//
// Maps are {data: Float32Array, channels, height, width}, channel by channel, row by row, as ONNX Runtime Web gives them;
// what is not finite counts as 0. A result is {candidates: [{x, y, score, type}], people: [{points, score, count}]}:
// `points` has of each type its candidate, -1 where it is missing. People come in the order of Python.

export const OPENPOSE = {
  numPoints: 18,
  limbs: [[1, 8], [8, 9], [9, 10], [1, 11], [11, 12], [12, 13], [1, 2], [2, 3], [3, 4], [2, 16], [1, 5], [5, 6], [6, 7],
    [5, 17], [1, 0], [0, 14], [0, 15], [14, 16], [15, 17]],
  assembly: [6, 10, 7, 8, 11, 12, 0, 1, 2, 3, 4, 5, 14, 15, 17, 16, 18, 9, 13],
};

// Lengths in pixels of the result; maxPeaks: of a type, the best.
export const LIGHTWEIGHT_RULES = {
  heatmapThreshold: 0.1, nmsRadius: 6, numSamples: 10, minLimbScore: 0.05, minLimbFraction: 0.8, minPoints: 3,
  minPersonScore: 0.2, maxPeaks: 1000,
};

// original: points at whole pixels, all peaks, the original's rule of joining.
export const OPENPOSE_RULES = {
  gaussianSigma: 2.5, heatmapPeakThresh: 0.05, nIntegPoints: 10, nIntegPointsThresh: 8, innerProductThresh: 0.05,
  limbLengthRatio: 1, lengthPenaltyValue: 1, nSubsetLimbsThresh: 3, subsetScoreThresh: 0.2, original: false,
};

const MOST_PEAKS = 100; // of a type, of OpenPose: work on noise grows with their square
const TIE = 4e-7; // share of a map's largest magnitude by which pixels may differ through rounding alone
const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

// --- axes: pixel p of an enlargement is the sum over k of taps[p * width + k] * cells[first[p] + k] ---

// (pixels, cells): resizing about the centres of pixels, the border repeated: cubic (a = -0.75) or linear.
function resize(cells, pixels, isCubic) {
  const f = Math.fround, a = -0.75;
  return Array.from({ length: pixels }, (_, p) => {
    const row = new Float64Array(cells), place = f((p + 0.5) * cells / pixels - 0.5), cell = Math.floor(place);
    const t = f(place - cell);
    let weights = [0, f(1 - t), t, 0];
    if (isCubic) {
      const outer = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a;
      const inner = (u) => ((a + 2) * u - (a + 3)) * u * u + 1;
      weights = [outer, inner(t), inner(1 - t)].map(f);
      weights.push(f(1 - weights[0] - weights[1] - weights[2]));
    }
    weights.forEach((weight, k) => { row[clamp(cell - 1 + k, 0, cells - 1)] += weight; });
    return row;
  });
}

// `outer` after `inner`, of which `before` pixels are cut off.
function product(outer, inner, before) {
  return outer.map((weights) => {
    const row = new Float64Array(inner[0].length);
    weights.forEach((weight, k) => { if (weight) inner[before + k].forEach((value, c) => { row[c] += weight * value; }); });
    return row;
  });
}

// A Gaussian of `sigma` pixels, cut at four, reflected at the border.
function smoothed(matrix, sigma) {
  const pixels = matrix.length, radius = Math.floor(4 * sigma + 0.5), weights = [];
  for (let k = -radius; k <= radius; k++) weights.push(sigma > 0 ? Math.exp((-0.5 / (sigma * sigma)) * k * k) : 1);
  const total = weights.reduce((sum, weight) => sum + weight);
  return matrix.map((_, p) => {
    const row = new Float64Array(matrix[0].length);
    weights.forEach((weight, k) => {
      let q = p + k - radius;
      while (q < 0 || q >= pixels) q = q < 0 ? -1 - q : 2 * pixels - 1 - q;
      matrix[q].forEach((value, c) => { row[c] += (weight / total) * value; });
    });
    return row;
  });
}

function axisOf(matrix) {
  const pixels = matrix.length, cells = matrix[0].length, first = new Int32Array(pixels);
  let width = 1;
  matrix.forEach((row, p) => {
    first[p] = Math.max(0, row.findIndex(Boolean));
    width = Math.max(width, row.findLastIndex(Boolean) - first[p] + 1);
  });
  if (width === 5 && cells > 5) width = 6; // which `enlargeLine` is quick with
  const taps = new Float32Array(pixels * width);
  let largest = 0; // sum of magnitudes
  matrix.forEach((row, p) => {
    first[p] = Math.min(first[p], cells - width);
    let sum = 0;
    for (let k = 0; k < width; k++) {
      taps[p * width + k] = row[first[p] + k];
      sum += Math.abs(row[first[p] + k]);
    }
    largest = Math.max(largest, sum);
  });
  const reach = new Int32Array(2 * cells); // of each cell the pixels [from, to) that it is part of, and one beside
  for (let cell = 0; cell < cells; cell++) {
    const from = first.findIndex((at) => at + width > cell), to = first.findLastIndex((at) => at <= cell) + 1;
    if (from >= 0 && from < to) reach.set([Math.max(0, from - 1), Math.min(pixels, to + 1)], 2 * cell);
  }
  return { pixels, width, first, taps, largest, reach };
}

const kept = new Map(); // axes of sizes that were seen before: a video has one

function axis(key, make) {
  const name = key.join(" ");
  if (!kept.has(name)) {
    if (kept.size > 100) kept.clear();
    kept.set(name, axisOf(make()));
  }
  return kept.get(name);
}

// out[to, to + count) = pixel p of the axis over the rows of cells (n, m), from cell `from` of each.
function enlargeLine(cells, m, { width, first, taps }, p, out, to, count, from = 0) {
  const start = first[p] * m + from, tap = p * width;
  if (width === 4 || width === 6) { // the usual ones, in one pass
    const isWide = width === 6, a = taps[tap], b = taps[tap + 1], c = taps[tap + 2], d = taps[tap + 3];
    for (let j = 0, at = start; j < count; j++, at++) {
      out[to + j] = a * cells[at] + b * cells[at + m] + c * cells[at + 2 * m] + d * cells[at + 3 * m];
    }
    if (!isWide) return;
    const e = taps[tap + 4], f = taps[tap + 5];
    for (let j = 0, at = start + 4 * m; j < count; j++, at++) out[to + j] += e * cells[at] + f * cells[at + m];
    return;
  }
  for (let j = 0, at = start; j < count; j++, at++) {
    let total = 0;
    for (let k = 0, row = at; k < width; k++, row += m) total += taps[tap + k] * cells[row];
    out[to + j] = total;
  }
}

// --- peaks ---

function isFree(found, x, y, radius) {
  for (let i = found.length - 1; i >= 0; i--) {
    const dx = x - found[i].x, dy = y - found[i].y;
    if (dx >= radius) return true;
    if (dx * dx + dy * dy < radius * radius) return false;
  }
  return true;
}

// Of each column of cells the runs [from, to) of pixels that a high cell of it is part of, and those beside.
function runsOf(cells, height, width, { reach }, least) {
  return Array.from({ length: width }, (_, x) => {
    const runs = [];
    for (let y = 0, at = x; y < height; y++, at += width) {
      if (Math.abs(cells[at]) > least && reach[2 * y] < reach[2 * y + 1]) runs.push([reach[2 * y], reach[2 * y + 1]]);
    }
    return merged(runs);
  });
}

// Runs in order, those that overlap as one.
function merged(runs) {
  const found = [];
  for (const [from, to] of runs) {
    const last = found.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else found.push([from, to]);
  }
  return found;
}

const union = (lists) => (lists.length === 1 ? lists[0] : merged(lists.flat().sort((a, b) => a[0] - b[0])));

// Peaks of a map, by x, then y: at least `threshold`, above the four neighbours; of those that differ by rounding alone
// the left or upper one. Only pixels that can be one, or lie beside one, are computed; the others count as -Infinity.
function peaksOf(cells, height, width, axes, threshold, radius) {
  const { y: vertical, x: horizontal } = axes, least = (0.999 * threshold) / (vertical.largest * horizontal.largest);
  const runs = runsOf(cells, height, width, vertical, least), found = [];
  const rows = union(runs.filter((list) => list.length));
  if (!rows?.length) return found;
  let largest = 0;
  for (let i = 0; i < cells.length; i++) if (Math.abs(cells[i]) > largest) largest = Math.abs(cells[i]);
  const tie = TIE * largest, high = vertical.pixels, line = new Float32Array(width), turned = new Float32Array(width * high);
  for (const [from, to] of rows) {
    for (let y = from; y < to; y++) {
      enlargeLine(cells, width, vertical, y, line, 0, width);
      for (let x = 0; x < width; x++) turned[x * high + y] = line[x];
    }
  }
  // Three columns of pixels, with a margin: the previous, the current and the next one.
  let columns = [0, 1, 2].map(() => ({ values: new Float32Array(high + 2).fill(-Infinity), runs: [] })), seen = "", near = [];
  const compute = (x) => {
    const column = columns[2];
    for (const [from, to] of column.runs) column.values.fill(-Infinity, from + 1, to + 1);
    column.runs = [];
    if (x >= horizontal.pixels) return;
    const from = horizontal.first[Math.max(x - 1, 0)], to = horizontal.first[Math.min(x + 1, horizontal.pixels - 1)] + horizontal.width;
    if (seen !== from * width + to) near = union(runs.slice(from, to).filter((list) => list.length)) ?? [];
    seen = from * width + to;
    column.runs = near;
    for (const [start, end] of near) enlargeLine(turned, high, horizontal, x, column.values, start + 1, end - start, start);
  };
  compute(0);
  for (let x = 0; x < horizontal.pixels; x++) {
    columns = [columns[1], columns[2], columns[0]];
    compute(x + 1);
    const [{ values: lefts }, { values: middle, runs: at }, { values: rights }] = columns;
    for (const [from, to] of at) {
      for (let y = from; y < to; y++) {
        const value = middle[y + 1];
        if (value < threshold) continue;
        const left = lefts[y + 1], above = middle[y], right = rights[y + 1], below = middle[y + 2];
        if (value - Math.max(left, above) > tie && value - Math.max(right, below) >= -tie && isFree(found, x, y, radius)) {
          found.push({ x, y, value, around: [left, above, right, below] });
        }
      }
    }
  }
  return found;
}

// Of more than `most` peaks the best (0: all), in their order.
function best(peaks, most) {
  if (!most || peaks.length <= most) return peaks;
  const order = [...peaks.keys()].sort((a, b) => peaks[b].value - peaks[a].value).slice(0, most);
  return order.sort((a, b) => a - b).map((row) => peaks[row]);
}

// --- limbs ---

// Whole numbers, halves to the even one.
function rounded(value) {
  const up = Math.floor(value + 0.5);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}

// The limbs of one kind, best first, each candidate in one at most; of equal scores the earlier ends first. `field`: its
// two maps. The field is sampled between both ends, and enlarged line by line when a sample needs it.
function findPairs(field, height, width, axes, candidates, starts, [typeA, typeB], rule) {
  const [a0, a1, b0, b1] = [starts[typeA], starts[typeA + 1], starts[typeB], starts[typeB + 1]], all = [];
  if (a0 === a1 || b0 === b1) return all;
  const wide = 2 * width, cells = new Float32Array(height * wide);
  for (let part = 0; part < 2; part++) {
    for (let y = 0; y < height; y++) {
      const row = (part * height + y) * width;
      cells.set(field.subarray(row, row + width), y * wide + part * width);
    }
  }
  const lines = new Float32Array(axes.y.pixels * wide), isReady = new Uint8Array(axes.y.pixels);
  const { first, taps, width: reach } = axes.x, { numSamples, needed, least, meanOfAll, longest, penalty } = rule;

  function score(ax, ay, dx, dy) {
    const length = Math.sqrt(dx * dx + dy * dy);
    let failed = 0, total = 0;
    for (let i = 0; i < (length > 0 ? numSamples : 0); i++) { // middle samples first: there most wrong pairs fail
      const k = (numSamples >> 1) + ((i + 1) >> 1) * (1 - (i % 2) * 2);
      const x = rounded(ax + (dx * k) / (numSamples - 1)), y = rounded(ay + (dy * k) / (numSamples - 1));
      if (!isReady[y]) {
        enlargeLine(cells, wide, axes.y, y, lines, y * wide, wide);
        isReady[y] = 1;
      }
      let alongX = 0, alongY = 0;
      for (let j = 0, tap = x * reach, at = y * wide + first[x]; j < reach; j++, tap++, at++) {
        alongX += taps[tap] * lines[at];
        alongY += taps[tap] * lines[at + width];
      }
      const along = (alongX * dx + alongY * dy) / length;
      failed += !(along > least);
      if (failed > numSamples - needed) return 0;
      if (meanOfAll || along > least) total += along;
    }
    const mean = total / Math.max(meanOfAll ? numSamples : numSamples - failed, 1);
    return Math.max(mean + Math.min(longest / length - penalty, 0), 0);
  }

  for (let a = a0; a < a1; a++) {
    for (let b = b0; b < b1; b++) {
      const from = candidates[a], to = candidates[b], found = score(from.x, from.y, to.x - from.x, to.y - from.y);
      if (found > 0) all.push({ a, b, score: found });
    }
  }
  const used = new Set();
  return all.sort((one, other) => other.score - one.score)
    .filter(({ a, b }) => !used.has(a) && !used.has(b) && used.add(a) && used.add(b));
}

// --- people ---

function add(person, type, row, gain) {
  person.points[type] = row;
  person.score += gain;
  person.count += 1;
}

function begin(numPoints, points, score) {
  const person = { points: new Array(numPoints).fill(-1), score, count: points.length };
  for (const [type, row] of points) person.points[type] = row;
  return person;
}

// Lightweight OpenPose: who has the first end of a pair gets the second; where no person has it, a new one begins.
function extend(people, [a, b], pairs, candidates, numPoints) {
  const owned = new Set(people.map(({ points }) => points[a])), byFirst = new Map(pairs.map((pair) => [pair.a, pair]));
  people.push(...pairs.filter((pair) => !owned.has(pair.a)).map((pair) => begin(numPoints, [[a, pair.a]], candidates[pair.a].score)));
  for (const person of people) {
    const pair = byFirst.get(person.points[a]);
    if (pair) add(person, b, pair.b, candidates[pair.b].score + pair.score);
  }
}

// Lightweight OpenPose: a limb that closes a loop gives what is missing, uncounted.
function close(people, [a, b], pairs) {
  const byFirst = new Map(pairs.map((pair) => [pair.a, pair.b])), bySecond = new Map(pairs.map((pair) => [pair.b, pair.a]));
  for (const { points } of people) {
    if (points[b] < 0 && byFirst.has(points[a])) points[b] = byFirst.get(points[a]);
    else if (points[a] < 0 && bySecond.has(points[b])) points[a] = bySecond.get(points[b]);
  }
}

// OpenPose: a limb goes to those who have one of its ends; two people without a type in common become one; where no person
// has an end, it may begin a person. By the original's rule a single owner gets the second end over what it had there.
function join(people, [a, b], pair, candidates, numPoints, original, begins) {
  const owners = people.filter(({ points }) => points[a] === pair.a || points[b] === pair.b), [one, other] = owners;
  const gain = (row) => candidates[row].score + pair.score;
  if (owners.length === 2 && !one.points.some((row, type) => row >= 0 && other.points[type] >= 0)) {
    one.points = one.points.map((row, type) => Math.max(row, other.points[type]));
    one.score += other.score + pair.score;
    one.count += other.count;
    people.splice(people.indexOf(other), 1);
  } else if (begins && !owners.length) {
    people.push(begin(numPoints, [[a, pair.a], [b, pair.b]], candidates[pair.a].score + gain(pair.b)));
  } else if (owners.length === 1 && original) {
    if (one.points[b] !== pair.b) add(one, b, pair.b, gain(pair.b));
  } else if (owners.length <= 2) {
    for (const person of owners) {
      const missing = [[a, pair.a], [b, pair.b]].find(([type]) => person.points[type] < 0);
      if (missing) add(person, ...missing, gain(missing[1]));
    }
  }
}

const selected = (people, minPoints, minScore) => people.filter(({ count, score }) => count >= minPoints && score / count >= minScore);

// Limbs that join two points which earlier limbs already reach.
function closingOf(limbs, assembly) {
  const reached = new Set(), closing = new Set();
  for (const limb of assembly) {
    const [a, b] = limbs[limb];
    if (reached.has(a) && reached.has(b)) closing.add(limb);
    reached.add(a).add(b);
  }
  return closing;
}

function finite(data) {
  let odd = 0;
  for (let i = 0; i < data.length; i++) odd += data[i] - data[i] !== 0;
  return odd ? data.map((value) => (Number.isFinite(value) ? value : 0)) : data;
}

function checked(heatmaps, fields, { numPoints, limbs }) {
  const { height, width } = fields, area = height * width;
  if (heatmaps.channels !== numPoints + 1 || fields.channels !== 2 * limbs.length || heatmaps.height !== height
    || heatmaps.width !== width || !(height > 0 && width > 0)) throw new RangeError("network and skeleton do not belong together");
  return [finite(heatmaps.data.subarray(0, numPoints * area)), finite(fields.data.subarray(0, fields.channels * area))];
}

// --- the two decoders ---

// From map cells to result pixels: enlarged and nothing else, as the demo of Lightweight OpenPose does.
export const demoGeometry = ({ height, width }, upsampling = 4) => ({
  stride: upsampling, pad: [0, 0, 0, 0], size: [height * upsampling, width * upsampling],
});

// Lightweight OpenPose: people in pixels of `geometry`'s result. Its maps are enlarged by `stride`, `pad` (top, left,
// bottom, right, network-input pixels) is cut off, the rest resized to `size` (height, width), cubic.
export function decodeLightweight(heatmaps, fields, geometry, skeleton = OPENPOSE, rules = LIGHTWEIGHT_RULES) {
  const { numPoints, limbs, assembly = [...limbs.keys()] } = skeleton, { stride, pad, size } = geometry;
  const [heat, paf] = checked(heatmaps, fields, skeleton), { height, width } = fields, area = height * width;
  const along = (cells, before, after, pixels) => {
    const left = cells * stride - before - after;
    if (Math.min(before, after, stride - 1) < 0 || left <= 0 || pixels < 1) throw new RangeError("the geometry does not fit the maps");
    return axis(["cubic", cells, stride, before, after, pixels],
      () => product(resize(left, pixels, true), resize(cells, cells * stride, true), before));
  };
  const axes = { y: along(height, pad[0], pad[2], size[0]), x: along(width, pad[1], pad[3], size[1]) };
  const candidates = [], starts = [0], people = [];
  for (let type = 0; type < numPoints; type++) {
    const map = heat.subarray(type * area, (type + 1) * area);
    const peaks = best(peaksOf(map, height, width, axes, Math.fround(rules.heatmapThreshold), rules.nmsRadius), rules.maxPeaks);
    for (const { x, y, value } of peaks) candidates.push({ x, y, score: value, type });
    starts.push(candidates.length);
  }
  const { numSamples, minLimbScore: least, minLimbFraction } = rules;
  const needed = [...Array(numSamples + 1).keys()].filter((n) => n / numSamples <= minLimbFraction).length;
  const rule = { numSamples, needed, least, meanOfAll: false, longest: Infinity, penalty: 0 };
  const closing = closingOf(limbs, assembly);
  for (const limb of assembly) {
    const field = paf.subarray(2 * limb * area, 2 * (limb + 1) * area);
    const pairs = findPairs(field, height, width, axes, candidates, starts, limbs[limb], rule);
    if (closing.has(limb)) close(people, limbs[limb], pairs);
    else extend(people, limbs[limb], pairs, candidates, numPoints);
  }
  return { candidates, people: selected(people, rules.minPoints, rules.minPersonScore) };
}

// Steps from the middle of three values to the top of a parabola through them: half a step at most.
function top(before, value, after) {
  const bend = 2 * value - before - after;
  return bend > 0 && bend < Infinity ? clamp((0.5 * (after - before)) / bend, -0.5, 0.5) : 0;
}

// The top of a Gaussian through the nearest cell and its neighbours on an axis; else of a parabola through the pixels.
function place(map, height, width, peak, isX, [heightIn, widthIn]) {
  const x = Math.floor(((2 * peak.x + 1) * width) / (2 * widthIn)), y = Math.floor(((2 * peak.y + 1) * height) / (2 * heightIn));
  const [cell, count, pixels, pixel] = isX ? [x, width, widthIn, peak.x] : [y, height, heightIn, peak.y];
  const at = (move) => (cell + move < 0 || cell + move >= count ? 0 : map[(isX ? y : y + move) * width + (isX ? x + move : x)]);
  const [before, middle, after] = [at(-1), at(0), at(1)];
  if (before > 0 && before <= middle && middle >= after && after > 0) {
    return ((cell + 0.5 + top(Math.log(before), Math.log(middle), Math.log(after))) * pixels) / count - 0.5;
  }
  return pixel + top(peak.around[isX ? 0 : 1], peak.value, peak.around[isX ? 2 : 3]);
}

// The port of MindSpore's OpenPose: people in original pixels. `sizeIn`, `sizeImg` (height, width): of the network's
// input, and of the image that was resized to it.
export function decodeOpenpose(heatmaps, fields, sizeIn, sizeImg, skeleton = OPENPOSE, rules = OPENPOSE_RULES) {
  const { numPoints, limbs, assembly = [...limbs.keys()] } = skeleton, { original } = rules;
  const [heat, paf] = checked(heatmaps, fields, skeleton), { height, width } = fields, area = height * width;
  if (!(Math.min(...sizeIn, ...sizeImg) >= 1)) throw new RangeError("sizes must be positive");
  const along = (cells, pixels, sigma) => axis(["linear", cells, pixels, sigma], () => smoothed(resize(cells, pixels, false), sigma));
  const smooth = { y: along(height, sizeIn[0], rules.gaussianSigma), x: along(width, sizeIn[1], rules.gaussianSigma) };
  const axes = { y: along(height, sizeIn[0], 0), x: along(width, sizeIn[1], 0) };
  const pixels = [], candidates = [], starts = [0], people = [], centre = original ? 0 : 0.5;
  for (let type = 0; type < numPoints; type++) {
    const map = heat.subarray(type * area, (type + 1) * area);
    const peaks = best(peaksOf(map, height, width, smooth, Math.fround(rules.heatmapPeakThresh), 0), original ? 0 : MOST_PEAKS);
    for (const peak of peaks.sort((a, b) => a.y - b.y)) {
      const [x, y] = original ? [peak.x, peak.y] : [true, false].map((isX) => place(map, height, width, peak, isX, sizeIn));
      pixels.push({ x: peak.x, y: peak.y, score: peak.value, type });
      candidates.push({ // images are resized about the centres of pixels
        x: ((x + centre) * sizeImg[1]) / sizeIn[1] - centre, y: ((y + centre) * sizeImg[0]) / sizeIn[0] - centre, score: peak.value, type,
      });
    }
    starts.push(pixels.length);
  }
  const rule = {
    numSamples: rules.nIntegPoints, needed: rules.nIntegPointsThresh + 1, least: rules.innerProductThresh, meanOfAll: true,
    longest: rules.limbLengthRatio * (original ? sizeIn[1] : Math.max(...sizeIn)), penalty: rules.lengthPenaltyValue,
  };
  const closing = closingOf(limbs, assembly);
  for (const [limb, ends] of limbs.entries()) {
    const field = paf.subarray(2 * limb * area, 2 * (limb + 1) * area);
    for (const pair of findPairs(field, height, width, axes, pixels, starts, ends, rule)) {
      join(people, ends, pair, pixels, numPoints, original, !closing.has(limb));
    }
  }
  return { candidates, people: selected(people, rules.nSubsetLimbsThresh, rules.subsetScoreThresh) };
}
