// SPDX-License-Identifier: Apache-2.0
// exp for softmax, of +, * and bits alone: the same on every compiler, and a CPU's compiler vectorises it; libm is
// neither. Relative error below 2e-7.
#pragma once
#include "half.cuh"

// x <= 0; 0 below -87, where the result would be subnormal.
DEVICE float exp_of(float x) {
  float bounded = x < -87.0f ? -87.0f : x;
  float n = (bounded * 1.44269504f + 12582912.0f) - 12582912.0f;  // x / ln 2 to the nearest integer: 1.5 * 2^23
  float r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;    // ln 2 in two parts, the first one exact in a product
  float sum = 1.0f + r * (1.0f / 7.0f);
  sum = 1.0f + r * (1.0f / 6.0f) * sum;
  sum = 1.0f + r * (1.0f / 5.0f) * sum;
  sum = 1.0f + r * (1.0f / 4.0f) * sum;
  sum = 1.0f + r * (1.0f / 3.0f) * sum;
  sum = 1.0f + r * (1.0f / 2.0f) * sum;
  sum = 1.0f + r * sum;
  FloatBits power;
  power.bits = (uint32_t)((int32_t)n + 127) << 23;
  return x < -87.0f ? 0.0f : sum * power.value;
}
