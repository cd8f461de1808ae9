// SPDX-License-Identifier: Apache-2.0
// A teacher's label map, known by its k strongest classes at each cell; the logits of all others are 0.
#pragma once
#include "exp.cuh"

struct TopK {
  int32_t samples, k, map_h, map_w, classes;

  DEVICE int64_t entry(int64_t sample, int32_t j, int32_t y, int32_t x) const {
    return ((sample * k + j) * map_h + y) * map_w + x;
  }
};
