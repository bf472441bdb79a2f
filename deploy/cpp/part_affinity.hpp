// SPDX-License-Identifier: Apache-2.0
// Heatmaps and part affinity fields of a network -> people, by the rules of both OpenPoses of this repository: the
// decoders of Lightweight_OpenPose/decode.py and OpenPose_MindSpore_port/decode.py, in C++17 and nothing else.
//
// Maps are float32, channel by channel, row by row; what is not finite counts as 0. People come in the order of Python.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

namespace pose {

struct Size {
  int height, width;
};

struct Maps {
  const float* data;  // (channels, size.height, size.width)
  int channels;
  Size size;
};

// What the network learns: heatmaps are its points and the background, fields are x and y of each limb.
struct Skeleton {
  int num_points;
  std::vector<std::array<int, 2>> limbs;
  std::vector<int> assembly;  // limbs in the order in which people are put together; empty: their own

  static Skeleton openpose() {
    return {18,
            {{1, 8}, {8, 9}, {9, 10}, {1, 11}, {11, 12}, {12, 13}, {1, 2}, {2, 3}, {3, 4}, {2, 16},
             {1, 5}, {5, 6}, {6, 7}, {5, 17}, {1, 0}, {0, 14}, {0, 15}, {14, 16}, {15, 17}},
            {6, 10, 7, 8, 11, 12, 0, 1, 2, 3, 4, 5, 14, 15, 17, 16, 18, 9, 13}};
  }
};

struct Candidate {
  double x, y, score;  // pixels of the result, value of the heatmap
  int type;
};

struct Person {
  std::vector<int> points;  // of each type its candidate, -1: missing
  double score;             // of points and limbs together
  int count;                // points as the rules count them
};

struct People {
  std::vector<Candidate> candidates;  // all peaks, type by type
  std::vector<Person> people;
};

namespace detail {

using Matrix = std::vector<std::vector<double>>;  // (pixels, cells)

// One axis of an enlargement: pixel p is the sum over k of taps[p * width + k] * cells[first[p] + k].
struct Axis {
  int pixels, width;
  std::vector<int> first;
  std::vector<float> taps;
};

struct Axes {
  Axis y, x;
};

// Which pairs of peaks are limbs: the field is sampled between both; the score is the mean of the samples above `least`,
// or of all, plus min(longest / length - penalty, 0).
struct LimbRule {
  int num_samples, needed;
  double least;
  bool mean_of_all;
  double longest, penalty;
};

struct Peak {
  int x, y;
  float value;
  std::array<float, 4> around;  // left, above, right, below; -infinity outside the image
};

struct Pair {
  int a, b;  // rows of the candidates
  double score;
};

// Resizing about the centres of pixels, the border repeated: cubic (a = -0.75) or linear.
inline Matrix resize(int cells, int pixels, bool is_cubic) {
  Matrix matrix(pixels, std::vector<double>(cells));
  for (int p = 0; p < pixels; ++p) {
    const float place = static_cast<float>((p + 0.5) * cells / pixels - 0.5);
    const int cell = static_cast<int>(std::floor(place));
    const float t = place - cell, a = -0.75f;
    std::array<float, 4> weights{0, 1 - t, t, 0};
    if (is_cubic) {
      weights[0] = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a;
      weights[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
      weights[2] = ((a + 2) * (1 - t) - (a + 3)) * (1 - t) * (1 - t) + 1;
      weights[3] = 1 - weights[0] - weights[1] - weights[2];
    }
    for (int k = 0; k < 4; ++k) matrix[p][std::clamp(cell - 1 + k, 0, cells - 1)] += weights[k];
  }
  return matrix;
}

// `outer` after `inner`, of which `before` pixels are cut off.
inline Matrix product(const Matrix& outer, const Matrix& inner, int before) {
  Matrix matrix(outer.size(), std::vector<double>(inner[0].size()));
  for (size_t p = 0; p < outer.size(); ++p)
    for (size_t k = 0; k < outer[p].size(); ++k)
      if (outer[p][k] != 0)
        for (size_t c = 0; c < inner[0].size(); ++c) matrix[p][c] += outer[p][k] * inner[before + k][c];
  return matrix;
}

// A Gaussian of `sigma` pixels, cut at four, reflected at the border.
inline Matrix smoothed(const Matrix& matrix, double sigma) {
  const int pixels = static_cast<int>(matrix.size()), radius = static_cast<int>(4 * sigma + 0.5);
  Matrix found(pixels, std::vector<double>(matrix[0].size()));
  double total = 0;
  for (int k = -radius; k <= radius; ++k) total += sigma > 0 ? std::exp(-0.5 / (sigma * sigma) * k * k) : 1;
  for (int p = 0; p < pixels; ++p)
    for (int k = -radius; k <= radius; ++k) {
      int q = p + k;
      while (q < 0 || q >= pixels) q = q < 0 ? -1 - q : 2 * pixels - 1 - q;
      const double weight = (sigma > 0 ? std::exp(-0.5 / (sigma * sigma) * k * k) : 1) / total;
      for (size_t c = 0; c < found[p].size(); ++c) found[p][c] += weight * matrix[q][c];
    }
  return found;
}

inline Axis axis_of(const Matrix& matrix) {
  const int pixels = static_cast<int>(matrix.size()), cells = static_cast<int>(matrix[0].size());
  Axis axis{pixels, 1, std::vector<int>(pixels), {}};
  for (int p = 0; p < pixels; ++p) {
    const auto is_used = [](double tap) { return tap != 0; };
    const auto first = std::find_if(matrix[p].begin(), matrix[p].end(), is_used);
    const auto last = std::find_if(matrix[p].rbegin(), matrix[p].rend(), is_used).base();
    axis.first[p] = first == matrix[p].end() ? 0 : static_cast<int>(first - matrix[p].begin());
    if (first < last) axis.width = std::max(axis.width, static_cast<int>(last - first));
  }
  axis.taps.resize(static_cast<size_t>(pixels) * axis.width);
  for (int p = 0; p < pixels; ++p) {
    axis.first[p] = std::min(axis.first[p], cells - axis.width);
    for (int k = 0; k < axis.width; ++k)
      axis.taps[p * axis.width + k] = static_cast<float>(matrix[p][axis.first[p] + k]);
  }
  return axis;
}

// The axis of a key, made where this thread has not seen it: the images of a video have the same.
template <typename Make>
Axis kept(const std::array<double, 6>& key, const Make& make) {
  constexpr size_t most = 100;
  thread_local std::map<std::array<double, 6>, Axis> axes;
  if (axes.size() > most) axes.clear();
  const auto found = axes.find(key);
  return found != axes.end() ? found->second : axes.emplace(key, axis_of(make())).first->second;
}

// out (pixels, m) = the axis over the first dimension of cells (n, m); a row begins `stride` after the one before.
inline void enlarge(const float* cells, int m, const Axis& axis, const std::vector<int>& pixels, float* out, int stride) {
  for (size_t i = 0; i < pixels.size(); ++i) {
    float* line = out + i * stride;
    std::fill(line, line + m, 0.0f);
    for (int k = 0; k < axis.width; ++k) {
      const float* source = cells + static_cast<size_t>(axis.first[pixels[i]] + k) * m;
      const float tap = axis.taps[pixels[i] * axis.width + k];
      for (int j = 0; j < m; ++j) line[j] += tap * source[j];
    }
  }
}

// Pixels that a high cell is part of, and those beside.
inline std::vector<int> near(const std::vector<char>& high, const Axis& axis) {
  std::vector<char> reached(axis.pixels + 2);
  for (int p = 0; p < axis.pixels; ++p)
    for (int k = 0; k < axis.width; ++k) reached[p + 1] |= high[axis.first[p] + k];
  std::vector<int> found;
  for (int p = 0; p < axis.pixels; ++p)
    if (reached[p] | reached[p + 1] | reached[p + 2]) found.push_back(p);
  return found;
}

inline double largest_sum(const Axis& axis) {
  double largest = 0;
  for (int p = 0; p < axis.pixels; ++p) {
    double sum = 0;
    for (int k = 0; k < axis.width; ++k) sum += std::abs(axis.taps[p * axis.width + k]);
    largest = std::max(largest, sum);
  }
  return largest;
}

inline bool is_free(const std::vector<Peak>& found, int x, int y, double radius) {
  for (auto peak = found.rbegin(); peak != found.rend(); ++peak) {
    const double dx = x - peak->x, dy = y - peak->y;
    if (dx >= radius) return true;
    if (dx * dx + dy * dy < radius * radius) return false;
  }
  return true;
}

// Peaks of a map, by x, then y: at least `threshold`, above the four neighbours; of those that differ by rounding alone
// (`tie`) the left or upper one. Only pixels that can have one, or lie beside one, are computed.
inline std::vector<Peak> peaks_of(const float* cells, Size size, const Axes& axes, float threshold, double radius) {
  float largest = 0;
  for (int i = 0; i < size.height * size.width; ++i) largest = std::max(largest, std::abs(cells[i]));
  const float tie = 4e-7f * largest;
  const double least = 0.999 * threshold / (largest_sum(axes.y) * largest_sum(axes.x));
  std::vector<char> high_y(size.height), high_x(size.width);
  for (int y = 0; y < size.height; ++y)
    for (int x = 0; x < size.width; ++x)
      if (std::abs(cells[y * size.width + x]) > least) high_y[y] = high_x[x] = 1;
  const std::vector<int> ys = near(high_y, axes.y), xs = near(high_x, axes.x);
  std::vector<Peak> found;
  if (ys.empty() || xs.empty()) return found;
  const int rows = static_cast<int>(ys.size()), columns = static_cast<int>(xs.size()), stride = rows + 2;
  std::vector<float> lifted(static_cast<size_t>(rows) * size.width), turned(lifted.size());
  std::vector<float> image(static_cast<size_t>(columns + 2) * stride, -std::numeric_limits<float>::infinity());
  enlarge(cells, size.width, axes.y, ys, lifted.data(), size.width);
  for (int x = 0; x < size.width; ++x)
    for (int y = 0; y < rows; ++y) turned[static_cast<size_t>(x) * rows + y] = lifted[static_cast<size_t>(y) * size.width + x];
  enlarge(turned.data(), rows, axes.x, xs, image.data() + stride + 1, stride);
  for (int i = 0; i < columns; ++i) {
    const float *left = &image[static_cast<size_t>(i) * stride + 1], *middle = left + stride, *right = middle + stride;
    const auto is_peak = [&](int j) {
      return (middle[j] >= threshold) & (middle[j] - std::max(left[j], middle[j - 1]) > tie) &
             (middle[j] - std::max(right[j], middle[j + 1]) >= -tie);
    };
    int has_peak = 0;  // no branches, for speed
    for (int j = 0; j < rows; ++j) has_peak |= is_peak(j);
    for (int j = 0; has_peak && j < rows; ++j)
      if (is_peak(j) && is_free(found, xs[i], ys[j], radius))
        found.push_back({xs[i], ys[j], middle[j], {left[j], middle[j - 1], right[j], middle[j + 1]}});
  }
  return found;
}

// Of more than `most` peaks the best (0: all), in their order.
inline void keep_best(std::vector<Peak>& peaks, int most) {
  if (most <= 0 || static_cast<int>(peaks.size()) <= most) return;
  std::vector<int> order(peaks.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return peaks[a].value > peaks[b].value; });
  order.resize(most);
  std::sort(order.begin(), order.end());
  std::vector<Peak> best;
  for (int row : order) best.push_back(peaks[row]);
  peaks = std::move(best);
}

// A part affinity field, enlarged line by line when a sample needs it.
class Field {
 public:
  Field(const float* field, Size size, const Axes& axes)
      : axes_(axes), width_(size.width), cells_(2 * static_cast<size_t>(size.height) * size.width),
        lines_(static_cast<size_t>(axes.y.pixels) * 2 * width_), is_ready_(axes.y.pixels) {
    for (int y = 0; y < size.height; ++y)
      for (int part = 0; part < 2; ++part) {
        const float* row = field + (static_cast<size_t>(part) * size.height + y) * width_;
        std::copy(row, row + width_, &cells_[(static_cast<size_t>(y) * 2 + part) * width_]);
      }
  }

  // 0: no limb. Middle samples come first: there most wrong pairs fail.
  double score(double ax, double ay, double dx, double dy, const LimbRule& rule) {
    const double length = std::sqrt(dx * dx + dy * dy);
    const int count = rule.num_samples;
    int failed = 0;
    double total = 0;
    for (int i = 0; i < (length > 0 ? count : 0); ++i) {
      const int k = count / 2 + (i + 1) / 2 * (1 - i % 2 * 2);
      const int x = static_cast<int>(std::nearbyint(ax + dx * k / (count - 1)));
      const int y = static_cast<int>(std::nearbyint(ay + dy * k / (count - 1)));
      const float* line = ready_line(y);
      const double along = (at(line, x) * dx + at(line + width_, x) * dy) / length;
      failed += !(along > rule.least);
      if (failed > count - rule.needed) return 0;
      if (rule.mean_of_all || along > rule.least) total += along;
    }
    const double mean = total / std::max(rule.mean_of_all ? count : count - failed, 1);
    return std::max(mean + std::min(rule.longest / length - rule.penalty, 0.0), 0.0);
  }

 private:
  const float* ready_line(int y) {
    float* line = &lines_[static_cast<size_t>(y) * 2 * width_];
    if (!is_ready_[y]) enlarge(cells_.data(), 2 * width_, axes_.y, {y}, line, 0);
    is_ready_[y] = 1;
    return line;
  }

  float at(const float* line, int x) const {
    const float *taps = &axes_.x.taps[static_cast<size_t>(x) * axes_.x.width], *cells = line + axes_.x.first[x];
    float total = 0;
    for (int k = 0; k < axes_.x.width; ++k) total += taps[k] * cells[k];
    return total;
  }

  const Axes& axes_;
  int width_;
  std::vector<float> cells_, lines_;  // a row of x, then a row of y components
  std::vector<char> is_ready_;
};

// The limbs of one kind, best first, each candidate in one at most; of equal scores the earlier ends first.
inline std::vector<Pair> find_pairs(Field field, const std::vector<Candidate>& candidates, const std::vector<int>& starts,
                                    std::array<int, 2> ends, const LimbRule& rule) {
  std::vector<Pair> all, pairs;
  for (int a = starts[ends[0]]; a < starts[ends[0] + 1]; ++a)
    for (int b = starts[ends[1]]; b < starts[ends[1] + 1]; ++b) {
      const Candidate &from = candidates[a], &to = candidates[b];
      const double score = field.score(from.x, from.y, to.x - from.x, to.y - from.y, rule);
      if (score > 0) all.push_back({a, b, score});
    }
  std::stable_sort(all.begin(), all.end(), [](const Pair& a, const Pair& b) { return a.score > b.score; });
  std::vector<char> is_used(candidates.size());
  for (const Pair& pair : all)
    if (!is_used[pair.a] && !is_used[pair.b]) {
      is_used[pair.a] = is_used[pair.b] = 1;
      pairs.push_back(pair);
    }
  return pairs;
}

inline void add(Person& person, int type, int row, double gain) {
  person.points[type] = row;
  person.score += gain;
  ++person.count;
}

inline const Pair* with(const std::vector<Pair>& pairs, int Pair::* end, int row) {
  const auto found = std::find_if(pairs.begin(), pairs.end(), [&](const Pair& pair) { return pair.*end == row; });
  return row < 0 || found == pairs.end() ? nullptr : &*found;
}

// Lightweight OpenPose: who has the first end of a pair gets the second; where nobody has it, a person begins.
inline void extend(std::vector<Person>& people, std::array<int, 2> ends, const std::vector<Pair>& pairs,
                   const std::vector<Candidate>& candidates, int num_points) {
  std::vector<char> is_owned(candidates.size());
  for (const Person& person : people)
    if (person.points[ends[0]] >= 0) is_owned[person.points[ends[0]]] = 1;
  for (const Pair& pair : pairs)
    if (!is_owned[pair.a]) {
      people.push_back({std::vector<int>(num_points, -1), candidates[pair.a].score, 1});
      people.back().points[ends[0]] = pair.a;
    }
  for (Person& person : people)
    if (const Pair* pair = with(pairs, &Pair::a, person.points[ends[0]]))
      add(person, ends[1], pair->b, candidates[pair->b].score + pair->score);
}

// Lightweight OpenPose: a limb that closes a loop gives what is missing, uncounted.
inline void close(std::vector<Person>& people, std::array<int, 2> ends, const std::vector<Pair>& pairs) {
  for (Person& person : people) {
    int &a = person.points[ends[0]], &b = person.points[ends[1]];
    const Pair *from_a = with(pairs, &Pair::a, a), *from_b = with(pairs, &Pair::b, b);
    if (b < 0 && from_a) b = from_a->b;
    else if (a < 0 && from_b) a = from_b->a;
  }
}

// OpenPose: a limb goes to those who have one of its ends; two people without a type in common become one; where nobody
// has an end, it may begin a person. `original`: a single owner gets the second end over whatever stood there.
inline void join(std::vector<Person>& people, std::array<int, 2> ends, const Pair& pair,
                 const std::vector<Candidate>& candidates, int num_points, bool original, bool begins) {
  const std::array<int, 2> rows{pair.a, pair.b};
  std::vector<size_t> owners;
  for (size_t i = 0; i < people.size(); ++i)
    if (people[i].points[ends[0]] == pair.a || people[i].points[ends[1]] == pair.b) owners.push_back(i);
  bool share = false;
  for (int type = 0; owners.size() == 2 && type < num_points; ++type)
    share |= people[owners[0]].points[type] >= 0 && people[owners[1]].points[type] >= 0;
  if (owners.size() == 2 && !share) {
    Person &one = people[owners[0]], &other = people[owners[1]];
    for (int type = 0; type < num_points; ++type) one.points[type] = std::max(one.points[type], other.points[type]);
    one.score += other.score + pair.score;
    one.count += other.count;
    people.erase(people.begin() + owners[1]);
  } else if (begins && owners.empty()) {
    people.push_back({std::vector<int>(num_points, -1), candidates[pair.a].score + candidates[pair.b].score + pair.score, 2});
    for (int end : {0, 1}) people.back().points[ends[end]] = rows[end];
  } else if (owners.size() == 1 && original) {
    if (people[owners[0]].points[ends[1]] != pair.b)
      add(people[owners[0]], ends[1], pair.b, candidates[pair.b].score + pair.score);
  } else if (owners.size() <= 2) {
    for (size_t owner : owners)
      for (int end : {0, 1})
        if (people[owner].points[ends[end]] < 0) {
          add(people[owner], ends[end], rows[end], candidates[rows[end]].score + pair.score);
          break;
        }
  }
}

inline std::vector<Person> select(std::vector<Person> people, int min_points, double min_score) {
  people.erase(std::remove_if(people.begin(), people.end(), [&](const Person& person) {
    return person.count < min_points || person.score / person.count < min_score;
  }), people.end());
  return people;
}

inline std::vector<int> assembly_of(const Skeleton& skeleton) {
  std::vector<int> order(skeleton.limbs.size());
  std::iota(order.begin(), order.end(), 0);
  return skeleton.assembly.empty() ? order : skeleton.assembly;
}

// Whether each limb joins two points that earlier limbs already reach.
inline std::vector<char> closing_of(const Skeleton& skeleton) {
  std::vector<char> reached(skeleton.num_points), closing(skeleton.limbs.size());
  for (int limb : assembly_of(skeleton)) {
    const auto [a, b] = skeleton.limbs[limb];
    closing[limb] = reached[a] && reached[b];
    reached[a] = reached[b] = 1;
  }
  return closing;
}

// The maps, with 0 for what is not finite. Throws std::invalid_argument where they do not fit the skeleton.
inline std::array<std::vector<float>, 2> checked(const Maps& heatmaps, const Maps& fields, const Skeleton& skeleton) {
  const Size size = fields.size;
  if (heatmaps.channels != skeleton.num_points + 1 || fields.channels != 2 * static_cast<int>(skeleton.limbs.size()) ||
      heatmaps.size.height != size.height || heatmaps.size.width != size.width || size.height < 1 || size.width < 1)
    throw std::invalid_argument("network and skeleton do not belong together");
  const auto finite = [&](const float* data, int channels) {
    std::vector<float> found(data, data + static_cast<size_t>(channels) * size.height * size.width);
    for (float& cell : found)
      if (!std::isfinite(cell)) cell = 0;
    return found;
  };
  return {finite(heatmaps.data, skeleton.num_points), finite(fields.data, fields.channels)};
}

}  // namespace detail

// From map cells to result pixels of Lightweight OpenPose: enlarge by `stride`, cut `pad` off, resize to `size`, cubic.
struct Geometry {
  int stride;
  std::array<int, 4> pad;  // top, left, bottom, right, network-input pixels
  Size size;

  // Maps enlarged and nothing else, as the demo does: result pixel i is network pixel 2 i + 0.5 where stride is 4.
  static Geometry demo(Size maps, int upsampling = 4) {
    return {upsampling, {0, 0, 0, 0}, {maps.height * upsampling, maps.width * upsampling}};
  }
};

// Lengths in pixels of the result.
struct LightweightRules {
  double heatmap_threshold = 0.1, nms_radius = 6;
  int num_samples = 10;
  double min_limb_score = 0.05, min_limb_fraction = 0.8;
  int min_points = 3;
  double min_person_score = 0.2;
  int max_peaks = 1000;  // of a type, the best
};

struct OpenPoseRules {
  double gaussian_sigma = 2.5, heatmap_peak_thresh = 0.05;
  int n_integ_points = 10, n_integ_points_thresh = 8;
  double inner_product_thresh = 0.05, limb_length_ratio = 1, length_penalty_value = 1;
  int n_subset_limbs_thresh = 3;
  double subset_score_thresh = 0.2;
  bool original = false;  // points at whole pixels, all peaks, the original's rule of joining
};

// People in one image, in pixels of the geometry's result. Throws std::invalid_argument for what does not fit.
inline People decode_lightweight(const Maps& heatmaps, const Maps& fields, const Geometry& geometry,
                                 const Skeleton& skeleton, const LightweightRules& rules = {}) {
  using namespace detail;
  const auto maps = checked(heatmaps, fields, skeleton);
  const Size size = fields.size;
  const auto axis = [&](int cells, int before, int after, int pixels) {
    const int left = cells * geometry.stride - before - after;
    if (std::min({before, after, geometry.stride - 1}) < 0 || left <= 0 || pixels < 1)
      throw std::invalid_argument("the geometry does not fit the maps");
    return kept({0, 1.0 * cells, 1.0 * geometry.stride, 1.0 * before, 1.0 * after, 1.0 * pixels}, [&] {
      return product(resize(left, pixels, true), resize(cells, cells * geometry.stride, true), before);
    });
  };
  const Axes axes{axis(size.height, geometry.pad[0], geometry.pad[2], geometry.size.height),
                  axis(size.width, geometry.pad[1], geometry.pad[3], geometry.size.width)};
  const size_t area = static_cast<size_t>(size.height) * size.width;
  People found;
  std::vector<int> starts{0};
  for (int type = 0; type < skeleton.num_points; ++type) {
    auto peaks = peaks_of(&maps[0][type * area], size, axes, static_cast<float>(rules.heatmap_threshold), rules.nms_radius);
    keep_best(peaks, rules.max_peaks);
    for (const Peak& peak : peaks) found.candidates.push_back({1.0 * peak.x, 1.0 * peak.y, peak.value, type});
    starts.push_back(static_cast<int>(found.candidates.size()));
  }
  LimbRule rule{rules.num_samples, 0, rules.min_limb_score, false, std::numeric_limits<double>::infinity(), 0};
  for (int n = 0; n <= rules.num_samples; ++n) rule.needed += 1.0 * n / rules.num_samples <= rules.min_limb_fraction;
  const auto closing = closing_of(skeleton);
  std::vector<Person> people;
  for (int limb : assembly_of(skeleton)) {
    const auto ends = skeleton.limbs[limb];
    const auto pairs = find_pairs(Field(&maps[1][2 * limb * area], size, axes), found.candidates, starts, ends, rule);
    if (closing[limb]) close(people, ends, pairs);
    else extend(people, ends, pairs, found.candidates, skeleton.num_points);
  }
  found.people = select(std::move(people), rules.min_points, rules.min_person_score);
  return found;
}

namespace detail {

// Steps from the middle of three values to the top of a parabola through them: half a step at most.
inline double top(double before, double value, double after) {
  const double bend = 2 * value - before - after;
  return bend > 0 && std::isfinite(bend) ? std::clamp(0.5 * (after - before) / bend, -0.5, 0.5) : 0.0;
}

// The top of a Gaussian through the nearest cell and its neighbours on one axis; else of a parabola through the pixels.
inline double place(const float* cells, Size size, const Peak& peak, bool is_x, int pixels_in, int other_in) {
  const auto cell_of = [](int pixel, int cells_, int pixels) { return static_cast<int>(std::floor((2.0 * pixel + 1) * cells_ / (2.0 * pixels))); };
  const int count = is_x ? size.width : size.height;
  const int x = cell_of(peak.x, size.width, is_x ? pixels_in : other_in);
  const int y = cell_of(peak.y, size.height, is_x ? other_in : pixels_in);
  const auto at = [&](int move) -> double {
    const int column = x + (is_x ? move : 0), row = y + (is_x ? 0 : move);
    const bool inside = column >= 0 && column < size.width && row >= 0 && row < size.height;
    return inside ? cells[static_cast<size_t>(row) * size.width + column] : 0.0;
  };
  const double before = at(-1), middle = at(0), after = at(1);
  if (before > 0 && before <= middle && middle >= after && after > 0)
    return ((is_x ? x : y) + 0.5 + top(std::log(before), std::log(middle), std::log(after))) * pixels_in / count - 0.5;
  return (is_x ? peak.x : peak.y) + top(peak.around[is_x ? 0 : 1], peak.value, peak.around[is_x ? 2 : 3]);
}

}  // namespace detail

// People in one image, in original pixels. `size_in`: of the network's input, to which the image of `size_img` pixels
// was resized. Throws std::invalid_argument for what does not fit.
inline People decode_openpose(const Maps& heatmaps, const Maps& fields, Size size_in, Size size_img,
                              const Skeleton& skeleton, const OpenPoseRules& rules = {}) {
  using namespace detail;
  constexpr int most_peaks = 100;  // of a type: work on noise grows with their square
  const auto maps = checked(heatmaps, fields, skeleton);
  if (std::min({size_in.height, size_in.width, size_img.height, size_img.width}) < 1)
    throw std::invalid_argument("sizes must be positive");
  const Size size = fields.size;
  const size_t area = static_cast<size_t>(size.height) * size.width;
  const auto axis = [](int cells, int pixels, double sigma) {
    return kept({1, 1.0 * cells, 1.0 * pixels, sigma}, [&] { return smoothed(resize(cells, pixels, false), sigma); });
  };
  const Axes smooth{axis(size.height, size_in.height, rules.gaussian_sigma), axis(size.width, size_in.width, rules.gaussian_sigma)};
  const Axes axes{axis(size.height, size_in.height, 0), axis(size.width, size_in.width, 0)};
  std::vector<Candidate> pixels;
  People found;
  std::vector<int> starts{0};
  const double centre = rules.original ? 0.0 : 0.5;  // images are resized about the centres of pixels
  for (int type = 0; type < skeleton.num_points; ++type) {
    const float* cells = &maps[0][type * area];
    auto peaks = peaks_of(cells, size, smooth, static_cast<float>(rules.heatmap_peak_thresh), 0);
    keep_best(peaks, rules.original ? 0 : most_peaks);
    std::stable_sort(peaks.begin(), peaks.end(), [](const Peak& a, const Peak& b) { return a.y < b.y; });
    for (const Peak& peak : peaks) {
      const double px = rules.original ? peak.x : place(cells, size, peak, true, size_in.width, size_in.height);
      const double py = rules.original ? peak.y : place(cells, size, peak, false, size_in.height, size_in.width);
      pixels.push_back({1.0 * peak.x, 1.0 * peak.y, peak.value, type});
      found.candidates.push_back({(px + centre) * size_img.width / size_in.width - centre,
                                  (py + centre) * size_img.height / size_in.height - centre, peak.value, type});
    }
    starts.push_back(static_cast<int>(pixels.size()));
  }
  const double longest = rules.limb_length_ratio * (rules.original ? size_in.width : std::max(size_in.width, size_in.height));
  const LimbRule rule{rules.n_integ_points, rules.n_integ_points_thresh + 1, rules.inner_product_thresh, true,
                      longest, rules.length_penalty_value};
  const auto closing = closing_of(skeleton);
  std::vector<Person> people;
  for (size_t limb = 0; limb < skeleton.limbs.size(); ++limb)
    for (const Pair& pair : find_pairs(Field(&maps[1][2 * limb * area], size, axes), pixels, starts, skeleton.limbs[limb], rule))
      join(people, skeleton.limbs[limb], pair, pixels, skeleton.num_points, rules.original, !closing[limb]);
  found.people = select(std::move(people), rules.n_subset_limbs_thresh, rules.subset_score_thresh);
  return found;
}

}  // namespace pose
