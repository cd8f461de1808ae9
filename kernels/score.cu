// SPDX-License-Identifier: Apache-2.0
// score: TokenMix's label weights (ECCV 2022). A plan's own and other become the share of each activation map that
// shows: own = sum((1 - m) * A_a), other = sum(m * A_b), A divided by its sum, m the partner's share of a map cell.
// Of four crops each sample's weight is the share of its map inside its crop.
#include "quarters.cuh"
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

// The four crops that a sample is made of; null where it is not.
DEVICE const Crops* crops_shown(const uint8_t* row, const Cells& p) {
  for (int32_t k = 0; k < MOST_REGIONS; ++k) {
    if (k >= p.regions || p.region[k].kind != QUARTERS) continue;
    const Crops* crops = (const Crops*)(row + p.region[k].offset);
    if (crops->mixed()) return crops;
  }
  return 0;
}

// The share of a map that lies in a window of the image.
DEVICE double share_inside(const float* map, double top, double left, double bottom, double right, const Score& p) {
  int32_t cells = p.cells.grid_h * p.cells.grid_w;
  double sum = map_sum(map, cells) + p.epsilon, share = 0.0;
  for (int32_t t = 0; t < cells; ++t) {
    double covered = Cell(t / p.cells.grid_w, t % p.cells.grid_w, p.cells).covered(top, left, bottom, right);
    share += covered * (sum > 0.0 ? map[t] / sum : 1.0 / cells);
  }
  return share;
}

DEVICE void score_crops(PlanHead* head, const Crops& crops, const float* own_map, const float* maps, const Score& p) {
  int32_t cells = p.cells.grid_h * p.cells.grid_w;
  float* further = (float*)head->further_weights();
  for (int32_t k = 0; k < 4; ++k) {
    int32_t rows = k < 2 ? p.cells.height - crops.height : crops.height,
            columns = k & 1 ? crops.width : p.cells.width - crops.width, y = crops.begin[k][0], x = crops.begin[k][1];
    const float* map = k == 0 ? own_map : maps + (int64_t)(k == 1 ? head->partner : head->further()[k - 2]) * cells;
    float* weight = k == 0 ? &head->own : k == 1 ? &head->other : further + k - 2;
    *weight = (float)share_inside(map, y, x, y + rows, x + columns, p);
  }
}

// Of masks, boxes and blends.
DEVICE void score_shares(PlanHead* head, const float* own_map, const float* maps, const Score& p) {
  int32_t cells = p.cells.grid_h * p.cells.grid_w;
  const float* other_map = maps + (int64_t)head->partner * cells;
  double own_sum = map_sum(own_map, cells) + p.epsilon, other_sum = map_sum(other_map, cells) + p.epsilon;
  double own = 0.0, other = 0.0;
  for (int32_t t = 0; t < cells; ++t) {
    double m = partner_share((const uint8_t*)head, t / p.cells.grid_w, t % p.cells.grid_w, p.cells);
    own += (1.0 - m) * (own_sum > 0.0 ? own_map[t] / own_sum : 1.0 / cells);
    other += m * (other_sum > 0.0 ? other_map[t] / other_sum : 1.0 / cells);
  }
  head->own = (float)own;
  head->other = (float)other;
}

// maps: (samples, grid_h, grid_w) >= 0, of each sample's own class. Only label weights of the plan are written.
KERNEL score(uint8_t* plan, const float* maps, Score p) {
  FOR_EACH_ROW(i, p.samples) {
    PlanHead* head = (PlanHead*)(plan + i * p.rows.stride);
    const float* own_map = maps + i * (p.cells.grid_h * p.cells.grid_w);
    const Crops* crops = crops_shown((const uint8_t*)head, p.cells);
    if (crops) {
      score_crops(head, *crops, own_map, maps, p);
    } else {
      score_shares(head, own_map, maps, p);
    }
  };
}
