// SPDX-License-Identifier: Apache-2.0
// What is erased: the data of a sample in its plan row, and the columns of one pixel row.
#pragma once
#include "image.cuh"

struct Hole {
  int32_t y0, x0, y1, x1;
};

// seed: of the sample's noise. The holes, and the bits of the cells, follow.
struct ErasedBoxes {
  uint32_t seed[2];
  DEVICE const Hole* holes() const { return (const Hole*)(this + 1); }
};
struct ErasedCells {
  uint32_t seed[2];
  int32_t side;  // of a cell in pixels; 0: nothing is erased
  DEVICE const uint32_t* bits() const { return (const uint32_t*)(this + 1); }
};

// Spans [x0, x1) of a pixel row: next() until false. Those of boxes may overlap.
struct BoxSpans {
  const Hole* hole;
  const Hole* end;
  int32_t y, x0, x1;

  DEVICE BoxSpans(const ErasedBoxes& data, int32_t row, int32_t, int32_t holes)
      : hole(data.holes()), end(hole + holes), y(row), x0(0), x1(0) {}

  DEVICE bool next() {
    while (hole < end && !(hole->y0 <= y && y < hole->y1 && hole->x0 < hole->x1)) ++hole;
    if (hole == end) return false;
    x0 = hole->x0;
    x1 = hole->x1;
    ++hole;
    return true;
  }
};

// grid_w: bits of a row of cells, as many as the smallest cells have.
struct CellSpans {
  const uint32_t* bits;
  int32_t side, width, first, cell, cells, x0, x1;

  DEVICE CellSpans(const ErasedCells& data, int32_t row, int32_t columns, int32_t grid_w)
      : bits(data.bits()), side(data.side), width(columns), first(0), cell(0), cells(0), x0(0), x1(0) {
    if (side == 0) return;
    first = (int32_t)((uint32_t)row / (uint32_t)side) * grid_w;
    cells = (int32_t)((uint32_t)(width - 1) / (uint32_t)side) + 1;
  }

  DEVICE bool hidden(int32_t k) const { return bits[(first + k) >> 5] >> ((first + k) & 31) & 1; }
  DEVICE bool next() {
    while (cell < cells && !hidden(cell)) ++cell;
    if (cell == cells) return false;
    x0 = cell * side;
    while (cell < cells && hidden(cell)) ++cell;
    x1 = cell < cells ? cell * side : width;
    return true;
  }
};
