// SPDX-License-Identifier: Apache-2.0
// People in an image, with Lightweight OpenPose in ONNX Runtime: sample NETWORK.onnx IMAGE.ppm
//
// Prints a line of JSON a person: its score, and x, y in pixels of the image and score of each point, null: not found.
#include <onnxruntime_cxx_api.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "part_affinity.hpp"

constexpr int stride = 8, upsampling = 4, height_in = 256;  // of the network, of the decoder, of the published demo

struct Image {
  int width = 0, height = 0, brightest = 0;
  std::vector<std::uint8_t> rgb;
};

// How an image lies in the network's input: scaled by `ratio` to (height_in, width), in the middle of `size`.
struct Place {
  double ratio;
  int width, left, top;
  pose::Size size;
};

static Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  Image image;
  file >> kind >> image.width >> image.height >> image.brightest;
  file.get();
  image.rgb.assign(std::istreambuf_iterator<char>(file), {});
  if (kind != "P6" || image.brightest != 255 || image.rgb.size() != 3u * image.width * image.height)
    throw std::runtime_error(path + ": not a binary PPM of 8 bits; convert it");
  return image;
}

static Place place_of(const Image& image) {
  const auto whole_cells = [](int length) { return (length + stride - 1) / stride * stride; };
  const double ratio = static_cast<double>(height_in) / image.height;
  const int width = static_cast<int>(std::nearbyint(image.width * ratio));
  const pose::Size size{whole_cells(height_in), whole_cells(std::max(width, height_in))};
  return {ratio, width, (size.width - width) / 2, (size.height - height_in) / 2, size};
}

// (3, height, width), blue first, (value - 128) / 256; 0 around the image, which is resized bilinearly.
static std::vector<float> input_of(const Image& image, const Place& place) {
  const int area = place.size.height * place.size.width;
  std::vector<float> input(3 * static_cast<size_t>(area));
  const auto pixel = [&](int x, int y, int channel) {
    x = std::clamp(x, 0, image.width - 1), y = std::clamp(y, 0, image.height - 1);
    return static_cast<double>(image.rgb[3 * (static_cast<size_t>(y) * image.width + x) + channel]);
  };
  for (int y = 0; y < height_in; ++y)
    for (int x = 0; x < place.width; ++x) {
      const double u = (x + 0.5) / place.ratio - 0.5, v = (y + 0.5) / place.ratio - 0.5;
      const int left = static_cast<int>(std::floor(u)), top = static_cast<int>(std::floor(v));
      for (int channel = 0; channel < 3; ++channel) {
        const auto row = [&](int line) {
          return pixel(left, line, channel) * (left + 1 - u) + pixel(left + 1, line, channel) * (u - left);
        };
        const double value = row(top) * (top + 1 - v) + row(top + 1) * (v - top);
        input[(2 - channel) * area + (place.top + y) * place.size.width + place.left + x] = static_cast<float>((value - 128) / 256);
      }
    }
  return input;
}

static pose::Maps maps_of(const Ort::Value& value) {
  const auto shape = value.GetTensorTypeAndShapeInfo().GetShape();
  return {value.GetTensorData<float>(), static_cast<int>(shape[1]), {static_cast<int>(shape[2]), static_cast<int>(shape[3])}};
}

static void print(const pose::People& found, const Place& place) {
  const auto to_image = [&](double pixel, int cut) {  // an enlarged map's pixel i is the network's pixel 2 i + 0.5
    return ((pixel + 0.5 - 0.5 * upsampling / stride) * stride / upsampling - cut) / place.ratio;
  };
  for (const pose::Person& person : found.people) {
    std::printf("{\"score\": %.4f, \"points\": [", person.score);
    for (size_t type = 0; type < person.points.size(); ++type) {
      const int row = person.points[type];
      const char* comma = type ? ", " : "";
      if (row < 0) {
        std::printf("%snull", comma);
        continue;
      }
      const pose::Candidate& point = found.candidates[row];
      std::printf("%s[%.2f, %.2f, %.3f]", comma, to_image(point.x, place.left), to_image(point.y, place.top), point.score);
    }
    std::printf("]}\n");
  }
}

static void run(const char* network, const char* path) {
  const Image image = read_ppm(path);
  const Place place = place_of(image);
  std::vector<float> input = input_of(image, place);
  Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "pose");
  Ort::Session session(env, network, Ort::SessionOptions());
  Ort::AllocatorWithDefaultOptions allocator;
  const auto input_name = session.GetInputNameAllocated(0, allocator);
  const size_t last = session.GetOutputCount() - 1;  // heatmaps and fields of the last stage
  const auto heatmaps_name = session.GetOutputNameAllocated(last - 1, allocator);
  const auto fields_name = session.GetOutputNameAllocated(last, allocator);
  const std::int64_t shape[] = {1, 3, place.size.height, place.size.width};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto tensor = Ort::Value::CreateTensor<float>(memory, input.data(), input.size(), shape, 4);
  const char* const names_in[] = {input_name.get()};
  const char* const names_out[] = {heatmaps_name.get(), fields_name.get()};
  const auto outputs = session.Run(Ort::RunOptions{nullptr}, names_in, &tensor, 1, names_out, 2);
  const pose::Maps heatmaps = maps_of(outputs[0]), fields = maps_of(outputs[1]);
  const auto geometry = pose::Geometry::demo(heatmaps.size, upsampling);
  print(pose::decode_lightweight(heatmaps, fields, geometry, pose::Skeleton::openpose()), place);
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "sample NETWORK.onnx IMAGE.ppm\n");
    return 2;
  }
  try {
    run(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}
