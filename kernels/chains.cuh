// SPDX-License-Identifier: Apache-2.0
// How AugMix's chains lie in a plan's rows and in scratch memory.
#pragma once
#include "image.cuh"

// An operation on an image: what `value` holds of it. "Table": every value becomes another one, whatever its place.
enum Operation {
  NONE,           // the chain ends here
  AFFINE,         // x and y of the source for a pixel's centre: two rows of three
  AUTO_CONTRAST,  // table, from a channel's least and greatest value
  EQUALIZE,       // table, from a channel's histogram
  POSTERIZE,      // table; the bits that stay
  SOLARIZE,       // table; the threshold
  BRIGHTNESS,     // table; the factor, as for the next three
  CONTRAST,       // table, from the mean of all channels
  COLOR,
  SHARPNESS,
};

struct Step {
  float operation, value[6];
};

struct Chains {
  Image image;                 // pixels of pixel_bytes channels, each a byte
  PlanRows rows;               // the region: 1 + width weights, the clean image's first, and width * depth steps
  int32_t width, depth, step;  // step: which one of every chain a launch takes
  float fill;                  // what lies outside an image
};

// Chain k of sample s is number s * width + k.
DEVICE int64_t chain_count(const Chains& p) { return (int64_t)p.image.samples * p.width; }
DEVICE int32_t channel_count(const Image& image) { return image.planes * image.pixel_bytes; }

DEVICE const Step* chain_steps(const uint8_t* plan, const Chains& p, int64_t chain) {
  const float* region = plan_region<float>(plan, p.rows, chain / p.width);
  return (const Step*)(region + 1 + p.width) + chain % p.width * p.depth;
}

DEVICE int32_t chain_length(const Step* steps, int32_t depth) {
  int32_t length = 0;
  while (length < depth && (int32_t)steps[length].operation != NONE) ++length;
  return length;
}

// NONE from the first NONE on.
DEVICE Operation operation_at(const Step* steps, int32_t step) {
  return step < chain_length(steps, step + 1) ? (Operation)(int32_t)steps[step].operation : NONE;
}

// One image: channel c of a pixel is at start + c / pixel_bytes * plane + y * row + x * pixel_bytes + c % pixel_bytes.
struct Pixels {
  const uint8_t* start;
  int64_t plane, row;
};

// What a chain is after `steps` of its steps: of the batch itself, or in the one of two scratch buffers they take
// turns.
DEVICE Pixels after_steps(const uint8_t* images, const uint8_t* work, const Chains& p, int64_t chain, int32_t steps) {
  const Image& image = p.image;
  if (steps == 0) return {images + chain / p.width * image.sample_stride, image.plane_stride, image.row_stride};
  const int64_t row = (int64_t)image.width * image.pixel_bytes, plane = row * image.height;
  const int64_t number = steps % 2 * chain_count(p) + chain;
  return {work + number * plane * image.planes, plane, row};
}

DEVICE uint8_t nearest_byte(float v) {
  v = v < 0.0f ? 0.0f : v > 255.0f ? 255.0f : v;
  return (uint8_t)(int32_t)((v + 8388608.0f) - 8388608.0f);  // 2^23: leaves the nearest integer, ties to even
}

// Red, green and blue as luma: ITU-R BT.601.
DEVICE float luma(float red, float green, float blue) { return (0.299f * red + 0.587f * green) + 0.114f * blue; }
