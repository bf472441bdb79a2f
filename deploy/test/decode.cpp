// SPDX-License-Identifier: Apache-2.0
// Decodes the cases of a file (see cases.py) and prints a line of JSON for each; `decode FILE RUNS` says how long it took.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>

#include "../cpp/heatmaps.hpp"
#include "../cpp/part_affinity.hpp"

struct Case {
  std::vector<double> numbers;
  std::vector<float> values;
  size_t at = 0;

  double next() { return numbers.at(at++); }
  int whole() { return static_cast<int>(next()); }
  pose::Size size() {
    const int height = whole();
    return {height, whole()};
  }
};

static void print(const char* name, const std::vector<double>& numbers, const char* after) {
  std::printf("\"%s\": [", name);
  for (size_t i = 0; i < numbers.size(); ++i) std::printf(i ? ", %.9g" : "%.9g", numbers[i]);
  std::printf("]%s", after);
}

static void print(const pose::People& found) {
  std::vector<double> candidates, members, scores, counts;
  for (const auto& one : found.candidates) candidates.insert(candidates.end(), {one.x, one.y, one.score, 1.0 * one.type});
  for (const auto& person : found.people) {
    members.insert(members.end(), person.points.begin(), person.points.end());
    scores.push_back(person.score);
    counts.push_back(person.count);
  }
  print("candidates", candidates, ", ");
  print("members", members, ", ");
  print("scores", scores, ", ");
  print("counts", counts, ", ");
}

static pose::People people(Case one, bool is_lightweight) {
  pose::Skeleton skeleton{one.whole(), {}, {}};
  skeleton.limbs.resize(one.whole());
  for (auto& limb : skeleton.limbs)
    for (int& end : limb) end = one.whole();
  for (size_t i = 0; i < skeleton.limbs.size(); ++i) skeleton.assembly.push_back(one.whole());
  const int num_heatmaps = one.whole(), num_fields = one.whole();
  const pose::Size size = one.size();
  const pose::Maps heatmaps{one.values.data(), num_heatmaps, size};
  const pose::Maps fields{one.values.data() + static_cast<size_t>(num_heatmaps) * size.height * size.width, num_fields, size};
  if (is_lightweight) {
    pose::Geometry geometry{one.whole(), {}, {}};
    for (int& cut : geometry.pad) cut = one.whole();
    geometry.size = one.size();
    pose::LightweightRules rules;
    rules.heatmap_threshold = one.next(), rules.nms_radius = one.next(), rules.num_samples = one.whole();
    rules.min_limb_score = one.next(), rules.min_limb_fraction = one.next(), rules.min_points = one.whole();
    rules.min_person_score = one.next(), rules.max_peaks = one.whole();
    return pose::decode_lightweight(heatmaps, fields, geometry, skeleton, rules);
  }
  const pose::Size size_in = one.size(), size_img = one.size();
  pose::OpenPoseRules rules;
  rules.gaussian_sigma = one.next(), rules.heatmap_peak_thresh = one.next(), rules.n_integ_points = one.whole();
  rules.n_integ_points_thresh = one.whole(), rules.inner_product_thresh = one.next();
  rules.limb_length_ratio = one.next(), rules.length_penalty_value = one.next();
  rules.n_subset_limbs_thresh = one.whole(), rules.subset_score_thresh = one.next(), rules.original = one.whole();
  return pose::decode_openpose(heatmaps, fields, size_in, size_img, skeleton, rules);
}

static std::vector<pose::Joint> joints(Case one) {
  const int count = one.whole();
  const pose::Size size = one.size();
  const int how = one.whole(), keep_zero = one.whole(), is_flipped = one.whole();
  float* maps = one.values.data();
  if (is_flipped) {
    std::vector<int> flip;
    for (int i = 0; i < count; ++i) flip.push_back(one.whole());
    pose::merge_flip(maps, maps + static_cast<size_t>(count) * size.height * size.width, flip, size.height, size.width);
  }
  auto found = how < 3 ? pose::decode_heatmaps(maps, count, size.height, size.width, pose::Refinement(how), keep_zero)
                       : pose::regress_heatmaps(maps, count, size.height, size.width, how == 4);
  const double x = one.next(), y = one.next();
  pose::to_image(found, {x, y, one.next()}, size.height, size.width);
  return found;
}

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "decode FILE [RUNS]\n"), 2;
  std::ifstream file(argv[1], std::ios::binary);
  const int runs = argc > 2 ? std::atoi(argv[2]) : 1;
  std::int32_t head[3];
  while (file.read(reinterpret_cast<char*>(head), sizeof head)) {
    Case one{std::vector<double>(head[1]), std::vector<float>(head[2])};
    file.read(reinterpret_cast<char*>(one.numbers.data()), 8 * head[1]);
    file.read(reinterpret_cast<char*>(one.values.data()), 4 * static_cast<std::streamsize>(head[2]));
    std::printf("{");
    std::vector<double> milliseconds;
    for (int run = 0; run < runs; ++run) {
      const std::clock_t began = std::clock();
      pose::People found;
      std::vector<pose::Joint> points;
      if (head[0] < 2) found = people(one, head[0] == 0);
      else points = joints(one);
      milliseconds.push_back(1000.0 * (std::clock() - began) / CLOCKS_PER_SEC);
      if (run) continue;
      std::vector<double> flat;
      for (const auto& joint : points) flat.insert(flat.end(), {joint.x, joint.y, joint.score});
      if (head[0] < 2) print(found);
      else print("joints", flat, ", ");
    }
    std::sort(milliseconds.begin(), milliseconds.end());
    std::printf("\"ms\": %.6g}\n", milliseconds[milliseconds.size() / 2]);
  }
}
