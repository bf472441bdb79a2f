// SPDX-License-Identifier: Apache-2.0
// Heatmaps of a top-down network -> joints: the decoders of common/topdown/heatmaps.py, in C++17 and nothing else.
//
// Maps are float32, map by map, row by row.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace pose {

// `quarter`: a quarter of a cell towards the higher neighbour. `dark`: the top of a Gaussian (arXiv 1910.06278).
enum class Refinement { none, quarter, dark };

struct Joint {
  double x, y, score;  // map cells, until `to_image` has brought them to the image
};

// A crop as common/topdown/crops.py makes it of a box: its centre and its width, padded, in original pixels.
struct Crop {
  double centre_x, centre_y, width;

  // Of a box left, top, width, height, for an input of (height, width); `padding` as the model's directory has it.
  static Crop of_box(std::array<double, 4> box, double height_in, double width_in, double padding = 1.25) {
    return {box[0] + box[2] / 2, box[1] + box[3] / 2, std::max(box[2], box[3] * width_in / height_in) * padding};
  }
};

namespace detail {

constexpr double dark_sigma = 2;  // cells, of the smoothing before the Taylor step, with a window of 11 cells
constexpr int dark_reach = 5;

// A Gaussian blur with black borders, brought back to the former maximum.
inline std::vector<float> blurred(const float* map, int height, int width) {
  std::array<float, 2 * dark_reach + 1> taps{};
  double total = 0;
  for (int k = -dark_reach; k <= dark_reach; ++k) total += std::exp(-k * k / (2 * dark_sigma * dark_sigma));
  for (int k = -dark_reach; k <= dark_reach; ++k)
    taps[k + dark_reach] = static_cast<float>(std::exp(-k * k / (2 * dark_sigma * dark_sigma)) / total);
  std::vector<float> lines(static_cast<size_t>(height) * width), found(lines.size());
  for (int y = 0; y < height; ++y)
    for (int k = std::max(-dark_reach, -y); k <= std::min(dark_reach, height - 1 - y); ++k)
      for (int x = 0; x < width; ++x) lines[y * width + x] += taps[k + dark_reach] * map[(y + k) * width + x];
  for (int y = 0; y < height; ++y)
    for (int k = -dark_reach; k <= dark_reach; ++k)
      for (int x = std::max(0, -k); x < std::min(width, width - k); ++x)
        found[y * width + x] += taps[k + dark_reach] * lines[y * width + x + k];
  const float scale = *std::max_element(map, map + found.size()) / *std::max_element(found.begin(), found.end());
  for (float& cell : found) cell *= scale;
  return found;
}

// Neither in the first two columns and rows nor in the last `border`.
inline bool is_inside(int x, int y, int height, int width, int border) {
  return x > 1 && y > 1 && x < width - border && y < height - border;
}

inline void refine_quarter(Joint& joint, const float* map, int height, int width) {
  const int x = static_cast<int>(joint.x), y = static_cast<int>(joint.y);
  if (!is_inside(x, y, height, width, 1)) return;
  const float* cell = map + static_cast<size_t>(y) * width + x;
  const auto sign = [](float value) { return (value > 0) - (value < 0); };
  joint.x += 0.25 * sign(cell[1] - cell[-1]);
  joint.y += 0.25 * sign(cell[width] - cell[-width]);
}

// Newton's step on the logarithm of the smoothed map.
inline void refine_dark(Joint& joint, const float* map, int height, int width) {
  const int x = static_cast<int>(joint.x), y = static_cast<int>(joint.y);
  if (!is_inside(x, y, height, width, 2)) return;
  const std::vector<float> smooth = blurred(map, height, width);
  const auto at = [&](int dx, int dy) {
    return std::log(std::max<double>(smooth[static_cast<size_t>(y + dy) * width + x + dx], 1e-10));
  };
  const double here = at(0, 0), dx = 0.5 * (at(1, 0) - at(-1, 0)), dy = 0.5 * (at(0, 1) - at(0, -1));
  const double dxx = 0.25 * (at(2, 0) - 2 * here + at(-2, 0)), dyy = 0.25 * (at(0, 2) - 2 * here + at(0, -2));
  const double dxy = 0.25 * (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1));
  const double determinant = dxx * dyy - dxy * dxy;
  if (determinant == 0) return;
  joint.x += (dxy * dy - dyy * dx) / determinant;
  joint.y += (dxy * dx - dxx * dy) / determinant;
}

}  // namespace detail

// The highest cell of each of `count` maps, the first where several are equal, refined. A joint whose map is nowhere
// above 0 is at (0, 0); with `keep_zero`, one whose map is somewhere 0 stays there.
inline std::vector<Joint> decode_heatmaps(const float* maps, int count, int height, int width,
                                          Refinement refinement = Refinement::quarter, bool keep_zero = false) {
  std::vector<Joint> joints;
  const size_t area = static_cast<size_t>(height) * width;
  for (int joint = 0; joint < count; ++joint) {
    const float* map = maps + joint * area;
    const float* highest = std::max_element(map, map + area);
    const size_t place = *highest > 0 || (keep_zero && *highest == 0) ? highest - map : 0;
    joints.push_back({static_cast<double>(place % width), static_cast<double>(place / width), *highest});
    if (refinement == Refinement::quarter) detail::refine_quarter(joints.back(), map, height, width);
    if (refinement == Refinement::dark) detail::refine_dark(joints.back(), map, height, width);
  }
  return joints;
}

// Joints as the mean of the cells, weighted by the sigmoid of the map, or by its softmax (arXiv 1711.08229).
inline std::vector<Joint> regress_heatmaps(const float* maps, int count, int height, int width, bool is_softmax = false) {
  std::vector<Joint> joints;
  const size_t area = static_cast<size_t>(height) * width;
  const auto sigmoid = [](double value) { return 1 / (1 + std::exp(-value)); };
  for (int joint = 0; joint < count; ++joint) {
    const float* map = maps + joint * area;
    const double highest = *std::max_element(map, map + area);
    double total = 0, sum_x = 0, sum_y = 0;
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        const double value = map[static_cast<size_t>(y) * width + x];
        const double weight = is_softmax ? std::exp(value - highest) : sigmoid(value);
        total += weight;
        sum_x += weight * x;
        sum_y += weight * y;
      }
    joints.push_back({sum_x / total, sum_y / total, is_softmax ? 1 : sigmoid(highest)});
  }
  return joints;
}

// The mean of maps and of those of the mirrored image, in `maps`. `flip` says which map mirrors which; `shift` moves the
// mirrored ones a column to the right: input columns mirror about a pixel, cells about a cell.
inline void merge_flip(float* maps, const float* mirrored, const std::vector<int>& flip, int height, int width,
                       bool shift = true) {
  for (size_t joint = 0; joint < flip.size(); ++joint)
    for (int y = 0; y < height; ++y) {
      float* row = maps + (joint * height + y) * width;
      const float* other = mirrored + (static_cast<size_t>(flip[joint]) * height + y) * width;
      for (int x = 0; x < width; ++x) row[x] = 0.5f * (row[x] + other[width - 1 - (shift ? std::max(x - 1, 0) : x)]);
    }
}

// From map cells to original pixels.
inline void to_image(std::vector<Joint>& joints, const Crop& crop, int height, int width) {
  const double pixels = crop.width / width;
  for (Joint& joint : joints) {
    joint.x = crop.centre_x + (joint.x - width / 2.0) * pixels;
    joint.y = crop.centre_y + (joint.y - height / 2.0) * pixels;
  }
}

}  // namespace pose
