// SPDX-License-Identifier: Apache-2.0
// Rows of a resized image: bilinear between pixel centres, without antialiasing, first down and then across.
#pragma once
#include "image.cuh"
#include "values.cuh"

// Where the whole of a resized image lies; it may reach over the edges.
struct Placed {
  int32_t top, left, height, width;
};

// What shows of it: rows and columns of the image, half-open.
struct Window {
  int32_t y0, y1, x0, x1;
};

// The inputs on both sides of an output on one axis, and the weight of the second.
struct Neighbours {
  int32_t low, high;
  float weight;

  DEVICE Neighbours(int32_t output, float scale, int32_t inputs) {
    float at = ((float)output + 0.5f) * scale - 0.5f;
    at = at > 0.0f ? at : 0.0f;
    low = (int32_t)at < inputs ? (int32_t)at : inputs - 1;
    high = low + 1 < inputs ? low + 1 : low;
    weight = at - (float)low;
  }
};

// Between two values of an axis: in binary32 without contraction, rounded in the end.
template <class T>
struct Between {
  float weight;

  DEVICE explicit Between(float weight) : weight(weight) {}
  DEVICE float down(T top, T bottom) const { return (1.0f - weight) * load(top) + weight * load(bottom); }
  DEVICE T across(float left, float right) const { return rounded<T>((1.0f - weight) * left + weight * right); }
};

// uint8 in whole numbers: 15 bits of a weight, 7 fractional bits of what is between two rows.
template <>
struct Between<uint8_t> {
  int32_t weight;

  DEVICE explicit Between(float weight) : weight((int32_t)(weight * 32768.0f)) {}
  DEVICE int32_t part(int32_t whole) const { return (whole * weight + 0x4000) >> 15; }
  DEVICE int32_t down(uint8_t top, uint8_t bottom) const { return (top << 7) + part((bottom - top) * 128); }
  DEVICE uint8_t across(int32_t left, int32_t right) const { return (uint8_t)((left + part(right - left) + 64) >> 7); }
};

struct Resized {
  Image image;
  PlanRows rows;  // the region is a Placed
  int32_t parts;  // of a plane's shown rows, or of a batch's pairs: as many rows of work for each
  int32_t pitch;  // bytes from a row of scratch memory to the next, of which there are image.height for each plane
};

// Part `part` of `parts` of the rows of an image that show the box.
DEVICE Window shown(const Placed& box, const Image& image, int32_t part, int32_t parts) {
  int32_t top = box.top > 0 ? box.top : 0, left = box.left > 0 ? box.left : 0;
  int32_t bottom = box.top + box.height, right = box.left + box.width;
  bottom = bottom < image.height ? bottom : image.height;
  right = right < image.width ? right : image.width;
  int64_t rows = bottom > top && right > left ? bottom - top : 0;
  return {top + (int32_t)(rows * part / parts), top + (int32_t)(rows * (part + 1) / parts), left, right};
}

DEVICE uint8_t* plane_of(uint8_t* images, const Image& image, int64_t sample, int64_t channel) {
  return images + sample * image.sample_stride + channel * image.plane_stride;
}

// The rows of a plane: where row 0 begins, and bytes from each to the next.
struct PixelRows {
  uint8_t* start;
  int64_t stride;

  DEVICE uint8_t* row(int32_t y) const { return start + y * stride; }
};

// Columns x0 to x1 of one row. top, bottom: the partner's rows on both sides. line: the image's row.
template <class T>
DEVICE void resample_row(const T* top, const T* bottom, Between<T> down, const Image& image, const Placed& box,
                         int32_t x0, int32_t x1, T* line) {
  const int32_t elements = image.pixel_bytes / (int32_t)sizeof(T);
  const float scale = (float)image.width / (float)box.width;
  FOR_EACH_LANE(k, x1 - x0) {
    int32_t x = x0 + (int32_t)k;
    Neighbours columns(x - box.left, scale, image.width);
    Between<T> across(columns.weight);
    int64_t left = (int64_t)columns.low * elements, right = (int64_t)columns.high * elements;
    for (int32_t c = 0; c < elements; ++c)
      line[(int64_t)x * elements + c] =
          across.across(down.down(top[left + c], bottom[left + c]), down.down(top[right + c], bottom[right + c]));
  }
}

// The window of the resized partner, one plane.
template <class T>
DEVICE void resample(PixelRows partner, const Image& image, const Placed& box, const Window& window, PixelRows to) {
  const float scale = (float)image.height / (float)box.height;
  for (int32_t y = window.y0; y < window.y1; ++y) {
    Neighbours rows(y - box.top, scale, image.height);
    resample_row<T>((const T*)partner.row(rows.low), (const T*)partner.row(rows.high), Between<T>(rows.weight), image,
                    box, window.x0, window.x1, (T*)to.row(y));
  }
}

template <int V>
DEVICE void copy_vectors(const uint8_t* from, uint8_t* to, int64_t count) {
  const Vector<V>* source = (const Vector<V>*)from;
  Vector<V>* target = (Vector<V>*)to;
  FOR_EACH_LANE(v, count) target[v] = source[v];
}

// The window of one plane. Both sides are as far from an address that V divides, says the launcher.
template <int V>
DEVICE void copy_window(PixelRows from, const Image& image, const Window& window, PixelRows to) {
  const int64_t start = (int64_t)window.x0 * image.pixel_bytes,
                bytes = (int64_t)(window.x1 - window.x0) * image.pixel_bytes;
  for (int32_t y = window.y0; y < window.y1; ++y) {
    const uint8_t* source = from.row(y) + start;
    uint8_t* target = to.row(y) + start;
    int64_t head = (V - MISALIGNMENT(target, V)) % V;
    if (head > bytes) head = bytes;
    int64_t body = (bytes - head) / V * V;
    copy_vectors<1>(source, target, head);
    copy_vectors<V>(source + head, target + head, body / V);
    copy_vectors<1>(source + head + body, target + head + body, bytes - head - body);
  }
}
