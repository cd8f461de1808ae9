// SPDX-License-Identifier: Apache-2.0
// Noise by its place: element e of row y of a seed's image is always the same number, whoever asks, in any order.
// Blocks of Philox lie along a row; several are made side by side.
#pragma once
#include "half.cuh"
#include "philox.cuh"

const int SIDE_BY_SIDE = WIDEST / 8;  // blocks that are made at once
const int NOISE_WORDS = 4 * SIDE_BY_SIDE;
struct alignas(16) NoiseWords {
  uint32_t at[NOISE_WORDS];
};

// Where a row of noise is: the seed's words and the row's number.
struct NoiseRow {
  uint32_t key[2], y;
};

#ifdef __AVX2__
#include "philox_avx2.cuh"
#else
// The words of blocks `first` and following.
DEVICE void noise_words(const NoiseRow& row, uint32_t first, NoiseWords& out) {
  for (int k = 0; k < SIDE_BY_SIDE; ++k) {
    const uint32_t counter[4] = {first + (uint32_t)k, row.y, 0, 0};
    philox4x32(counter, row.key, out.at + 4 * k);
  }
}
#endif

// -log(a) for a in (0, 1] by the series of the area tangent: error below 1e-7.
DEVICE float minus_log(float a) {
  FloatBits in, mantissa;
  in.value = a;
  int32_t power = (int32_t)(in.bits - 0x3f3504f3) >> 23;  // the mantissa is then in [sqrt(1/2), sqrt(2))
  mantissa.bits = in.bits - ((uint32_t)power << 23);
  float s = (mantissa.value - 1.0f) / (mantissa.value + 1.0f), square = s * s;
  float sum = 1.0f + square * (0.33333334f + square * (0.2f + square * 0.14285715f));
  return -((float)power * 0.6931472f + (s + s) * sum);
}

// A standard normal number by the inverse of its distribution, of a word: its sign is the highest bit, the lowest 23
// are its probability p in (0, 1/2). With w = -log(4 p (1 - p)) that is (1 - 2 p) times a smooth function of w, here a
// quotient of two cubic polynomials; relative error below 2e-5. At most 5.42.
DEVICE float normal(uint32_t word) {
  float p = ((float)(int32_t)(word & 0x7fffff) + 0.5f) * 5.9604645e-8f;  // 2^-24: exact
  float w = minus_log(4.0f * p * (1.0f - p));
  float top = 1.2533258f + w * (0.42345750f + w * (0.075861392f + w * 0.0079030340f));
  float bottom = 1.0f + w * (0.076037971f + w * (0.027805367f + w * 0.00041048919f));
  FloatBits size, sign;
  size.value = (1.0f - 2.0f * p) * top / bottom;
  sign.bits = size.bits ^ (word & 0x80000000u);
  return sign.value;
}
