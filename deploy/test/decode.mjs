// SPDX-License-Identifier: Apache-2.0
// Decodes the cases of a file (see cases.py) and prints a line of JSON for each; `decode.mjs FILE RUNS` says how long it took.
import { readFileSync } from "node:fs";
import { decodeHeatmaps, mergeFlip, regressHeatmaps, toImage } from "../js/heatmaps.js";
import { decodeLightweight, decodeOpenpose } from "../js/part_affinity.js";

const [, , file, runs = "1"] = process.argv;
const { buffer } = new Uint8Array(readFileSync(file));
const LIGHTWEIGHT = ["heatmapThreshold", "nmsRadius", "numSamples", "minLimbScore", "minLimbFraction", "minPoints", "minPersonScore", "maxPeaks"];
const OPENPOSE = ["gaussianSigma", "heatmapPeakThresh", "nIntegPoints", "nIntegPointsThresh", "innerProductThresh", "limbLengthRatio",
  "lengthPenaltyValue", "nSubsetLimbsThresh", "subsetScoreThresh", "original"];
const REFINEMENTS = ["none", "quarter", "dark"];

const named = (names, values) => Object.fromEntries(names.map((name, place) => [name, values[place]]));

function people(isLightweight, numbers, values) {
  const left = [...numbers], take = (count) => left.splice(0, count);
  const [numPoints, numLimbs] = take(2);
  const limbs = Array.from({ length: numLimbs }, () => take(2));
  const skeleton = { numPoints, limbs, assembly: take(numLimbs) };
  const [numHeatmaps, numFields, height, width] = take(4), area = height * width;
  const heatmaps = { data: values.subarray(0, numHeatmaps * area), channels: numHeatmaps, height, width };
  const fields = { data: values.subarray(numHeatmaps * area), channels: numFields, height, width };
  if (isLightweight) {
    const geometry = { stride: take(1)[0], pad: take(4), size: take(2) };
    return () => decodeLightweight(heatmaps, fields, geometry, skeleton, named(LIGHTWEIGHT, left));
  }
  const [sizeIn, sizeImg] = [take(2), take(2)], rules = named(OPENPOSE, left);
  return () => decodeOpenpose(heatmaps, fields, sizeIn, sizeImg, skeleton, { ...rules, original: rules.original > 0 });
}

function joints(numbers, values) {
  const [count, height, width, how, keepZero, isFlipped, ...rest] = numbers, area = count * height * width;
  const [x, y, span] = rest.slice(-3), maps = { data: values.subarray(0, area), count, height, width };
  return () => {
    const merged = isFlipped ? mergeFlip(maps, { ...maps, data: values.subarray(area) }, rest.slice(0, count)) : maps;
    const found = how < 3 ? decodeHeatmaps(merged, REFINEMENTS[how], keepZero > 0) : regressHeatmaps(merged, how === 4);
    return toImage(found, { x, y, width: span }, maps);
  };
}

for (let at = 0; at < buffer.byteLength;) {
  const [kind, numNumbers, numValues] = new Int32Array(buffer.slice(at, (at += 12)));
  const numbers = new Float64Array(buffer.slice(at, (at += 8 * numNumbers)));
  const values = new Float32Array(buffer.slice(at, (at += 4 * numValues)));
  const decode = kind < 2 ? people(kind === 0, numbers, values) : joints(numbers, values);
  const taken = [];
  let found;
  for (let run = 0; run < Number(runs); run++) {
    const began = process.cpuUsage();
    found = decode();
    const { user, system } = process.cpuUsage(began);
    taken.push((user + system) / 1000);
  }
  const ms = taken.sort((a, b) => a - b)[taken.length >> 1];
  const answer = kind < 2 ? {
    candidates: found.candidates.flatMap(({ x, y, score, type }) => [x, y, score, type]),
    members: found.people.flatMap(({ points }) => points),
    scores: found.people.map(({ score }) => score), counts: found.people.map(({ count }) => count),
  } : { joints: found.flatMap(({ x, y, score }) => [x, y, score]) };
  console.log(JSON.stringify({ ...answer, ms }));
}
