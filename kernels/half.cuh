// SPDX-License-Identifier: Apache-2.0
// IEEE binary16 <-> binary32 on bits, the same on every compiler: exact up, round to nearest even down.
#pragma once
#include "common.cuh"

union FloatBits {
  float value;
  uint32_t bits;
};

DEVICE float half_to_float(uint16_t half) {
  FloatBits out, scale;
  int32_t rest = half & 0x7fff;
  scale.bits = 0x77800000;  // 2^112: moves the exponent's bias from 15 to 127, subnormals included
  out.bits = (uint32_t)rest << 13;
  out.value *= scale.value;
  out.bits |= (rest >= 0x7c00 ? 0x7f800000u : 0u) | (uint32_t)(half & 0x8000) << 16;  // infinity and NaN; the sign
  return out.value;
}

DEVICE uint16_t float_to_half(float value) {
  FloatBits in, subnormal;
  in.value = value;
  int32_t rest = (int32_t)(in.bits & 0x7fffffff);
  subnormal.bits = (uint32_t)rest;
  subnormal.value += 0.5f;  // one unit of a float near 0.5 is 2^-24, the smallest binary16
  int32_t normal = (rest - 0x37fff001 + (rest >> 13 & 1)) >> 13;  // rebias by -112, round half to even
  int32_t half = rest < 0x38800000 ? (int32_t)subnormal.bits - 0x3f000000 : normal;
  half = rest >= 0x47800000 ? 0x7c00 : half;  // 65536 and above; 65520 to 65536 rounds up by itself
  half = rest > 0x7f800000 ? 0x7e00 | (rest >> 13 & 0x3ff) : half;
  return (uint16_t)(half | (int32_t)(in.bits >> 16 & 0x8000));
}
