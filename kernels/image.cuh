// SPDX-License-Identifier: Apache-2.0
// How a batch of images and the rows of a plan lie in memory.
#pragma once
#include "common.cuh"

const int CACHE_LINE = 64, ROWS_AHEAD = 6;  // for a CPU's prefetch; measured, benchmarks/kernels.py

// Strides in bytes. NHWC: one plane whose pixels hold all channels. NCHW: a plane a channel.
struct Image {
  int64_t sample_stride, plane_stride, row_stride;
  int32_t samples, planes, height, width, pixel_bytes;
};

// A plan travels as one packed row a sample; its head is the same for every mixer. Behind it lie `more` samples that
// show beyond the partner, and as many label weights of theirs.
struct PlanHead {
  int32_t partner;
  float own, other;
  int32_t more;

  DEVICE const int32_t* further() const { return (const int32_t*)(this + 1); }
  DEVICE const float* further_weights() const { return (const float*)(further() + more); }
};

// Where the rows lie, and where in a row the data of one region begins.
struct PlanRows {
  int32_t stride, region;
};

DEVICE const PlanHead* plan_head(const uint8_t* plan, PlanRows rows, int64_t sample) {
  return (const PlanHead*)(plan + sample * rows.stride);
}

template <class T>
DEVICE const T* plan_region(const uint8_t* plan, PlanRows rows, int64_t sample) {
  return (const T*)(plan + sample * rows.stride + rows.region);
}

// One pixel row of a pair of images. `first` < `second`, so that a pair is visited once.
struct PairRow {
  int32_t first, second, y;
  uint8_t *a, *b;
};

// The launcher keeps this below 2^31, so that a row's place takes 32-bit divisions.
DEVICE int32_t pair_rows(const Image& image) { return image.samples * image.planes * image.height; }

// False where row r belongs to a sample that is its own partner or the second of its pair.
DEVICE bool pair_row(int64_t r, uint8_t* images, const Image& image, const uint8_t* plan, PlanRows rows, PairRow& row) {
  uint32_t plane = (uint32_t)r / (uint32_t)image.height, sample = plane / (uint32_t)image.planes;
  row.y = (int32_t)((uint32_t)r - plane * (uint32_t)image.height);
  row.first = (int32_t)sample;
  row.second = plan_head(plan, rows, row.first)->partner;
  if (row.second <= row.first) return false;
  int64_t channel = plane - sample * (uint32_t)image.planes;
  uint8_t* start = images + channel * image.plane_stride + row.y * image.row_stride;
  row.a = start + row.first * image.sample_stride;
  row.b = start + row.second * image.sample_stride;
  return true;
}

// Where cell k of `cells` begins along a side: after k patches of pixels, or, patch 0, for cells of one size.
DEVICE int32_t cell_edge(int32_t k, int32_t side, int32_t cells, int32_t patch) {
  if (patch == 0) return (int32_t)((int64_t)k * side / cells);
  return k < cells ? k * patch : side;
}

// The cell that holds a pixel.
DEVICE int32_t cell_of(int32_t at, int32_t side, int32_t cells, int32_t patch) {
  if (patch == 0) return (int32_t)(((int64_t)(at + 1) * cells - 1) / side);
  return (int32_t)((uint32_t)at / (uint32_t)patch);
}

template <int V>
struct Vector;
template <>
struct ALIGNED(64) Vector<64> {  // a CPU's cache line
  uint64_t words[8];
};
template <>
struct ALIGNED(16) Vector<16> {
  uint64_t low, high;
};
template <>
struct ALIGNED(8) Vector<8> {
  uint64_t word;
};
template <>
struct ALIGNED(4) Vector<4> {
  uint32_t word;
};
template <>
struct ALIGNED(2) Vector<2> {
  uint16_t word;
};
template <>
struct ALIGNED(1) Vector<1> {
  uint8_t word;
};
