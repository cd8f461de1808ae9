// SPDX-License-Identifier: Apache-2.0
// The elements of images as binary32, and back: float16 and uint8 by rounding to nearest, ties to even.
#pragma once
#include "half.cuh"

DEVICE float load(uint8_t v) { return (float)v; }
DEVICE float load(float v) { return v; }
DEVICE float load(uint16_t v) { return half_to_float(v); }
template <class T>
DEVICE T rounded(float v) {
  return v;
}
template <>
DEVICE uint8_t rounded<uint8_t>(float v) {
  return (uint8_t)(int32_t)((v + 8388608.0f) - 8388608.0f);  // 2^23: leaves the nearest integer, ties to even
}
template <>
DEVICE uint16_t rounded<uint16_t>(float v) {
  return float_to_half(v);
}
