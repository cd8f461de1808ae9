// SPDX-License-Identifier: Apache-2.0
// crop_maps: label maps of whole images, cut to each sample's crop box by bilinear ROI-align, flipped with the image.
// The sampling is that of He et al., "Mask R-CNN" (ICCV 2017), as torchvision has it with aligned=True and
// sampling_ratio=-1.
#include "common.cuh"

struct CropMaps {
  int32_t samples, map_h, map_w, grid_h, grid_w;
};

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
  DEVICE float at(int32_t b, int32_t point) const {
    return start + (float)b * bin + ((float)point + 0.5f) * bin / (float)points;
  }
};

// boxes: y0, x0, y1, x1 in fractions of the full image. flips: not 0 where the image was mirrored after cropping.
KERNEL crop_maps(const float* maps, const float* boxes, const uint8_t* flips, float* out, CropMaps p) {
  FOR_EACH_ROW(r, p.samples * p.grid_h) {
    int32_t sample = (int32_t)r / p.grid_h, by = (int32_t)r % p.grid_h;
    const float *map = maps + (int64_t)sample * p.map_h * p.map_w, *box = boxes + 4 * sample;
    Axis y(box[0], box[2], p.map_h, p.grid_h), x(box[1], box[3], p.map_w, p.grid_w);
    FOR_EACH_LANE(bx, p.grid_w) {
      float sum = 0.0f;
      for (int32_t i = 0; i < y.points; ++i) {
        Tap ty, tx;
        if (!ty.place(y.at(by, i), p.map_h)) continue;
        const float *low = map + ty.low * p.map_w, *high = map + ty.high * p.map_w;
        for (int32_t j = 0; j < x.points; ++j) {
          if (!tx.place(x.at((int32_t)bx, j), p.map_w)) continue;
          float upper = (1.0f - tx.weight) * low[tx.low] + tx.weight * low[tx.high];
          float lower = (1.0f - tx.weight) * high[tx.low] + tx.weight * high[tx.high];
          sum += (1.0f - ty.weight) * upper + ty.weight * lower;
        }
      }
      int32_t count = y.points * x.points;
      int64_t column = flips[sample] ? p.grid_w - 1 - bx : bx;
      out[r * p.grid_w + column] = sum / (float)(count > 1 ? count : 1);
    }
  }
}
