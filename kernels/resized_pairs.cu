// SPDX-License-Identifier: Apache-2.0
// resized_pairs: what resized.cu does, in one launch that goes from pair to pair and stays in a CPU's caches.
#include "resized_lines.cuh"
#ifdef __AVX2__
#include "resized_avx2.cuh"
#endif

// resample() on a CPU, of rows behind each of which there are bytes that may be read.
template <class T>
DEVICE void resample_copy(PixelRows copy, const Image& image, const Placed& box, const Window& window, PixelRows to) {
#ifdef __AVX2__
  if (sizeof(T) == 1 && image.pixel_bytes == 3) return resample_rgb(copy, image, box, window, to);
#endif
  resample<T>(copy, image, box, window, to);
}

// Copies the rows of a plane that the window is made of, to the same rows of `to`.
DEVICE void copy_inputs(const uint8_t* plane, const Image& image, const Placed& box, const Window& window,
                        PixelRows to) {
  if (window.y0 == window.y1) return;
  const float scale = (float)image.height / (float)box.height;
  const int32_t y0 = Neighbours(window.y0 - box.top, scale, image.height).low,
                y1 = Neighbours(window.y1 - 1 - box.top, scale, image.height).high;
  const int64_t bytes = (int64_t)image.width * image.pixel_bytes;
  if (to.stride == image.row_stride) {
    memcpy(to.row(y0), plane + y0 * image.row_stride, (y1 - y0) * to.stride + bytes);
  } else {
    for (int32_t y = y0; y <= y1; ++y) memcpy(to.row(y), plane + y * image.row_stride, bytes);
  }
}

// scratch: two planes, each with a row of slack behind it, for each of the `parts` that the pairs are dealt to. The
// rows that a box is made of are copied there first: a processor reads them fastest one after the other.
template <class T>
DEVICE void pairs(uint8_t* images, const uint8_t* plan, uint8_t* scratch, const Resized& p) {
  FOR_EACH_ROW(r, p.parts) {
    const Image& image = p.image;
    const int64_t plane = (int64_t)(image.height + 1) * p.pitch;
    uint8_t *from_first = scratch + 2 * r * plane, *from_second = from_first + plane;
    for (int32_t first = (int32_t)r; first < image.samples; first += p.parts) {
      int32_t second = plan_head(plan, p.rows, first)->partner;
      if (second <= first) continue;
      const Placed in_first = *plan_region<Placed>(plan, p.rows, first),
                   in_second = *plan_region<Placed>(plan, p.rows, second);
      const Window shown_first = shown(in_first, image, 0, 1), shown_second = shown(in_second, image, 0, 1);
      for (int32_t channel = 0; channel < image.planes; ++channel) {
        uint8_t *a = plane_of(images, image, first, channel), *b = plane_of(images, image, second, channel);
        copy_inputs(b, image, in_first, shown_first, {from_second, p.pitch});
        copy_inputs(a, image, in_second, shown_second, {from_first, p.pitch});
        resample_copy<T>({from_second, p.pitch}, image, in_first, shown_first, {a, image.row_stride});
        resample_copy<T>({from_first, p.pitch}, image, in_second, shown_second, {b, image.row_stride});
      }
    }
  };
}

#define PAIRS(NAME, T)                                                                             \
  KERNEL resized_pairs_##NAME(uint8_t* images, const uint8_t* plan, uint8_t* scratch, Resized p) { \
    pairs<T>(images, plan, scratch, p);                                                            \
  }
PAIRS(uint8, uint8_t)
PAIRS(float16, uint16_t)
PAIRS(float32, float)
