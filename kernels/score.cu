// SPDX-License-Identifier: Apache-2.0
// score: TokenMix's label weights (ECCV 2022). A plan's own and other become the share of each activation map that
// shows: own = sum((1 - m) * A_a), other = sum(m * A_b), A divided by its sum, m the partner's share of a map cell.
#include "image.cuh"

const int MOST_REGIONS = 4;
enum RegionKind { TOKENS = 0, BOX = 1, BLEND = 2 };

struct RegionData {
  int32_t kind, offset, patch, grid_h, grid_w;
};

struct Score {
  PlanRows rows;
  int32_t samples, height, width, map_h, map_w, regions;
  double epsilon;  // added to a map's sum; 0: a map that is all zero counts as uniform
  RegionData region[MOST_REGIONS];
};

// A map cell on the image, in pixels.
struct Cell {
  double y0, x0, y1, x1;
  DEVICE Cell(int32_t y, int32_t x, const Score& p)
      : y0((double)y * p.height / p.map_h),
        x0((double)x * p.width / p.map_w),
        y1((double)(y + 1) * p.height / p.map_h),
        x1((double)(x + 1) * p.width / p.map_w) {}

  // Share of the cell that a rectangle covers.
  DEVICE double covered(double top, double left, double bottom, double right) const {
    double h = (bottom < y1 ? bottom : y1) - (top > y0 ? top : y0),
           w = (right < x1 ? right : x1) - (left > x0 ? left : x0);
    return h > 0.0 && w > 0.0 ? h * w / ((y1 - y0) * (x1 - x0)) : 0.0;
  }
};

DEVICE int32_t bit_at(const uint32_t* words, int32_t at) { return (int32_t)(words[at >> 5] >> (at & 31) & 1); }

// The partner's share of cell (y, x): of a token mask on the same grid the cell's own bit, of any other its tokens by
// area.
DEVICE double tokens_share(const uint32_t* words, const RegionData& g, int32_t y, int32_t x, const Score& p) {
  if (g.grid_h == p.map_h && g.grid_w == p.map_w) return bit_at(words, y * g.grid_w + x);
  Cell cell(y, x, p);
  double share = 0.0;
  for (int32_t ty = (int32_t)(cell.y0 / g.patch); ty < g.grid_h && ty * g.patch < cell.y1; ++ty)
    for (int32_t tx = (int32_t)(cell.x0 / g.patch); tx < g.grid_w && tx * g.patch < cell.x1; ++tx)
      if (bit_at(words, ty * g.grid_w + tx))
        share += cell.covered(ty * g.patch, tx * g.patch, (ty + 1) * g.patch, (tx + 1) * g.patch);
  return share;
}

DEVICE double partner_share(const uint8_t* plan, int64_t sample, int32_t y, int32_t x, const Score& p) {
  double share = 0.0;
  for (int32_t k = 0; k < p.regions; ++k) {
    const RegionData& g = p.region[k];
    const uint8_t* data = plan + sample * p.rows.stride + g.offset;
    if (g.kind == TOKENS) share += tokens_share((const uint32_t*)data, g, y, x, p);
    if (g.kind == BLEND) share += *(const float*)data;
    if (g.kind == BOX) {
      const int32_t* box = (const int32_t*)data;
      share += Cell(y, x, p).covered(box[0], box[1], box[2], box[3]);
    }
  }
  return share;
}

DEVICE double map_sum(const float* map, const Score& p) {
  double sum = 0.0;
  for (int32_t t = 0; t < p.map_h * p.map_w; ++t) sum += map[t];
  return sum;
}

// maps: (samples, map_h, map_w) >= 0, of each sample's own class. Only own and other of the plan are written.
KERNEL score(uint8_t* plan, const float* maps, Score p) {
  FOR_EACH_ROW(i, p.samples) {
    PlanHead* head = (PlanHead*)(plan + i * p.rows.stride);
    int32_t cells = p.map_h * p.map_w;
    const float *own_map = maps + i * cells, *other_map = maps + (int64_t)head->partner * cells;
    double own_sum = map_sum(own_map, p) + p.epsilon, other_sum = map_sum(other_map, p) + p.epsilon;
    double own = 0.0, other = 0.0;
    for (int32_t t = 0; t < cells; ++t) {
      double m = partner_share(plan, i, t / p.map_w, t % p.map_w, p);
      own += (1.0 - m) * (own_sum > 0.0 ? own_map[t] / own_sum : 1.0 / cells);
      other += m * (other_sum > 0.0 ? other_map[t] / other_sum : 1.0 / cells);
    }
    head->own = (float)own;
    head->other = (float)other;
  }
}
