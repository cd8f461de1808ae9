// SPDX-License-Identifier: Apache-2.0
// roi_weights: bilinear ROI-align as numbers. It is linear in the map and separable, so that bin (by, bx) of a crop is
// the sum over map cells (y, x) of rows[by][y] * columns[bx][x] * map[y][x], whatever the map holds.
#include "roi_align.cuh"

struct RoiWeights {
  int32_t samples, map_h, map_w, grid_h, grid_w;
};

// weights: of each sample rows (grid_h, map_h), then columns (grid_w, map_w). boxes, flips: as in crop_maps.
KERNEL roi_weights(const float* boxes, const int32_t* flips, float* weights, RoiWeights p) {
  int32_t bins = p.grid_h + p.grid_w, each = p.grid_h * p.map_h + p.grid_w * p.map_w;
  FOR_EACH_ROW(r, p.samples * bins) {
    int32_t sample = (int32_t)r / bins, bin = (int32_t)r % bins, across = bin >= p.grid_h;
    if (across) bin -= p.grid_h;
    int32_t size = across ? p.map_w : p.map_h, count = across ? p.grid_w : p.grid_h;
    Axis axis = axis_of(boxes, sample, across, size, count);
    int32_t place = across && flips && flips[sample] ? count - 1 - bin : bin;
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
  }
}
