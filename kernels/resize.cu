// SPDX-License-Identifier: Apache-2.0
// resize: uint8 RGB images of any sizes to one size by the antialiased triangle filter, in three steps: the taps of
// both axes, all rows to the new width (mirrored where flips is not 0), all columns to the new height. Fixed point, 22
// fractional bits, rounded after each axis, as Pillow does it.
#include "common.cuh"

struct Resize {
  int32_t samples, out_h, out_w, most_h, taps;
};

const int32_t FRACTION = 22, CHANNELS = 3;

// Where an output's taps begin, how many there are; their weights lie in a table beside it.
struct Window {
  int32_t first, count;
};

DEVICE uint8_t whole(int32_t sum) {
  sum >>= FRACTION;
  return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

// One row an output row or column of a sample: rows first, then columns. sizes: (samples, 2) heights and widths.
KERNEL resize_taps(const int32_t* sizes, Window* where, int32_t* weights, Resize p) {
  int32_t each = p.out_h + p.out_w;
  FOR_EACH_ROW(r, p.samples * each) {
    int32_t sample = (int32_t)r / each, o = (int32_t)r % each, columns = o >= p.out_h;
    int32_t in = sizes[2 * sample + columns], out = columns ? p.out_w : p.out_h;
    double scale = (double)in / out, reach = scale > 1.0 ? scale : 1.0, centre = (o - columns * p.out_h + 0.5) * scale;
    int32_t first = (int32_t)(centre - reach + 0.5), last = (int32_t)(centre + reach + 0.5);
    if (centre - reach + 0.5 < 0.0) first = 0;
    if (last > in) last = in;
    double total = 0.0;
    for (int32_t i = first; i < last; ++i) total += 1.0 - fabs((i - centre + 0.5) / reach);
    for (int32_t i = first; i < last; ++i)
      weights[r * p.taps + i - first] =
          (int32_t)((1.0 - fabs((i - centre + 0.5) / reach)) / total * (1 << FRACTION) + 0.5);
    where[r].first = first;
    where[r].count = last - first;
  }
}

// sources: an address a sample, packed rows. middle: (samples, most_h, out_w, 3).
KERNEL resize_rows(const uint64_t* sources, const int32_t* sizes, const int32_t* flips, const Window* where,
                   const int32_t* weights, uint8_t* middle, Resize p) {
  FOR_EACH_ROW(r, p.samples * p.most_h) {
    int32_t sample = (int32_t)r / p.most_h, y = (int32_t)r % p.most_h;
    if (y < sizes[2 * sample]) {
      const uint8_t* row = (const uint8_t*)sources[sample] + (int64_t)y * sizes[2 * sample + 1] * CHANNELS;
      int64_t table = (int64_t)sample * (p.out_h + p.out_w) + p.out_h;
      FOR_EACH_LANE(x, p.out_w) {
        Window tap = where[table + x];
        const int32_t* weight = weights + (table + x) * p.taps;
        int32_t red = 1 << (FRACTION - 1), green = red, blue = red;
        const uint8_t* in = row + tap.first * CHANNELS;
        for (int32_t k = 0; k < tap.count; ++k, in += CHANNELS) {
          red += in[0] * weight[k];
          green += in[1] * weight[k];
          blue += in[2] * weight[k];
        }
        uint8_t* out = middle + (r * p.out_w + (flips[sample] ? p.out_w - 1 - x : x)) * CHANNELS;
        out[0] = whole(red);
        out[1] = whole(green);
        out[2] = whole(blue);
      }
    }
  }
}

const int32_t STRIP = 192;  // columns that are summed at a time

KERNEL resize_columns(const Window* where, const int32_t* weights, const uint8_t* middle, uint8_t* out, Resize p) {
  int32_t width = p.out_w * CHANNELS;
  FOR_EACH_ROW(r, p.samples * p.out_h) {
    int32_t sample = (int32_t)r / p.out_h, y = (int32_t)r % p.out_h;
    int64_t table = (int64_t)sample * (p.out_h + p.out_w) + y;
    Window tap = where[table];
    const uint8_t* from = middle + ((int64_t)sample * p.most_h + tap.first) * width;
    FOR_EACH_LANE(strip, (width + STRIP - 1) / STRIP) {
      int32_t sums[STRIP], start = (int32_t)strip * STRIP, count = width - start < STRIP ? width - start : STRIP;
      for (int32_t x = 0; x < STRIP; ++x) sums[x] = 1 << (FRACTION - 1);
      for (int32_t k = 0; k < tap.count; ++k) {
        const uint8_t* in = from + (int64_t)k * width + start;
        int32_t weight = weights[table * p.taps + k];
        for (int32_t x = 0; x < count; ++x) sums[x] += in[x] * weight;
      }
      for (int32_t x = 0; x < count; ++x) out[r * width + start + x] = whole(sums[x]);
    }
  }
}
