// SPDX-License-Identifier: Apache-2.0
// The partner's share of a cell, of a grid laid over the image: what a plan's regions give it there.
#pragma once
#include "image.cuh"

const int MOST_REGIONS = 4;
enum RegionKind { TOKENS = 0, BOX = 1, BLEND = 2, QUARTERS = 3 };

struct RegionData {
  int32_t kind, offset, patch, grid_h, grid_w;
};

// A grid of grid_h x grid_w cells on images of height x width pixels, and the regions of the plan. patch: 0 where the
// cells are of one size; else they are tokens of that side in pixels, the last of a row or column perhaps cut off.
struct Cells {
  int32_t height, width, grid_h, grid_w, patch, regions;
  RegionData region[MOST_REGIONS];
};

// A cell on the image, in pixels.
struct Cell {
  double y0, x0, y1, x1;
  DEVICE Cell(int32_t y, int32_t x, const Cells& p)
      : y0(edge(y, p.height, p.grid_h, p.patch)),
        x0(edge(x, p.width, p.grid_w, p.patch)),
        y1(edge(y + 1, p.height, p.grid_h, p.patch)),
        x1(edge(x + 1, p.width, p.grid_w, p.patch)) {}

  static DEVICE double edge(int32_t k, int32_t size, int32_t cells, int32_t patch) {
    if (patch == 0) return (double)k * size / cells;
    return k * patch < size ? k * patch : size;
  }

  // Share of the cell that a rectangle covers.
  DEVICE double covered(double top, double left, double bottom, double right) const {
    double h = (bottom < y1 ? bottom : y1) - (top > y0 ? top : y0),
           w = (right < x1 ? right : x1) - (left > x0 ? left : x0);
    return h > 0.0 && w > 0.0 ? h * w / ((y1 - y0) * (x1 - x0)) : 0.0;
  }
};

DEVICE int32_t bit_at(const uint32_t* words, int32_t at) { return (int32_t)(words[at >> 5] >> (at & 31) & 1); }

// Whether the cells are the mask's own tokens: of the same side, or of one size and without a rest.
DEVICE bool same_tokens(const RegionData& g, const Cells& p) {
  if (g.grid_h != p.grid_h || g.grid_w != p.grid_w) return false;
  if (p.patch || !g.patch)
    return g.patch == p.patch && (p.patch || (p.height % g.grid_h == 0 && p.width % g.grid_w == 0));
  return g.patch * g.grid_h == p.height && g.patch * g.grid_w == p.width;
}

// The partner's share of cell (y, x): of a mask on these cells its own bit, of any other its tokens by area.
DEVICE double tokens_share(const uint32_t* words, const RegionData& g, int32_t y, int32_t x, const Cells& p) {
  if (same_tokens(g, p)) return bit_at(words, y * g.grid_w + x);
  Cell cell(y, x, p);
  double share = 0.0;
  for (int32_t ty = cell_of((int32_t)cell.y0, p.height, g.grid_h, g.patch); ty < g.grid_h; ++ty) {
    int32_t top = cell_edge(ty, p.height, g.grid_h, g.patch), bottom = cell_edge(ty + 1, p.height, g.grid_h, g.patch);
    if (top >= cell.y1) break;
    for (int32_t tx = cell_of((int32_t)cell.x0, p.width, g.grid_w, g.patch); tx < g.grid_w; ++tx) {
      int32_t left = cell_edge(tx, p.width, g.grid_w, g.patch), right = cell_edge(tx + 1, p.width, g.grid_w, g.patch);
      if (left >= cell.x1) break;
      if (bit_at(words, ty * g.grid_w + tx)) share += cell.covered(top, left, bottom, right);
    }
  }
  return share;
}

DEVICE double partner_share(const uint8_t* row, int32_t y, int32_t x, const Cells& p) {
  double share = 0.0;
  for (int32_t k = 0; k < MOST_REGIONS; ++k) {  // a number that the compiler knows: no copy of the regions
    if (k >= p.regions) continue;
    const RegionData& g = p.region[k];
    const uint8_t* data = row + g.offset;
    if (g.kind == TOKENS) share += tokens_share((const uint32_t*)data, g, y, x, p);
    if (g.kind == BLEND) share += *(const float*)data;
    if (g.kind == BOX) {
      const int32_t* box = (const int32_t*)data;
      share += Cell(y, x, p).covered(box[0], box[1], box[2], box[3]);
    }
  }
  return share < 1.0 ? share : 1.0;  // sums of areas may be a rounding above
}
