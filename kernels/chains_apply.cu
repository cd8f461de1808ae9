// SPDX-License-Identifier: Apache-2.0
// chains_apply: one step of all chains, from the batch or one scratch buffer to the other.
#include "chains.cuh"

// A plane of an image that is read: `channels` of it side by side.
struct ChainPlane {
  const uint8_t* start;
  int64_t row;
  int32_t height, width, channels;
  float fill;

  DEVICE float at(int32_t y, int32_t x, int32_t c) const {
    return y >= 0 && y < height && x >= 0 && x < width ? (float)start[y * row + x * channels + c] : fill;
  }
};

DEVICE int32_t floor_of(float v) {
  const int32_t whole = (int32_t)v;
  return whole - (v < (float)whole);
}
DEVICE float clamped(float v, float high) { return v < -1.0f ? -1.0f : v > high ? high : v; }
DEVICE float between(float a, float b, float t) { return a + t * (b - a); }

// Bilinear; taps outside the image are `fill`.
template <int C>  // channels side by side: a constant, for the compiler
DEVICE void warp_row(const ChainPlane& in, int32_t y, const float* m, uint8_t* out) {
  const float yc = (float)y + 0.5f, row_x = m[1] * yc + m[2], row_y = m[4] * yc + m[5];
  FOR_EACH_LANE(x, in.width) {
    const float xc = (float)x + 0.5f;
    const float sx = clamped((m[0] * xc + row_x) - 0.5f, (float)in.width);
    const float sy = clamped((m[3] * xc + row_y) - 0.5f, (float)in.height);
    const int32_t x0 = floor_of(sx), y0 = floor_of(sy);
    const float tx = sx - (float)x0, ty = sy - (float)y0;
    uint8_t* pixel = out + x * C;
    if (x0 >= 0 && x0 + 1 < in.width && y0 >= 0 && y0 + 1 < in.height) {
      const uint8_t *upper = in.start + y0 * in.row + x0 * C, *lower = upper + in.row;
      for (int32_t c = 0; c < C; ++c) {
        const float top = between((float)upper[c], (float)upper[C + c], tx);
        const float bottom = between((float)lower[c], (float)lower[C + c], tx);
        pixel[c] = nearest_byte(between(top, bottom, ty));
      }
    } else {
      for (int32_t c = 0; c < C; ++c) {
        const float top = between(in.at(y0, x0, c), in.at(y0, x0 + 1, c), tx);
        const float bottom = between(in.at(y0 + 1, x0, c), in.at(y0 + 1, x0 + 1, c), tx);
        pixel[c] = nearest_byte(between(top, bottom, ty));
      }
    }
  }
}

template <int C>
DEVICE void map_row(const ChainPlane& in, int32_t y, const uint8_t* tables, uint8_t* out) {
  const uint8_t* row = in.start + y * in.row;
  FOR_EACH_LANE(x, in.width) {
    for (int32_t c = 0; c < C; ++c) out[x * C + c] = tables[c * 256 + row[x * C + c]];
  }
}

// Away from a pixel's luma. Planes may be apart: `image` is that of all channels.
DEVICE void color_row(const Pixels& image, const ChainPlane& in, int32_t y, float factor, uint8_t* out) {
  const int64_t step = in.channels == 3 ? 1 : image.plane;
  FOR_EACH_LANE(x, in.width) {
    const uint8_t* red = image.start + y * in.row + x * in.channels;
    const float gray = luma((float)red[0], (float)red[step], (float)red[2 * step]);
    for (int32_t c = 0; c < in.channels; ++c) {
      out[x * in.channels + c] = nearest_byte(gray + (in.at(y, (int32_t)x, c) - gray) * factor);
    }
  }
}

DEVICE int32_t reflected(int32_t at, int32_t side) {
  if (side == 1) return 0;
  return at < 0 ? -at : at >= side ? 2 * side - 2 - at : at;
}

// Away from the mean of the 3 x 3 pixels around, the one in the middle five times; mirrored at the edge.
DEVICE void sharpen_row(const ChainPlane& in, int32_t y, float factor, uint8_t* out) {
  FOR_EACH_LANE(x, in.width * in.channels) {
    const int32_t column = (int32_t)x / in.channels, c = (int32_t)x % in.channels;
    const float own = in.at(y, column, c);
    float sum = 4.0f * own;  // whole numbers: exact in any order
    for (int32_t dy = -1; dy <= 1; ++dy)
      for (int32_t dx = -1; dx <= 1; ++dx)
        sum += in.at(reflected(y + dy, in.height), reflected(column + dx, in.width), c);
    const float blurred = sum / 13.0f;
    out[x] = nearest_byte(blurred + (own - blurred) * factor);
  }
}

KERNEL chains_apply(const uint8_t* images, const uint8_t* plan, uint8_t* work, const uint8_t* tables, Chains p) {
  FOR_EACH_ROW(r, chain_count(p) * p.image.planes * p.image.height) {
    const int32_t channels = p.image.pixel_bytes, y = (int32_t)(r % p.image.height);
    const int64_t plane = r / p.image.height % p.image.planes, chain = r / p.image.height / p.image.planes;
    const Step* steps = chain_steps(plan, p, chain);
    const Operation operation = operation_at(steps, p.step);
    if (operation != NONE) {
      const Pixels from = after_steps(images, work, p, chain, p.step),
                   to = after_steps(images, work, p, chain, p.step + 1);
      const ChainPlane in = {
          from.start + plane * from.plane, from.row, p.image.height, p.image.width, channels, p.fill};
      const float* value = steps[p.step].value;
      uint8_t* out = (uint8_t*)to.start + plane * to.plane + y * to.row;
      const uint8_t* table = tables + (chain * channel_count(p.image) + plane * channels) * 256;
      if (operation == AFFINE)
        channels == 3 ? warp_row<3>(in, y, value, out) : warp_row<1>(in, y, value, out);
      else if (operation == COLOR)
        color_row(from, in, y, value[0], out);
      else if (operation == SHARPNESS)
        sharpen_row(in, y, value[0], out);
      else
        channels == 3 ? map_row<3>(in, y, table, out) : map_row<1>(in, y, table, out);
    }
  };
}
