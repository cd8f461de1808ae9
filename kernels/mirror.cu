// SPDX-License-Identifier: Apache-2.0
// mirror: images whose flip is not 0 are mirrored left to right, in place.
#include "image.cuh"

struct Mirror {
  Image image;
};

KERNEL mirror(uint8_t* images, const int32_t* flips, Mirror p) {
  FOR_EACH_ROW(r, pair_rows(p.image)) {
    uint32_t plane = (uint32_t)r / (uint32_t)p.image.height, sample = plane / (uint32_t)p.image.planes;
    if (flips[sample]) {
      int64_t y = r - (int64_t)plane * p.image.height, channel = plane - sample * (uint32_t)p.image.planes;
      uint8_t* row = images + sample * p.image.sample_stride + channel * p.image.plane_stride + y * p.image.row_stride;
      uint8_t* end = row + (int64_t)(p.image.width - 1) * p.image.pixel_bytes;
      FOR_EACH_LANE(x, p.image.width / 2) {
        uint8_t *left = row + x * p.image.pixel_bytes, *right = end - x * p.image.pixel_bytes;
        for (int32_t k = 0; k < p.image.pixel_bytes; ++k) {
          uint8_t kept = left[k];
          left[k] = right[k];
          right[k] = kept;
        }
      }
    }
  }
}
