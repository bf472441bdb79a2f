// SPDX-License-Identifier: Apache-2.0
// What the page gives away as files.
import { drawPeople, thickness } from "./draw.js";

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function table(line) {
  const rows = [["frame", "time_s", "id", "person_score", "keypoint", "x", "y", "score"]];
  for (const [place, person] of line.people.entries()) {
    for (const [name, point] of Object.entries(person.keypoints)) {
      rows.push([line.frame, line.time_s, person.id ?? place, person.score, name, ...point]);
    }
  }
  return `${rows.map((row) => row.join(",")).join("\r\n")}\r\n`;
}

// Entries of a COCO result file: the number that ends the image's name is its id.
export function coco(line, model) {
  const id = Number(/(\d+)\.[^.]*$/.exec(line.source)?.[1] ?? 0);
  return line.people.map((person) => ({
    image_id: id, category_id: 1, score: person.score,
    keypoints: model.keypoints.flatMap((name) => person.keypoints[name] ?? [0, 0, 0]),
  }));
}

export function annotated(image, people, model, options) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  drawPeople(context, people, model, options, thickness(image.width, image.height));
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

export const asJson = (content) => new Blob([JSON.stringify(content, null, 1)], { type: "application/json" });
