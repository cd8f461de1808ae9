// SPDX-License-Identifier: Apache-2.0
// roi_weights: bilinear ROI-align as numbers. It is linear in the map and separable, so that bin (by, bx) of a crop is
// the sum over map cells (y, x) of rows[by][y] * columns[bx][x] * map[y][x], whatever the map holds.
#include "roi_align.cuh"

// height, width, patch: of an image whose tokens the bins are, the last ones perhaps cut off; patch 0: of one size.
struct RoiWeights {
  int32_t samples, map_h, map_w, grid_h, grid_w, height, width, patch;
};

// weights: of each sample rows (grid_h, map_h), then columns (grid_w, map_w). boxes, flips: as in crop_maps.
KERNEL roi_weights(const float* boxes, const int32_t* flips, float* weights, RoiWeights p) {
  int32_t bins = p.grid_h + p.grid_w, each = p.grid_h * p.map_h + p.grid_w * p.map_w;
  FOR_EACH_ROW(r, p.samples * bins) {
    int32_t sample = (int32_t)r / bins, bin = (int32_t)r % bins, across = bin >= p.grid_h;
    if (across) bin -= p.grid_h;
    int32_t size = across ? p.map_w : p.map_h, count = across ? p.grid_w : p.grid_h;
    Axis axis = axis_of(boxes, sample, across, size, count);
    bool mirrored = across && flips && flips[sample];
    int32_t place = mirrored ? count - 1 - bin : bin, side = across ? p.width : p.height;
    if (p.patch && p.patch * count != side) {  // tokens are counted from the left of the mirrored image
      float low = (float)(bin * p.patch) / (float)side, high = (float)((bin + 1) * p.patch) / (float)side;
      if (high > 1.0f) high = 1.0f;
      axis = mirrored ? axis.part(1.0f - high, 1.0f - low, count) : axis.part(low, high, count);
      place = bin;
      bin = 0;
    }
    float* out = weights + (int64_t)sample * each + (across ? p.grid_h * p.map_h : 0) + place * size;
    FOR_EACH_LANE(cell, size) {
      float sum = 0.0f;
      for (int32_t i = 0; i < axis.points; ++i) {
        Tap tap;
        if (!tap.place(axis.at(bin, i), size)) continue;
        if (tap.low == cell) sum += 1.0f - tap.weight;
        if (tap.high == cell) sum += tap.weight;
      }
      out[cell] = sum / (float)(axis.points > 1 ? axis.points : 1);
    }
  };
}
