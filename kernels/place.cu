// SPDX-License-Identifier: Apache-2.0
// place_peak, place_top: a region that was drawn without looking is moved to where the partner's map says, in the
// packed row of its sample, and own and other become what it covers there. What is empty stays so.
#include "shares.cuh"

struct Place {
  PlanRows rows;
  int32_t samples, height, width, map_h, map_w;
};

// NaN, which a teacher on a GPU may give, is below all.
DEVICE bool higher(float a, float b) { return a > b || (b != b && a == a); }

// The first of the highest.
DEVICE int32_t highest(const float* values, int32_t count) {
  int32_t best = 0;
  for (int32_t k = 1; k < count; ++k)
    if (higher(values[k], values[best])) best = k;
  return best;
}

DEVICE void weigh(PlanHead* head, int64_t pixels, const Place& p) {
  double share = (double)pixels / ((double)p.height * p.width);
  head->own = (float)(1.0 - share);
  head->other = (float)share;
}

// peaks: (samples, map_h), the column of the highest value in each row of each map.
KERNEL place_row_peaks(const float* maps, int32_t* peaks, Place p) {
  FOR_EACH_ROW(r, p.samples * p.map_h) { peaks[r] = highest(maps + r * p.map_w, p.map_w); };
}

// The box's edges on one side: as long as it was, its middle in the middle of the peak's cell, cut off at the border.
DEVICE void centre(int32_t& start, int32_t& end, int32_t peak, int32_t cells, int32_t side) {
  int32_t length = end - start, first = (int32_t)((2 * (int64_t)peak + 1) * side / (2 * cells)) - length / 2;
  start = first > 0 ? first : 0;
  end = first + length < side ? first + length : side;
}

// The region is a box: y0, x0, y1, x1.
KERNEL place_peak(uint8_t* plan, const float* maps, const int32_t* peaks, Place p) {
  FOR_EACH_ROW(i, p.samples) {
    PlanHead* head = (PlanHead*)(plan + i * p.rows.stride);
    int32_t* box = (int32_t*)(plan + i * p.rows.stride + p.rows.region);
    if (box[0] < box[2] && box[1] < box[3]) {
      const int32_t* columns = peaks + (int64_t)head->partner * p.map_h;
      const float* map = maps + (int64_t)head->partner * p.map_h * p.map_w;
      int32_t y = 0;
      for (int32_t k = 1; k < p.map_h; ++k)
        if (higher(map[k * p.map_w + columns[k]], map[y * p.map_w + columns[y]])) y = k;
      centre(box[0], box[2], y, p.map_h, p.height);
      centre(box[1], box[3], columns[y], p.map_w, p.width);
      weigh(head, (int64_t)(box[2] - box[0]) * (box[3] - box[1]), p);
    }
  };
}

// The first of the highest that no bit is set for.
DEVICE int32_t highest_left(const uint32_t* words, const float* map, int32_t cells) {
  int32_t best = -1;
  for (int32_t t = 0; t < cells; ++t)
    if (!bit_at(words, t) && (best < 0 || higher(map[t], map[best]))) best = t;
  return best;
}

DEVICE int64_t cell_side(int32_t k, int32_t side, int32_t cells) {
  return cell_edge(k + 1, side, cells, 0) - cell_edge(k, side, cells, 0);
}

// The region is a bit mask on map_h x map_w cells of one size: as many as are set, where the partner's map is highest.
KERNEL place_top(uint8_t* plan, const float* maps, Place p) {
  FOR_EACH_ROW(i, p.samples) {
    PlanHead* head = (PlanHead*)(plan + i * p.rows.stride);
    uint32_t* words = (uint32_t*)(plan + i * p.rows.stride + p.rows.region);
    const float* map = maps + (int64_t)head->partner * p.map_h * p.map_w;
    int32_t cells = p.map_h * p.map_w, wanted = 0;
    for (int32_t t = 0; t < cells; ++t) wanted += bit_at(words, t);
    if (wanted > 0) {
      for (int32_t word = 0; word < (cells + 31) / 32; ++word) words[word] = 0;
      int64_t pixels = 0;
      for (int32_t k = 0; k < wanted; ++k) {
        int32_t t = highest_left(words, map, cells);
        words[t >> 5] |= 1u << (t & 31);
        pixels += cell_side(t / p.map_w, p.height, p.map_h) * cell_side(t % p.map_w, p.width, p.map_w);
      }
      weigh(head, pixels, p);
    }
  };
}
