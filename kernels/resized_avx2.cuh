// SPDX-License-Identifier: Apache-2.0
// resample() of resized_lines.cuh for packed uint8 RGB on a CPU with AVX2, four pixels together. The same results.
#pragma once
#include <immintrin.h>

const int32_t COLUMNS = 256;  // of a box, that are done together: their neighbours are looked up once

// Where the left neighbours of columns lie in a row, in bytes, and the weights of the right ones, each four times.
struct Columns {
  int32_t lefts[COLUMNS];
  ALIGNED(32) int16_t weights[4 * COLUMNS];

  // The first so many columns from x0 on. Both neighbours of the last column are itself: what lies behind counts 0.
  inline Columns(int32_t x0, int32_t count, const Image& image, const Placed& box) {
    const float scale = (float)image.width / (float)box.width;
    for (int32_t k = 0; k < count; ++k) {
      Neighbours columns(x0 + k - box.left, scale, image.width);
      int16_t weight = columns.high > columns.low ? (int16_t)Between<uint8_t>(columns.weight).weight : (int16_t)0;
      lefts[k] = columns.low * 3;
      for (int32_t c = 0; c < 4; ++c) weights[4 * k + c] = weight;
    }
  }
};

// Both neighbours of two pixels, eight bytes each of which six count, as 16 bits.
inline __m256i both(const uint8_t* one, const uint8_t* two) {
  __m128i bytes = _mm_loadl_epi64((const __m128i*)one);
  return _mm256_cvtepu8_epi16(_mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(bytes), (const __m64*)two)));
}

// Pixels `one` and `two` of a row, in 16 bits, at the beginnings of both halves. weights: theirs, in 64 bits each.
inline __m256i between(const uint8_t* top, const uint8_t* bottom, __m256i down, int32_t one, int32_t two,
                       __m256i weights) {
  __m256i above = both(top + one, top + two), below = both(bottom + one, bottom + two);
  __m256i change = _mm256_mulhrs_epi16(_mm256_slli_epi16(_mm256_sub_epi16(below, above), 7), down);
  __m256i left = _mm256_add_epi16(_mm256_slli_epi16(above, 7), change), right = _mm256_srli_si256(left, 6);
  __m256i value = _mm256_add_epi16(left, _mm256_mulhrs_epi16(_mm256_sub_epi16(right, left), weights));
  return _mm256_mulhrs_epi16(value, _mm256_set1_epi16(256));
}

// Four pixels from column k on, twelve bytes. whole: or else up to two bytes behind them are written too.
inline void four(const uint8_t* top, const uint8_t* bottom, __m256i down, const Columns& columns, int32_t k,
                 uint8_t* out, bool whole) {
  const int32_t* lefts = columns.lefts + k;
  __m256i weights = _mm256_loadu_si256((const __m256i*)(columns.weights + 4 * k));
  __m256i even = between(top, bottom, down, lefts[0], lefts[2], _mm256_permute4x64_epi64(weights, 0xa0));
  __m256i odd = between(top, bottom, down, lefts[1], lefts[3], _mm256_permute4x64_epi64(weights, 0xf5));
  const __m256i packed = _mm256_setr_epi8(0, 1, 2, 8, 9, 10, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                          0, 1, 2, 8, 9, 10, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  __m256i bytes = _mm256_shuffle_epi8(_mm256_packus_epi16(even, odd), packed);
  _mm_storel_epi64((__m128i*)out, _mm256_castsi256_si128(bytes));
  uint64_t rest = (uint64_t)_mm_cvtsi128_si64(_mm256_extracti128_si256(bytes, 1));
  memcpy(out + 6, &rest, whole ? 6 : 8);
}

// partner: with eight bytes behind each row that may be read.
inline void resample_rgb(PixelRows partner, const Image& image, const Placed& box, const Window& window, PixelRows to) {
  const float scale = (float)image.height / (float)box.height;
  for (int32_t x0 = window.x0; x0 < window.x1; x0 += COLUMNS) {
    const int32_t count = window.x1 - x0 < COLUMNS ? window.x1 - x0 : COLUMNS;
    const Columns columns(x0, count, image, box);
    for (int32_t y = window.y0; y < window.y1; ++y) {
      Neighbours rows(y - box.top, scale, image.height);
      const uint8_t *top = partner.row(rows.low), *bottom = partner.row(rows.high);
      const Between<uint8_t> between(rows.weight);
      uint8_t* line = to.row(y) + (int64_t)x0 * 3;
      if (count < 4) {
        resample_row<uint8_t>(top, bottom, between, image, box, x0, x0 + count, to.row(y));
        continue;
      }
      const __m256i down = _mm256_set1_epi16((int16_t)between.weight);
      for (int32_t k = 0; k + 4 < count; k += 4) four(top, bottom, down, columns, k, line + k * 3, false);
      four(top, bottom, down, columns, count - 4, line + (count - 4) * 3, true);
    }
  }
}
