// SPDX-License-Identifier: Apache-2.0
// normalise: uint8 RGB pixels to (value - mean) * scale, planes apart (NCHW) or not (NHWC).
#include "common.cuh"
#include "half.cuh"

struct Normalise {
  int32_t samples, height, width, planar;
  float mean[3], scale[3];
};

DEVICE void put(float value, float* out) { *out = value; }
DEVICE void put(float value, uint16_t* out) { *out = float_to_half(value); }

template <class T>
DEVICE void normalise(const uint8_t* images, T* out, const Normalise& p) {
  FOR_EACH_ROW(r, p.samples * p.height) {
    const float mean0 = p.mean[0], mean1 = p.mean[1], mean2 = p.mean[2];
    const float scale0 = p.scale[0], scale1 = p.scale[1], scale2 = p.scale[2];
    const int64_t sample = r / p.height, y = r - sample * p.height, plane = (int64_t)p.height * p.width;
    const int64_t step = p.planar ? plane : 1, pixel = p.planar ? 1 : 3;
    const uint8_t* in = images + r * p.width * 3;
    T* red = out + (sample * plane * 3) + y * p.width * pixel;
    T *green = red + step, *blue = green + step;
    if (p.planar) {
      FOR_EACH_LANE(x, p.width) {
        put((in[3 * x] - mean0) * scale0, red + x);
        put((in[3 * x + 1] - mean1) * scale1, green + x);
        put((in[3 * x + 2] - mean2) * scale2, blue + x);
      }
    } else {
      FOR_EACH_LANE(x, p.width) {
        put((in[3 * x] - mean0) * scale0, red + 3 * x);
        put((in[3 * x + 1] - mean1) * scale1, red + 3 * x + 1);
        put((in[3 * x + 2] - mean2) * scale2, red + 3 * x + 2);
      }
    }
  };
}

KERNEL normalise_float32(const uint8_t* images, float* out, Normalise p) { normalise(images, out, p); }
KERNEL normalise_float16(const uint8_t* images, uint16_t* out, Normalise p) { normalise(images, out, p); }
