// SPDX-License-Identifier: Apache-2.0
// across() and down() of resize_lines.cuh for processors with AVX2: two taps a multiplication, the same sums.
#pragma once
#include <immintrin.h>

// A pixel of 32-bit sums: red, green, blue, 0. in: 16 bytes are read for each GROUP of taps.
DEVICE __m128i pixel(const uint8_t* in, const int16_t* weights, int32_t groups) {
  const __m128i pairs = _mm_setr_epi8(0, 3, 1, 4, 2, 5, -1, -1, 6, 9, 7, 10, 8, 11, -1, -1);
  const __m256i spread = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  __m256i sum = _mm256_setzero_si256();
  for (int32_t g = 0; g < groups; ++g, in += GROUP * CHANNELS, weights += GROUP) {
    __m256i taps = _mm256_cvtepu8_epi16(_mm_shuffle_epi8(_mm_loadu_si128((const __m128i*)in), pairs));
    __m128i weight = _mm_loadl_epi64((const __m128i*)weights);
    sum = _mm256_add_epi32(
        sum, _mm256_madd_epi16(taps, _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(weight), spread)));
  }
  __m128i whole = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  return _mm_srai_epi32(_mm_add_epi32(whole, _mm_set1_epi32(HALF)), FRACTION);
}

// GROUP pixels from output o on: 12 bytes, and 4 of 0.
DEVICE __m128i group(const uint8_t* line, const Taps& x, int32_t o, int32_t groups) {
  const __m128i packed = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
  const int32_t* firsts = x.firsts + o;
  const int16_t* weights = x.weights + o * x.most;
  __m128i a = pixel(line + firsts[0] * CHANNELS, weights, groups);
  __m128i b = pixel(line + firsts[1] * CHANNELS, weights + x.most, groups);
  __m128i c = pixel(line + firsts[2] * CHANNELS, weights + 2 * x.most, groups);
  __m128i d = pixel(line + firsts[3] * CHANNELS, weights + 3 * x.most, groups);
  return _mm_shuffle_epi8(_mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d)), packed);
}

template <int32_t GROUPS>
DEVICE void across_of(const uint8_t* line, const Taps& x, uint8_t* out) {
  const int32_t groups = GROUPS ? GROUPS : (x.count + GROUP - 1) / GROUP;
  int32_t o = 0;
  for (; (x.outputs - o) * CHANNELS >= 16; o += GROUP)  // 4 bytes of 0, which the next ones replace
    _mm_storeu_si128((__m128i*)(out + o * CHANNELS), group(line, x, o, groups));
  for (; o < x.outputs; o += GROUP) {
    uint8_t last[16];
    _mm_storeu_si128((__m128i*)last, group(line, x, o, groups));
    memcpy(out + o * CHANNELS, last, (x.outputs - o < GROUP ? x.outputs - o : GROUP) * CHANNELS);
  }
}

DEVICE void across(const uint8_t* line, const Taps& x, uint8_t* out) {
  if (x.count <= GROUP) return across_of<1>(line, x, out);
  if (x.count <= 2 * GROUP) return across_of<2>(line, x, out);
  across_of<0>(line, x, out);
}

DEVICE __m256i block(const Lines& lines, const int16_t* weights, int32_t count, int32_t x) {
  const __m256i zero = _mm256_setzero_si256();
  __m256i s0 = _mm256_set1_epi32(HALF), s1 = s0, s2 = s0, s3 = s0;
  for (int32_t k = 0; k < count; k += 2) {
    __m256i even = _mm256_loadu_si256((const __m256i*)(lines[k] + x));
    __m256i odd = k + 1 < count ? _mm256_loadu_si256((const __m256i*)(lines[k + 1] + x)) : zero;
    __m256i low = _mm256_unpacklo_epi8(even, odd), high = _mm256_unpackhi_epi8(even, odd);
    __m256i pair = _mm256_set1_epi32((uint16_t)weights[k] | (k + 1 < count ? weights[k + 1] << 16 : 0));
    s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(_mm256_unpacklo_epi8(low, zero), pair));
    s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(_mm256_unpackhi_epi8(low, zero), pair));
    s2 = _mm256_add_epi32(s2, _mm256_madd_epi16(_mm256_unpacklo_epi8(high, zero), pair));
    s3 = _mm256_add_epi32(s3, _mm256_madd_epi16(_mm256_unpackhi_epi8(high, zero), pair));
  }
  s0 = _mm256_packs_epi32(_mm256_srai_epi32(s0, FRACTION), _mm256_srai_epi32(s1, FRACTION));
  s2 = _mm256_packs_epi32(_mm256_srai_epi32(s2, FRACTION), _mm256_srai_epi32(s3, FRACTION));
  return _mm256_packus_epi16(s0, s2);
}

template <int32_t COUNT>
DEVICE void down_of(const Lines& lines, const int16_t* weights, int32_t count, int32_t bytes, uint8_t* out) {
  const int32_t taps = COUNT ? COUNT : count;
  for (int32_t x = 0; x < bytes; x += BLOCK) {
    if (x + BLOCK > bytes) x = bytes - BLOCK;  // the last block overlaps the one before
    _mm256_storeu_si256((__m256i*)(out + x), block(lines, weights, taps, x));
  }
}

DEVICE void down(const Lines& lines, const int16_t* weights, int32_t count, int32_t bytes, uint8_t* out) {
  if (bytes < BLOCK) {
    for (int32_t x = 0; x < bytes; ++x) {
      int32_t sum = HALF;
      for (int32_t k = 0; k < count; ++k) sum += lines[k][x] * weights[k];
      out[x] = (uint8_t)(sum >> FRACTION);
    }
    return;
  }
  switch (count) {
    case 2:
      return down_of<2>(lines, weights, count, bytes, out);
    case 3:
      return down_of<3>(lines, weights, count, bytes, out);
    case 4:
      return down_of<4>(lines, weights, count, bytes, out);
    default:
      down_of<0>(lines, weights, count, bytes, out);
  }
}
