// SPDX-License-Identifier: Apache-2.0
// block_mask: TokenMix's masks (ECCV 2022), a union of random rectangles of tokens, one mask a seed.
// philox: the generator's raw words, so that tests can hold them against Random123's published vectors.
#include "philox.cuh"

struct BlockMask {
  double log_aspect;  // aspect is log-uniform in [1 / exp(log_aspect), exp(log_aspect)]
  int32_t masks, grid_h, grid_w, total, min_area, attempts;
  int32_t official;  // the released code's rules: sides below the grid's, stop when `attempts` in a row fail
};

// exp by its Taylor polynomial, error below 2e-9 on the range in use: +, * and / round alike everywhere, libm does not.
DEVICE double taylor_exp(double x) {
  double sum = 1.0;
  for (int32_t n = 12; n > 0; --n) sum = 1.0 + x * sum / (double)n;
  return sum;
}

DEVICE int32_t nearest(double x) { return (int32_t)(x + 0.5); }

// Tries one random rectangle of `least` to `left` tokens; returns how many tokens it added, 0 if it was refused.
DEVICE int32_t add_rectangle(Stream& stream, uint8_t* mask, const BlockMask& p, int32_t least, int32_t left) {
  double area = least + stream.uniform() * (left - least);
  double aspect = taylor_exp((2.0 * stream.uniform() - 1.0) * p.log_aspect);
  int32_t h = nearest(sqrt(area * aspect)), w = nearest(sqrt(area / aspect));
  int32_t limit = p.official ? 1 : 0;
  if (h > p.grid_h - limit || w > p.grid_w - limit) return 0;
  if (!p.official && h * w < least) return 0;
  int32_t top = stream.below(p.grid_h - h + 1), side = stream.below(p.grid_w - w + 1), added = 0;
  for (int32_t y = top; y < top + h; ++y)
    for (int32_t x = side; x < side + w; ++x) added += !mask[y * p.grid_w + x];
  if (added > left) return 0;
  for (int32_t y = top; y < top + h; ++y)
    for (int32_t x = side; x < side + w; ++x) mask[y * p.grid_w + x] = 1;
  return added;
}

KERNEL block_mask(const uint64_t* seeds, uint8_t* masks, BlockMask p) {
  FOR_EACH_ROW(m, p.masks) {
    Stream stream(seeds[m]);
    int32_t tokens = p.grid_h * p.grid_w;
    uint8_t* mask = masks + m * tokens;
    for (int32_t t = 0; t < tokens; ++t) mask[t] = 0;
    int32_t left = p.total, least = p.min_area, failures = 0;
    while (left > 0) {
      int32_t added = add_rectangle(stream, mask, p, least < left ? least : left, left);
      left -= added;
      failures = added ? 0 : failures + 1;
      if (added) least = p.min_area;
      if (failures == p.attempts) {
        if (p.official) break;
        failures = 0;  // no rectangle this large fits any more: let it be smaller, so that the total is met
        if (least > left) least = left;
        if (least > 1) least /= 2;
      }
    }
  };
}

struct Words {
  int32_t count;
};

// (count, 6) words in: counter and key; (count, 4) words out.
KERNEL philox(const uint32_t* inputs, uint32_t* outputs, Words p) {
  FOR_EACH_ROW(i, p.count) { philox4x32(inputs + 6 * i, inputs + 6 * i + 4, outputs + 4 * i); };
}
