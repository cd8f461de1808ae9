// SPDX-License-Identifier: Apache-2.0
// Filling a span of a pixel row from a source: on a GPU a group of elements a lane, on a CPU a line of them at a time.
#pragma once
#include "image.cuh"
#include "streams.cuh"

// Where element e of a row goes, pixel e / channels: beside the one before, or into plane e % channels.
struct Row {
  uint8_t* start;
  int64_t plane_stride, row_stride;
  int32_t channels, planar;

  template <class T>
  DEVICE T* plane(int32_t channel) const {
    return (T*)(start + channel * plane_stride);
  }
};

template <class T>
DEVICE void store_whole(const T* made, T* out, int32_t bytes) {
  for (int32_t k = 0; k < bytes / 16; ++k) ((Vector<16>*)out)[k] = ((const Vector<16>*)made)[k];
}

// For a GPU. wide: 16 bytes may be stored at any multiple of 16 from the start of the row.
template <class Source>
DEVICE void fill_by_lanes(const Row& row, int64_t from, int64_t to, const Source& source, bool wide) {
  typedef typename Source::Element Element;
  const int LENGTH = Source::LENGTH;
  int64_t first = from / Source::ALIGN * Source::ALIGN;
  FOR_EACH_LANE(v, (to - first + LENGTH - 1) / LENGTH) {
    int64_t at = first + v * LENGTH;
    typename Source::Group group;
    source.make(at, group);
    if (wide && !row.planar && from <= at && at + LENGTH <= to) {
      store_whole(group.at, row.plane<Element>(0) + at, sizeof(group));
      continue;
    }
    int32_t x = (int32_t)(at / row.channels), channel = (int32_t)(at - (int64_t)x * row.channels);
    for (int k = 0; k < LENGTH; ++k) {  // by numbers that the compiler knows: a group is in registers
      if (from <= at + k && at + k < to) {
        if (row.planar) {
          row.plane<Element>(channel)[x] = group.at[k];
        } else {
          row.plane<Element>(0)[at + k] = group.at[k];
        }
      }
      if (++channel == row.channels) {
        channel = 0;
        ++x;
      }
    }
  }
}

// Pixels of CHANNELS elements, known to the compiler where it is not 0, into planes.
template <int CHANNELS, class T>
DEVICE void scatter(const T* pixels, const Row& row, int64_t x0, int64_t count) {
  const int32_t channels = CHANNELS ? CHANNELS : row.channels;
  if (CHANNELS == 3) {
    T* __restrict__ red = row.plane<T>(0) + x0, * __restrict__ green = row.plane<T>(1) + x0;
    T* __restrict__ blue = row.plane<T>(2) + x0;
    for (int64_t x = 0; x < count; ++x) {
      red[x] = pixels[3 * x];
      green[x] = pixels[3 * x + 1];
      blue[x] = pixels[3 * x + 2];
    }
    return;
  }
  for (int32_t c = 0; c < channels; ++c)
    for (int64_t x = 0; x < count; ++x) row.plane<T>(c)[x0 + x] = pixels[x * channels + c];
}

// For a CPU.
const int LINE = 1024;
template <class Source>
DEVICE void fill_by_lines(const Row& row, int64_t from, int64_t to, const Source& source) {
  typedef typename Source::Element Element;
  const int LENGTH = Source::LENGTH, ALIGN = Source::ALIGN;
  alignas(64) Element line[LINE + ALIGN + LENGTH];
  const int64_t step = LINE / row.channels * row.channels;
  for (int64_t begin = from; begin < to; begin += step) {
    const int64_t end = begin + step < to ? begin + step : to, first = begin / ALIGN * ALIGN;
    for (int64_t at = first; at < end; at += LENGTH) source.make(at, *(typename Source::Group*)(line + (at - first)));
    const Element* made = line + (begin - first);
    if (!row.planar) {
      for (int64_t k = 0; k < end - begin; ++k) row.plane<Element>(0)[begin + k] = made[k];
    } else if (row.channels == 3) {
      scatter<3>(made, row, begin / 3, (end - begin) / 3);
    } else {
      scatter<0>(made, row, begin / row.channels, (end - begin) / row.channels);
    }
  }
}

// The rows below are mostly filled in the same columns. The last ones look past the end of the image: no harm.
template <class T>
DEVICE void look_ahead(const Row& row, int64_t from, int64_t to) {
  const int32_t planes = row.planar ? row.channels : 1, pixel = row.planar ? row.channels : 1;
  for (int32_t c = 0; c < planes; ++c)
    for (int64_t at = from / pixel; at < to / pixel; at += CACHE_LINE / sizeof(T))
      PREFETCH(row.plane<T>(c) + at + ROWS_AHEAD * row.row_stride / (int64_t)sizeof(T));
}

// Pixels [x0, x1).
template <class Source>
DEVICE void fill(const Row& row, int32_t x0, int32_t x1, const Source& source, bool wide) {
  int64_t from = (int64_t)x0 * row.channels, to = (int64_t)x1 * row.channels;
  if (WIDEST > 16) {
    look_ahead<typename Source::Element>(row, from, to);
    fill_by_lines(row, from, to, source);
  } else {
    fill_by_lanes(row, from, to, source, wide);
  }
}
