// SPDX-License-Identifier: Apache-2.0
// targets: dense soft labels from a plan's weights; (1 - s) * (own * onehot(a) + other * onehot(b)) + s / C.
// The released code's are own * onehot(a) + other * onehot(b) - s / 2 at each of the two, and s / C.
#include "image.cuh"

struct Targets {
  PlanRows rows;
  int32_t samples, classes;
  float keep, shift, floor;  // 1 - s, 0 and s / C; the released code's: 1, -s / 2 and s / C
  float unknown;             // NaN
};

// A label outside [0, classes) makes its rows NaN: on a GPU nobody looks at the labels before.
KERNEL targets(const int32_t* labels, const uint8_t* plan, float* out, Targets p) {
  FOR_EACH_ROW(i, p.samples) {
    const PlanHead* head = plan_head(plan, p.rows, i);
    int32_t a = labels[i], b = labels[head->partner];
    bool known = 0 <= a && a < p.classes && 0 <= b && b < p.classes;
    FOR_EACH_LANE(c, p.classes) {
      float value = p.floor;
      if (c == a) value += p.keep * head->own + p.shift;
      if (c == b) value += p.keep * head->other + p.shift;
      out[i * p.classes + c] = known ? value : p.unknown;
    }
    for (int32_t k = 0; k < head->more; ++k) {  // RICAP's third and fourth
      int32_t further = labels[head->further()[k]];
      float value = p.keep * head->further_weights()[k] + p.shift;
      if (0 <= further && further < p.classes) {
        if (IN_THIS_LANE(further)) out[i * p.classes + further] += value;
      } else {
        FOR_EACH_LANE(c, p.classes) out[i * p.classes + c] = p.unknown;
      }
    }
  };
}
