// SPDX-License-Identifier: Apache-2.0
// mirror: images whose flip is not 0 are mirrored left to right, in place.
#include "image.cuh"

struct Mirror {
  Image image;
};

// BYTES a pixel, known to the compiler where it is not 0.
template <int32_t BYTES>
DEVICE void mirror_row(uint8_t* row, const Image& image) {
  const int32_t bytes = BYTES ? BYTES : image.pixel_bytes;
  uint8_t* end = row + (int64_t)(image.width - 1) * bytes;
  FOR_EACH_LANE(x, image.width / 2) {
    uint8_t *left = row + x * bytes, *right = end - x * bytes;
    for (int32_t k = 0; k < bytes; ++k) {
      uint8_t kept = left[k];
      left[k] = right[k];
      right[k] = kept;
    }
  }
}

KERNEL mirror(uint8_t* images, const int32_t* flips, Mirror p) {
  FOR_EACH_ROW(r, pair_rows(p.image)) {
    uint32_t plane = (uint32_t)r / (uint32_t)p.image.height, sample = plane / (uint32_t)p.image.planes;
    if (flips[sample]) {
      int64_t y = r - (int64_t)plane * p.image.height, channel = plane - sample * (uint32_t)p.image.planes;
      uint8_t* row = images + sample * p.image.sample_stride + channel * p.image.plane_stride + y * p.image.row_stride;
      if (p.image.pixel_bytes == 3) {
        mirror_row<3>(row, p.image);
      } else {
        mirror_row<0>(row, p.image);
      }
    }
  };
}
