// SPDX-License-Identifier: Apache-2.0
// luminance: each image as one small plane, the mean of the pixels in each cell of a grid laid over it. A pixel is in
// one cell only: cell k of n on a side ends in front of pixel (k + 1) * side / n.
#include "half.cuh"
#include "image.cuh"

struct Luminance {
  Image image;
  int32_t grid_h, grid_w;
};

DEVICE int32_t level(uint8_t v) { return v; }
DEVICE double level(uint16_t v) { return half_to_float(v); }
DEVICE double level(float v) { return v; }

// Of red, green and blue in thousandths, as ITU-R BT.601 weighs them; of any other channels the sum.
template <class T, class Sum>
DEVICE Sum light(const uint8_t* at, int64_t channel_stride, int32_t channels) {
  if (channels == 3)
    return 299 * level(*(const T*)at) + 587 * level(*(const T*)(at + channel_stride)) +
           114 * level(*(const T*)(at + 2 * channel_stride));
  Sum sum = 0;
  for (int32_t c = 0; c < channels; ++c) sum += level(*(const T*)(at + c * channel_stride));
  return sum;
}

// Sum: of one row of a cell, which for integers is exact up to 8421 pixels.
template <class T, class Sum>
DEVICE void luminance(const uint8_t* images, float* planes, const Luminance& p) {
  bool planar = p.image.planes > 1;
  int32_t channels = planar ? p.image.planes : p.image.pixel_bytes / (int32_t)sizeof(T);
  int64_t channel_stride = planar ? p.image.plane_stride : (int64_t)sizeof(T);
  double whole = channels == 3 ? 1000.0 : channels;
  FOR_EACH_ROW(r, p.image.samples * p.grid_h) {
    int64_t sample = r / p.grid_h, cell_y = r % p.grid_h;
    int32_t y0 = cell_edge(cell_y, p.image.height, p.grid_h, 0),
            y1 = cell_edge(cell_y + 1, p.image.height, p.grid_h, 0);
    const uint8_t* image = images + sample * p.image.sample_stride;
    FOR_EACH_LANE(cell_x, p.grid_w) {
      int32_t x0 = cell_edge(cell_x, p.image.width, p.grid_w, 0),
              x1 = cell_edge(cell_x + 1, p.image.width, p.grid_w, 0);
      double total = 0.0;
      for (int32_t y = y0; y < y1; ++y) {
        const uint8_t* at = image + y * p.image.row_stride + (int64_t)x0 * p.image.pixel_bytes;
        Sum sum = 0;
        for (int32_t x = x0; x < x1; ++x, at += p.image.pixel_bytes) sum += light<T, Sum>(at, channel_stride, channels);
        total += sum;
      }
      planes[r * p.grid_w + cell_x] = (float)(total / (whole * ((y1 - y0) * (double)(x1 - x0))));
    }
  };
}

KERNEL luminance_uint8(const uint8_t* images, float* planes, Luminance p) {
  luminance<uint8_t, int32_t>(images, planes, p);
}
KERNEL luminance_float16(const uint8_t* images, float* planes, Luminance p) {
  luminance<uint16_t, double>(images, planes, p);
}
KERNEL luminance_float32(const uint8_t* images, float* planes, Luminance p) {
  luminance<float, double>(images, planes, p);
}
