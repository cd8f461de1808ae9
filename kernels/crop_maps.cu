// SPDX-License-Identifier: Apache-2.0
// crop_maps: label maps of whole images, cut to each sample's crop box by bilinear ROI-align, flipped with the image.
#include "roi_align.cuh"

struct CropMaps {
  int32_t samples, map_h, map_w, grid_h, grid_w;
};

// boxes: y0, x0, y1, x1 in fractions of the full image; null: all of it. flips: not 0 where the image was mirrored
// after cropping; null: nowhere.
KERNEL crop_maps(const float* maps, const float* boxes, const uint8_t* flips, float* out, CropMaps p) {
  FOR_EACH_ROW(r, p.samples * p.grid_h) {
    int32_t sample = (int32_t)r / p.grid_h, by = (int32_t)r % p.grid_h;
    const float* map = maps + (int64_t)sample * p.map_h * p.map_w;
    Axis y = axis_of(boxes, sample, 0, p.map_h, p.grid_h), x = axis_of(boxes, sample, 1, p.map_w, p.grid_w);
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
      int64_t column = flips && flips[sample] ? p.grid_w - 1 - bx : bx;
      out[r * p.grid_w + column] = sum / (float)(count > 1 ? count : 1);
    }
  };
}
