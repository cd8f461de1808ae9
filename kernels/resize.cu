// SPDX-License-Identifier: Apache-2.0
// resize: uint8 RGB images of any sizes to one size by the antialiased triangle filter. Rows go first, but for images
// that lose much more height than width, and values are rounded after each axis, as Pillow 13 does it. Weights have 15
// fractional bits.
#include "resize_lines.cuh"

struct Resize {
  int32_t samples, out_h, out_w, padded_w, taps, bands, scratch;
};

// Inputs that reach an output at most: the window of the triangle filter.
DEVICE int32_t window(int32_t in, int32_t out) {
  int32_t most = in > out ? (2 * in + out - 1) / out : 2;
  return most < in ? most : in;
}

DEVICE double triangle(int32_t input, double centre, double reach) {
  double weight = 1.0 - fabs((input + 0.5 - centre) / reach);
  return weight > 0.0 ? weight : 0.0;
}

// One row an output row or column of a sample: out_h rows, then padded_w columns, the last one repeated.
// sizes: (samples, 2) heights and widths. Columns are mirrored where flips is not 0. A window that reaches over an edge
// is moved inside. What rounding leaves of 1 goes to the heaviest tap, so that an even area stays as it is.
KERNEL resize_taps(const int32_t* sizes, const int32_t* flips, int32_t* firsts, int16_t* weights, Resize p) {
  FOR_EACH_ROW(r, p.samples * (p.out_h + p.padded_w)) {
    int32_t sample = (int32_t)r / (p.out_h + p.padded_w), o = (int32_t)r % (p.out_h + p.padded_w);
    int32_t across = o >= p.out_h, in = sizes[2 * sample + across], out = across ? p.out_w : p.out_h;
    if (across) o = o - p.out_h < out ? o - p.out_h : out - 1;
    if (across && flips[sample]) o = out - 1 - o;
    double scale = (double)in / out, reach = scale > 1.0 ? scale : 1.0, centre = (o + 0.5) * scale, total = 0.0;
    int32_t count = window(in, out), first = centre - reach + 0.5 > 0.0 ? (int32_t)(centre - reach + 0.5) : 0;
    if (first > in - count) first = in - count;
    for (int32_t k = 0; k < count; ++k) total += triangle(first + k, centre, reach);
    int32_t left = ONE, heaviest = 0;
    int16_t* weight = weights + r * p.taps;
    for (int32_t k = 0; k < p.taps; ++k) {
      int32_t rounded = k < count ? (int32_t)(triangle(first + k, centre, reach) / total * ONE + 0.5) : 0;
      left -= weight[k] = (int16_t)(rounded < ONE ? rounded : ONE - 1);
      if (weight[k] > weight[heaviest]) heaviest = k;
    }
    left += weight[heaviest];
    weight[heaviest] = (int16_t)(left < ONE ? left : ONE - 1);
    firsts[r] = first;
  };
}

// One row a band of a sample's output rows. sources: an address a sample, packed rows. lines: `scratch` bytes a row.
KERNEL resize(const uint64_t* sources, const int32_t* sizes, const int32_t* firsts, const int16_t* weights,
              uint8_t* lines, uint8_t* out, Resize p) {
  FOR_EACH_ROW(r, p.samples * p.bands) {
    int32_t sample = (int32_t)r / p.bands, band = (int32_t)r % p.bands;
    int32_t in_h = sizes[2 * sample], in_w = sizes[2 * sample + 1];
    int64_t table = (int64_t)sample * (p.out_h + p.padded_w), columns = table + p.out_h;
    const Taps x = {firsts + columns, weights + columns * p.taps, p.taps, window(in_w, p.out_w), p.out_w};
    const Source image = {(const uint8_t*)sources[sample], in_h, in_w * CHANNELS};
    const int32_t y0 = p.out_h * band / p.bands, y1 = p.out_h * (band + 1) / p.bands, taps_y = window(in_h, p.out_h);
    const bool down_first = in_h > p.out_h && in_h - p.out_h > 2 * (in_w - p.out_w);
    uint8_t *spare = lines + r * p.scratch, *ring = spare + pitch(image.bytes);
    for (int32_t y = y0, done = 0; y < y1; ++y) {
      const int16_t* weight = weights + (table + y) * p.taps;
      uint8_t* to = out + ((int64_t)sample * p.out_h + y) * p.out_w * CHANNELS;
      int32_t first = firsts[table + y], last = first + taps_y;
      if (down_first) {
        down({image.start, image.bytes, first, in_h}, weight, taps_y, image.bytes, spare);
        across(spare, x, to);
        continue;
      }
      for (int32_t row = done < first ? first : done; row < last; ++row)
        across(readable(image, row, spare), x, ring + row % taps_y * pitch(p.out_w * CHANNELS));
      done = last;
      down({ring, pitch(p.out_w * CHANNELS), first % taps_y, taps_y}, weight, taps_y, p.out_w * CHANNELS, to);
    }
  };
}
