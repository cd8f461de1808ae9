// SPDX-License-Identifier: Apache-2.0
// chains_sum: every image becomes the weighted sum of itself and of its chains, in place. The sum is binary32, from the
// image's own part on, without contraction, and rounded once: to nearest, ties to even.
#include "chains.cuh"

const int32_t MOST_CHAINS = 8;

template <int K>
DEVICE void sum_row(uint8_t* own, const uint8_t* const* chains, const float* weights, int64_t bytes) {
  const uint8_t* in[K];
  float weight[K + 1];
  for (int32_t k = 0; k < K; ++k) in[k] = chains[k];
  for (int32_t k = 0; k <= K; ++k) weight[k] = weights[k];
  FOR_EACH_LANE(v, bytes) {
    float sum = weight[0] * (float)own[v];
    for (int32_t k = 0; k < K; ++k) sum += weight[k + 1] * (float)in[k][v];
    own[v] = nearest_byte(sum);
  }
}

KERNEL chains_sum(uint8_t* images, const uint8_t* plan, const uint8_t* work, Chains p) {
  FOR_EACH_ROW(r, pair_rows(p.image)) {
    const int64_t y = r % p.image.height, plane = r / p.image.height % p.image.planes;
    const int64_t sample = r / p.image.height / p.image.planes;
    const float* weights = plan_region<float>(plan, p.rows, sample);
    const int64_t bytes = (int64_t)p.image.width * p.image.pixel_bytes;
    uint8_t* own = images + sample * p.image.sample_stride + plane * p.image.plane_stride + y * p.image.row_stride;
    const uint8_t* chains[MOST_CHAINS];
    bool clean = true;
    for (int32_t k = 0; k < p.width; ++k) {
      const int64_t chain = sample * p.width + k;
      const int32_t length = chain_length(chain_steps(plan, p, chain), p.depth);
      const Pixels end = after_steps(images, work, p, chain, length);
      chains[k] = end.start + plane * end.plane + y * end.row;
      clean = clean && (weights[k + 1] == 0.0f || length == 0);
    }
    if (!clean) {
      switch (p.width) {
        case 1:
          sum_row<1>(own, chains, weights, bytes);
          break;
        case 2:
          sum_row<2>(own, chains, weights, bytes);
          break;
        case 3:
          sum_row<3>(own, chains, weights, bytes);
          break;
        case 4:
          sum_row<4>(own, chains, weights, bytes);
          break;
        case 5:
          sum_row<5>(own, chains, weights, bytes);
          break;
        case 6:
          sum_row<6>(own, chains, weights, bytes);
          break;
        case 7:
          sum_row<7>(own, chains, weights, bytes);
          break;
        case 8:
          sum_row<8>(own, chains, weights, bytes);
          break;
      }
    }
  };
}
