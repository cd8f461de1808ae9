// SPDX-License-Identifier: Apache-2.0
// noise_words() of noise.cuh for processors with AVX2: four blocks in a register a word, each word in 64 bits of which
// only the lower 32 count. Compilers do not find this multiplication by themselves.
#pragma once
#include <immintrin.h>

const int FOURS = SIDE_BY_SIDE / 4;

DEVICE void noise_words(const NoiseRow& row, uint32_t first, NoiseWords& out) {
  const __m256i m0 = _mm256_set1_epi64x(0xD2511F53u), m1 = _mm256_set1_epi64x(0xCD9E8D57u);
  __m256i c0[FOURS], c1[FOURS], c2[FOURS], c3[FOURS];
  for (int g = 0; g < FOURS; ++g) {
    c0[g] = _mm256_add_epi32(_mm256_set1_epi64x(first + 4 * g), _mm256_setr_epi64x(0, 1, 2, 3));
    c1[g] = _mm256_set1_epi64x(row.y);
    c2[g] = c3[g] = _mm256_setzero_si256();
  }
  uint32_t k0 = row.key[0], k1 = row.key[1];
  for (int round = 0; round < 10; ++round) {
    const __m256i key0 = _mm256_set1_epi64x(k0), key1 = _mm256_set1_epi64x(k1);
    for (int g = 0; g < FOURS; ++g) {
      __m256i p0 = _mm256_mul_epu32(c0[g], m0), p1 = _mm256_mul_epu32(c2[g], m1);
      c0[g] = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(c1[g], key0));
      c2[g] = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(c3[g], key1));
      c1[g] = p1;
      c3[g] = p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int g = 0; g < FOURS; ++g) {  // from a register a word to four words a block
    __m256i front = _mm256_blend_epi32(c0[g], _mm256_slli_epi64(c1[g], 32), 0xAA);
    __m256i back = _mm256_blend_epi32(c2[g], _mm256_slli_epi64(c3[g], 32), 0xAA);
    __m256i even = _mm256_unpacklo_epi64(front, back), odd = _mm256_unpackhi_epi64(front, back);
    __m256i* block = (__m256i*)(out.at + 16 * g);
    _mm256_storeu_si256(block, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256(block + 1, _mm256_permute2x128_si256(even, odd, 0x31));
  }
}
