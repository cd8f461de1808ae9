// SPDX-License-Identifier: Apache-2.0
// One line of a resize: across(), a row of pixels to another width, and down(), rows to one row between them.
#pragma once
#include "common.cuh"

const int32_t FRACTION = 15, ONE = 1 << FRACTION, HALF = ONE / 2, CHANNELS = 3;
const int32_t GROUP = 4;   // outputs of across() that are made together, and taps that are read together
const int32_t BLOCK = 32;  // bytes of a line that down() makes together
const int32_t SLACK = 64;  // bytes behind a line that may be read, whatever they hold

// Bytes from a line to the next in scratch memory.
DEVICE int32_t pitch(int32_t bytes) { return (bytes + SLACK + 31) / 32 * 32; }

// Of an axis: where each of `outputs` begins, and `most` weights for each, 0 behind the first `count`. firsts and
// weights have rows for a multiple of GROUP.
struct Taps {
  const int32_t* firsts;
  const int16_t* weights;
  int32_t most, count, outputs;
};

// A packed image.
struct Source {
  const uint8_t* start;
  int32_t height, bytes;  // of a row
};

// Lines in a ring of `size`, from line `first` on; `size` is the height where they do not go round.
struct Lines {
  const uint8_t* start;
  int32_t step, first, size;

  DEVICE const uint8_t* operator[](int32_t k) const {
    int32_t at = first + k;
    return start + (int64_t)(at < size ? at : at - size) * step;
  }
};

// A row of the image with SLACK bytes behind it that may be read: a copy of it in `spare` where the image ends there.
DEVICE const uint8_t* readable(const Source& image, int32_t row, uint8_t* spare) {
  const uint8_t* line = image.start + (int64_t)row * image.bytes;
  if ((int64_t)(image.height - row - 1) * image.bytes >= SLACK) return line;
  memcpy(spare, line, image.bytes);
  return spare;
}

#ifdef __AVX2__
#include "resize_avx2.cuh"
#else
// line: with SLACK. out: exactly `outputs` pixels.
DEVICE void across(const uint8_t* line, const Taps& x, uint8_t* out) {
  for (int32_t o = 0; o < x.outputs; ++o, out += CHANNELS) {
    const uint8_t* in = line + x.firsts[o] * CHANNELS;
    int32_t red = HALF, green = HALF, blue = HALF;
    for (int32_t k = 0; k < x.count; ++k, in += CHANNELS) {
      int32_t weight = x.weights[o * x.most + k];
      red += in[0] * weight;
      green += in[1] * weight;
      blue += in[2] * weight;
    }
    out[0] = (uint8_t)(red >> FRACTION);
    out[1] = (uint8_t)(green >> FRACTION);
    out[2] = (uint8_t)(blue >> FRACTION);
  }
}

// weights: `count` of them. out: exactly `bytes`.
DEVICE void down(const Lines& lines, const int16_t* weights, int32_t count, int32_t bytes, uint8_t* out) {
  for (int32_t x0 = 0; x0 < bytes; x0 += BLOCK) {
    int32_t sums[BLOCK], here = bytes - x0 < BLOCK ? bytes - x0 : BLOCK;
    for (int32_t x = 0; x < BLOCK; ++x) sums[x] = HALF;
    for (int32_t k = 0; k < count; ++k) {
      const uint8_t* in = lines[k] + x0;
      for (int32_t x = 0; x < here; ++x) sums[x] += in[x] * weights[k];
    }
    for (int32_t x = 0; x < here; ++x) out[x0 + x] = (uint8_t)(sums[x] >> FRACTION);
  }
}
#endif
