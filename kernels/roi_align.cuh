// SPDX-License-Identifier: Apache-2.0
// Bilinear ROI-align along one axis: that of He et al., "Mask R-CNN" (ICCV 2017), as torchvision has it with
// aligned=True and sampling_ratio=-1.
#pragma once
#include "common.cuh"

// Two neighbours and the weight of the second; false where the point is more than a cell outside.
struct Tap {
  int32_t low, high;
  float weight;

  DEVICE bool place(float at, int32_t size) {
    if (at < -1.0f || at > (float)size) return false;
    if (at < 0.0f) at = 0.0f;
    low = (int32_t)at;
    high = low + 1;
    if (low >= size - 1) {
      low = high = size - 1;
      at = (float)low;
    }
    weight = at - (float)low;
    return true;
  }
};

// One axis of a box in map cells: where it starts, how long a bin is, how many points a bin is averaged over.
struct Axis {
  float start, bin;
  int32_t points;

  DEVICE Axis(float from, float to, int32_t size, int32_t bins) {
    float first = from * (float)size, length = to * (float)size - first;
    start = first - 0.5f;
    bin = length / (float)bins;
    points = (int32_t)ceilf(bin);
  }
  // The only bin that covers a part of the box, from `low` to `high` of its length.
  DEVICE Axis part(float low, float high, int32_t bins) const {
    Axis one = *this;
    float length = bin * (float)bins;
    one.start = start + low * length;
    one.bin = (high - low) * length;
    one.points = (int32_t)ceilf(one.bin);
    return one;
  }
  DEVICE float at(int32_t b, int32_t point) const {
    return start + (float)b * bin + ((float)point + 0.5f) * bin / (float)points;
  }
};

// boxes: (samples, 4) y0, x0, y1, x1 in fractions of the full image, null for all of it. which: 0 for y, 1 for x.
DEVICE Axis axis_of(const float* boxes, int64_t sample, int32_t which, int32_t size, int32_t bins) {
  return boxes ? Axis(boxes[4 * sample + which], boxes[4 * sample + which + 2], size, bins)
               : Axis(0.0f, 1.0f, size, bins);
}
