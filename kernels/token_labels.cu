// SPDX-License-Identifier: Apache-2.0
// token_labels: the k strongest classes of every token (Jiang et al., "All Tokens Matter: Token Labeling", NeurIPS
// 2021), from the label map of whoever shows there: softmax over all classes of the map's ROI-align on the token grid.
#include "shares.cuh"
#include "top_k.cuh"

struct TokenLabels {
  PlanRows rows;
  Cells cells;  // the tokens
  TopK maps;
  int32_t most;   // entries of scratch a token: cells that a token's bin can reach times k
  int32_t sides;  // 1: each token is one sample's, and has k entries. 2: own k entries, then the partner's
};

struct Entry {
  int32_t id;
  float value;
};

// The classes that the map has in one bin, with their logits; returns how many.
DEVICE int32_t gather(Entry* found, const int32_t* ids, const uint16_t* scores, const float* rows, const float* columns,
                      int64_t sample, const TopK& p) {
  int32_t count = 0;
  for (int32_t y = 0; y < p.map_h; ++y)
    if (rows[y] != 0.0f)
      for (int32_t x = 0; x < p.map_w; ++x)
        if (columns[x] != 0.0f)
          for (int32_t j = 0; j < p.k; ++j) {
            int64_t at = p.entry(sample, j, y, x);
            float value = rows[y] * columns[x] * half_to_float(scores[at]);
            int32_t e = 0;
            while (e < count && found[e].id != ids[at]) ++e;
            if (e == count) {
              found[count].id = ids[at];
              found[count++].value = value;
            } else {
              found[e].value += value;
            }
          }
  return count;
}

// Writes the k most probable of `count` classes, the lower id first among equals; what is missing has probability 0.
DEVICE void strongest(Entry* found, int32_t count, float share, int32_t* ids, float* probabilities, const TopK& p) {
  float top = count < p.classes ? 0.0f : found[0].value;
  for (int32_t e = 0; e < count; ++e) top = found[e].value > top ? found[e].value : top;
  double sum = (double)(p.classes - count) * exp_of(0.0f - top);
  for (int32_t e = 0; e < count; ++e) sum += exp_of(found[e].value - top);
  for (int32_t j = 0; j < p.k; ++j) {
    int32_t best = j;
    for (int32_t e = j; e < count; ++e)
      if (found[e].value > found[best].value || (found[e].value == found[best].value && found[e].id < found[best].id))
        best = e;
    ids[j] = j < count ? found[best].id : 0;
    probabilities[j] = j < count ? share * (float)(exp_of(found[best].value - top) / sum) : 0.0f;
    if (j < count) found[best] = found[j];
  }
}

// weights: of roi_weights for the token grid. scratch: (samples, tokens, most). token_ids and probabilities: (samples,
// tokens, sides * k), the partner's share of a token times its probability where there are two sides.
KERNEL token_labels(const int32_t* ids, const uint16_t* scores, const float* weights, const uint8_t* plan,
                    Entry* scratch, int32_t* token_ids, float* probabilities, TokenLabels p) {
  int32_t tokens = p.cells.grid_h * p.cells.grid_w, entries = p.sides * p.maps.k;
  int64_t each = (int64_t)p.cells.grid_h * p.maps.map_h + (int64_t)p.cells.grid_w * p.maps.map_w;
  FOR_EACH_ROW(r, (int64_t)p.maps.samples * tokens) {
    int64_t sample = r / tokens;
    int32_t y = (int32_t)(r % tokens) / p.cells.grid_w, x = (int32_t)(r % tokens) % p.cells.grid_w;
    const PlanHead* head = plan_head(plan, p.rows, sample);
    float other = (float)partner_share((const uint8_t*)head, y, x, p.cells);
    for (int32_t side = 0; side < p.sides; ++side) {
      bool partners = p.sides == 1 ? other > 0.5f : side == 1;
      int64_t owner = partners ? head->partner : sample;
      float share = p.sides == 1 ? 1.0f : partners ? other : 1.0f - other;
      const float* rows = weights + owner * each + y * p.maps.map_h;
      const float* columns = weights + owner * each + p.cells.grid_h * p.maps.map_h + x * p.maps.map_w;
      Entry* found = scratch + r * p.most;
      int32_t count = share > 0.0f ? gather(found, ids, scores, rows, columns, owner, p.maps) : 0;
      int64_t at = r * entries + side * p.maps.k;
      strongest(found, count, share, token_ids + at, probabilities + at, p.maps);
    }
  };
}
