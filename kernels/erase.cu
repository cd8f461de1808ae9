// SPDX-License-Identifier: Apache-2.0
// erase_boxes, erase_cells: parts of an image are filled, in place, with one colour or with noise: nothing is read, and
// nothing else is written. A row of the launch is a pixel row of a sample, in all its planes.
#include "erased.cuh"
#include "fill.cuh"

const int MOST_TILES = 64;

struct Erase {
  Image image;
  PlanRows rows;
  int32_t channels, parts;  // parts: boxes of a sample, or cells in a row of its bits
  int32_t wide;             // whether 16 bytes may be stored wherever they begin 16 k bytes behind the start of a row
  int32_t tiles;            // of the colour of a pixel; where channels are planes, one each
  uint64_t colour[2 * MOST_TILES];
};

struct WithColour {
  template <int TILES, class Spans>
  static DEVICE void fill_spans(uint8_t* row, Spans& spans, const Erase& p) {
    while (spans.next()) {
      for (int32_t plane = 0; plane < p.image.planes; ++plane) {
        const Row bytes = {row + plane * p.image.plane_stride, 0, p.image.row_stride, p.image.pixel_bytes, 0};
        fill(bytes, spans.x0, spans.x1, Colour<TILES>{p.colour + 2 * plane, p.tiles}, p.wide);
      }
    }
  }
  template <class Spans>
  static DEVICE void fill_spans(uint8_t* row, Spans& spans, const uint32_t*, int32_t, const Erase& p) {
    if (p.tiles == 1) return fill_spans<1>(row, spans, p);
    if (p.tiles == 3) return fill_spans<3>(row, spans, p);
    fill_spans<0>(row, spans, p);
  }
};

template <class Source>
struct WithNoise {
  template <class Spans>
  static DEVICE void fill_spans(uint8_t* row, Spans& spans, const uint32_t* seed, int32_t y, const Erase& p) {
    const Source source = {{{seed[0], seed[1]}, (uint32_t)y}};
    const Row pixels = {row, p.image.plane_stride, p.image.row_stride, p.channels, p.image.planes > 1};
    while (spans.next()) fill(pixels, spans.x0, spans.x1, source, p.wide);
  }
};

template <class Data, class Spans, class Filling>
DEVICE void erase(uint8_t* images, const uint8_t* plan, const Erase& p) {
  FOR_EACH_ROW(r, p.image.samples * p.image.height) {
    int32_t sample = (int32_t)((uint32_t)r / (uint32_t)p.image.height), y = (int32_t)r - sample * p.image.height;
    const Data* data = plan_region<Data>(plan, p.rows, sample);
    Spans spans(*data, y, p.image.width, p.parts);
    uint8_t* row = images + sample * p.image.sample_stride + y * p.image.row_stride;
    Filling::fill_spans(row, spans, data->seed, y, p);
  };
}

#define ERASE(NAME, FILLING)                                                 \
  KERNEL erase_boxes_##NAME(uint8_t* images, const uint8_t* plan, Erase p) { \
    erase<ErasedBoxes, BoxSpans, FILLING>(images, plan, p);                  \
  }                                                                          \
  KERNEL erase_cells_##NAME(uint8_t* images, const uint8_t* plan, Erase p) { \
    erase<ErasedCells, CellSpans, FILLING>(images, plan, p);                 \
  }
ERASE(colour, WithColour)
ERASE(uint8, WithNoise<Bytes>)
ERASE(float16, WithNoise<Normals<uint16_t>>)
ERASE(float32, WithNoise<Normals<float>>)
