// SPDX-License-Identifier: Apache-2.0
// score: TokenMix's label weights (ECCV 2022). A plan's own and other become the share of each activation map that
// shows: own = sum((1 - m) * A_a), other = sum(m * A_b), A divided by its sum, m the partner's share of a map cell.
#include "shares.cuh"

struct Score {
  PlanRows rows;
  int32_t samples;
  Cells cells;     // of the maps
  double epsilon;  // added to a map's sum; 0: a map that is all zero counts as uniform
};

DEVICE double map_sum(const float* map, int32_t cells) {
  double sum = 0.0;
  for (int32_t t = 0; t < cells; ++t) sum += map[t];
  return sum;
}

// maps: (samples, grid_h, grid_w) >= 0, of each sample's own class. Only own and other of the plan are written.
KERNEL score(uint8_t* plan, const float* maps, Score p) {
  FOR_EACH_ROW(i, p.samples) {
    PlanHead* head = (PlanHead*)(plan + i * p.rows.stride);
    int32_t cells = p.cells.grid_h * p.cells.grid_w;
    const float *own_map = maps + i * cells, *other_map = maps + (int64_t)head->partner * cells;
    double own_sum = map_sum(own_map, cells) + p.epsilon, other_sum = map_sum(other_map, cells) + p.epsilon;
    double own = 0.0, other = 0.0;
    for (int32_t t = 0; t < cells; ++t) {
      double m = partner_share((const uint8_t*)head, t / p.cells.grid_w, t % p.cells.grid_w, p.cells);
      own += (1.0 - m) * (own_sum > 0.0 ? own_map[t] / own_sum : 1.0 / cells);
      other += m * (other_sum > 0.0 ? other_map[t] / other_sum : 1.0 / cells);
    }
    head->own = (float)own;
    head->other = (float)other;
  };
}
