// SPDX-License-Identifier: Apache-2.0
// relabel: soft labels of a crop from a teacher's label map, and targets mixed from them (Yun et al., "Re-labeling
// ImageNet", CVPR 2021). relabel_pool: the map's mean over the crop, by ROI-align. relabel_softmax: over all classes.
// relabel_mix: (1 - s) * (own * L_a + other * L_b) + s / C.
#include "image.cuh"
#include "top_k.cuh"

struct Pool {
  TopK maps;
  float unknown;  // NaN
};

// ids, scores: (samples, k, map_h, map_w), scores binary16. weights: of roi_weights for a grid of 1 x 1. logits:
// (samples, classes); NaN where an id is outside [0, classes).
KERNEL relabel_pool(const int32_t* ids, const uint16_t* scores, const float* weights, float* logits, Pool pool) {
  const TopK& p = pool.maps;
  FOR_EACH_ROW(i, p.samples) {
    const float *rows = weights + i * (p.map_h + p.map_w), *columns = rows + p.map_h;
    float* out = logits + i * p.classes;
    bool known = true;
    FOR_EACH_LANE(c, p.classes) out[c] = 0.0f;
    for (int32_t j = 0; j < p.k; ++j)
      for (int32_t y = 0; y < p.map_h; ++y)
        if (rows[y] != 0.0f)
          for (int32_t x = 0; x < p.map_w; ++x) {
            int64_t at = p.entry(i, j, y, x);
            int32_t id = ids[at];
            if ((uint32_t)id >= (uint32_t)p.classes) {
              known = false;
            } else if (IN_THIS_LANE(id)) {
              out[id] += rows[y] * columns[x] * half_to_float(scores[at]);
            }
          }
    if (!known) FOR_EACH_LANE(c, p.classes) out[c] = pool.unknown;
  };
}

struct Softmax {
  int32_t samples, classes;
};

KERNEL relabel_softmax(const float* logits, float* labels, Softmax p) {
  FOR_EACH_ROW(i, p.samples) {
    const float* row = logits + i * p.classes;
    float top = row[0];
    for (int32_t c = 1; c < p.classes; ++c) top = row[c] > top ? row[c] : top;
    float absent = exp_of(0.0f - top);  // of most classes
    double sum = 0.0;
    for (int32_t c = 0; c < p.classes; ++c) sum += row[c] == 0.0f ? absent : exp_of(row[c] - top);
    FOR_EACH_LANE(c, p.classes) labels[i * p.classes + c] = (float)(exp_of(row[c] - top) / sum);
  };
}

struct MixLabels {
  PlanRows rows;
  int32_t samples, classes;
  float keep, floor;  // 1 - s and s / C
};

KERNEL relabel_mix(const float* labels, const uint8_t* plan, float* out, MixLabels p) {
  FOR_EACH_ROW(i, p.samples) {
    const PlanHead* head = plan_head(plan, p.rows, i);
    const float *a = labels + i * p.classes, *b = labels + (int64_t)head->partner * p.classes;
    float own = p.keep * head->own, other = p.keep * head->other;
    FOR_EACH_LANE(c, p.classes) out[i * p.classes + c] = p.floor + own * a[c] + other * b[c];
    for (int32_t k = 0; k < head->more; ++k) {
      const float* further = labels + (int64_t)head->further()[k] * p.classes;
      float weight = p.keep * head->further_weights()[k];
      FOR_EACH_LANE(c, p.classes) out[i * p.classes + c] += weight * further[c];
    }
  };
}
