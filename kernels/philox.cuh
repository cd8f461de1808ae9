// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once
#include "common.cuh"

DEVICE void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

// The words of one key in order of the counter.
struct Stream {
  uint32_t key[2], counter[4], words[4];
  int32_t used;

  DEVICE explicit Stream(uint64_t seed)
      : key{(uint32_t)seed, (uint32_t)(seed >> 32)}, counter{0, 0, 0, 0}, words{0, 0, 0, 0}, used(4) {}

  DEVICE uint32_t word() {
    if (used == 4) {
      philox4x32(counter, key, words);
      ++counter[0];
      used = 0;
    }
    return words[used++];
  }
  DEVICE double uniform() { return word() * (1.0 / 4294967296.0); }  // [0, 1), exact
  DEVICE int32_t below(int32_t n) { return (int32_t)((uint64_t)word() * (uint32_t)n >> 32); }
};
