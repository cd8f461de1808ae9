// SPDX-License-Identifier: Apache-2.0
// exchange_tokens, exchange_box: a region of an image takes the partner's bytes, in place.
// Both images of a pair are rewritten in one visit: bytes shown by neither are not touched, the others are
// read once and written at most once. Pixels are bytes here, so every dtype and layout is a matter of strides.
#include "image.cuh"

struct Exchange {
  Image image;
  PlanRows rows;
  int32_t patch, grid_h, grid_w;  // of a token region, see cell_edge(); unused by a box
};

enum Code { KEEP = 0, FIRST_TAKES = 1, SECOND_TAKES = 2, SWAP = 3 };

// `count` bits, at most 32, from bit `at` on; touches no word that holds none of them.
DEVICE uint32_t bits_at(const uint32_t* words, int32_t at, int32_t count) {
  int32_t word = at >> 5, shift = at & 31;
  uint32_t low = words[word] >> shift;
  return count > 32 - shift ? low | words[word + 1] << (32 - shift) : low;
}

DEVICE uint32_t differs_from_first(uint32_t bits) { return bits ^ (0u - (bits & 1)); }

// The runs of equal code along one pixel row, left to right: next() until false. A run of tokens is at most 32 long.
struct TokenRuns {
  const uint32_t *first, *second;
  int32_t patch, grid_w, width, start, token, ready, x0, x1, code;
  uint32_t first_bits, second_bits;  // of the `ready` tokens from `token` on

  DEVICE TokenRuns(const Exchange& p, const uint8_t* plan, const PairRow& row)
      : first(plan_region<uint32_t>(plan, p.rows, row.first)),
        second(plan_region<uint32_t>(plan, p.rows, row.second)),
        patch(p.patch),
        grid_w(p.grid_w),
        width(p.image.width),
        start(cell_of(row.y, p.image.height, p.grid_h, p.patch) * p.grid_w),
        token(0),
        ready(0),
        x0(0),
        x1(0),
        code(KEEP) {}

  DEVICE bool next() {
    if (token == grid_w) return false;
    if (ready == 0) {
      ready = grid_w - token < 32 ? grid_w - token : 32;
      first_bits = bits_at(first, start + token, ready);
      second_bits = bits_at(second, start + token, ready);
    }
    code = (int32_t)((first_bits & 1) | (second_bits & 1) << 1);
    uint32_t change = differs_from_first(first_bits) | differs_from_first(second_bits);
    int32_t run = change ? LOWEST_BIT(change) : 32;
    if (run > ready) run = ready;
    x0 = x1;
    token += run;
    ready -= run;
    x1 = cell_edge(token, width, grid_w, patch);
    if (ready) {
      first_bits >>= run;
      second_bits >>= run;
    }
    return true;
  }
};

struct Rect {
  int32_t y0, x0, y1, x1;
};

// The box's columns on row y; an empty span where the box does not reach.
struct Span {
  int32_t x0, x1;
  DEVICE Span(const Rect& box, int32_t y) : x0(box.x0), x1(box.y0 <= y && y < box.y1 ? box.x1 : box.x0) {}
  DEVICE bool holds(int32_t x) const { return x0 <= x && x < x1; }
};

struct BoxRuns {
  Span first, second;
  int32_t width, x0, x1, code;

  DEVICE BoxRuns(const Exchange& p, const uint8_t* plan, const PairRow& row)
      : first(*plan_region<Rect>(plan, p.rows, row.first), row.y),
        second(*plan_region<Rect>(plan, p.rows, row.second), row.y),
        width(p.image.width),
        x0(0),
        x1(0),
        code(KEEP) {}

  DEVICE void stop_at(int32_t edge) {
    if (x0 < edge && edge < x1) x1 = edge;
  }
  DEVICE bool next() {
    x0 = x1;
    if (x0 >= width) return false;
    x1 = width;
    stop_at(first.x0);
    stop_at(first.x1);
    stop_at(second.x0);
    stop_at(second.x1);
    code = (first.holds(x0) ? FIRST_TAKES : 0) | (second.holds(x0) ? SECOND_TAKES : 0);
    return true;
  }
};

template <int V>
DEVICE void exchange_vectors(uint8_t* a, uint8_t* b, int64_t count, int32_t code, int64_t ahead) {
  Vector<V>*va = (Vector<V>*)a, *vb = (Vector<V>*)b;
  FOR_EACH_LANE(v, count) {
    if (v % (CACHE_LINE / V) == 0) {
      PREFETCH(a + v * V + ahead);
      PREFETCH(b + v * V + ahead);
    }
    Vector<V> x = va[v], y = vb[v];
    if (code & FIRST_TAKES) va[v] = y;
    if (code & SECOND_TAKES) vb[v] = x;
  }
}

// The launcher promises that a and b are equally far from an address that V divides.
template <int V>
DEVICE void exchange_span(uint8_t* a, uint8_t* b, int64_t bytes, int32_t code, int64_t ahead) {
  const int WIDE = V == 16 ? WIDEST : V;
  int64_t head = (V - MISALIGNMENT(a, V)) % V;
  if (head > bytes) head = bytes;
  int64_t wide = (bytes - head) / WIDE * WIDE, body = (bytes - head) / V * V;
  exchange_vectors<1>(a, b, head, code, ahead);
  exchange_vectors<WIDE>(a + head, b + head, wide / WIDE, code, ahead);
  if (WIDE > V) exchange_vectors<V>(a + head + wide, b + head + wide, (body - wide) / V, code, ahead);
  exchange_vectors<1>(a + head + body, b + head + body, bytes - head - body, code, ahead);
}

template <int V, class Runs>
DEVICE void exchange(uint8_t* images, const uint8_t* plan, const Exchange& p) {
  FOR_EACH_ROW(r, pair_rows(p.image)) {
    PairRow row;
    if (pair_row(r, images, p.image, plan, p.rows, row)) {
      // Rows below mostly exchange the same columns. The last rows look into the next plane, or past the end: no harm.
      int64_t ahead = ROWS_AHEAD * p.image.row_stride;
      Runs runs(p, plan, row);
      while (runs.next()) {
        int64_t from = (int64_t)runs.x0 * p.image.pixel_bytes,
                bytes = (int64_t)(runs.x1 - runs.x0) * p.image.pixel_bytes;
        if (runs.code == SWAP) {
          exchange_span<V>(row.a + from, row.b + from, bytes, SWAP, ahead);
        } else if (runs.code != KEEP) {
          exchange_span<V>(row.a + from, row.b + from, bytes, runs.code, ahead);
        }
      }
    }
  };
}

#define EXCHANGE(V)                                                              \
  KERNEL exchange_tokens_##V(uint8_t* images, const uint8_t* plan, Exchange p) { \
    exchange<V, TokenRuns>(images, plan, p);                                     \
  }                                                                              \
  KERNEL exchange_box_##V(uint8_t* images, const uint8_t* plan, Exchange p) { exchange<V, BoxRuns>(images, plan, p); }
EXCHANGE(1)
EXCHANGE(2)
EXCHANGE(4)
EXCHANGE(8)
EXCHANGE(16)
