// SPDX-License-Identifier: Apache-2.0
// exchange_tokens, exchange_box: a region of an image takes the partner's bytes, in place.
// Both images of a pair are rewritten in one visit: bytes shown by neither are not touched, the others are
// read once and written at most once. Pixels are bytes here, so every dtype and layout is a matter of strides.
#include "image.cuh"

struct Exchange {
  Image image;
  PlanRows rows;
  int32_t patch, grid_w;  // of a token region; unused by a box
};

enum Code { KEEP = 0, FIRST_TAKES = 1, SECOND_TAKES = 2 };  // 3 = swap

// The runs of equal code along one pixel row, left to right: next() until false.
struct TokenRuns {
  const uint32_t *first, *second;
  int32_t patch, grid_w, width, start, token, x0, x1, code;

  DEVICE TokenRuns(const Exchange& p, const uint8_t* plan, const PairRow& row)
      : first(plan_region<uint32_t>(plan, p.rows, row.first)),
        second(plan_region<uint32_t>(plan, p.rows, row.second)),
        patch(p.patch),
        grid_w(p.grid_w),
        width(p.image.width),
        start(row.y / p.patch * p.grid_w),
        token(0),
        x0(0),
        x1(0),
        code(KEEP) {}

  DEVICE int32_t code_at(int32_t t) const {
    int32_t bit = start + t;
    return (first[bit >> 5] >> (bit & 31) & 1) | (second[bit >> 5] >> (bit & 31) & 1) << 1;
  }
  DEVICE bool next() {
    if (token >= grid_w) return false;
    x0 = token * patch;
    code = code_at(token++);
    while (token < grid_w && code_at(token) == code) ++token;
    x1 = token < grid_w ? token * patch : width;
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
DEVICE void exchange_vectors(uint8_t* a, uint8_t* b, int64_t count, int32_t code) {
  Vector<V>*va = (Vector<V>*)a, *vb = (Vector<V>*)b;
  FOR_EACH_LANE(v, count) {
    Vector<V> x = va[v], y = vb[v];
    if (code & FIRST_TAKES) va[v] = y;
    if (code & SECOND_TAKES) vb[v] = x;
  }
}

// The launcher promises that a and b are equally far from an address that V divides.
template <int V>
DEVICE void exchange_span(uint8_t* a, uint8_t* b, int64_t bytes, int32_t code) {
  int64_t head = (V - MISALIGNMENT(a, V)) % V;
  if (head > bytes) head = bytes;
  int64_t body = (bytes - head) / V * V;
  exchange_vectors<1>(a, b, head, code);
  exchange_vectors<V>(a + head, b + head, body / V, code);
  exchange_vectors<1>(a + head + body, b + head + body, bytes - head - body, code);
}

template <int V, class Runs>
DEVICE void exchange(uint8_t* images, const uint8_t* plan, const Exchange& p) {
  FOR_EACH_ROW(r, pair_rows(p.image)) {
    PairRow row;
    if (pair_row(r, images, p.image, plan, p.rows, row)) {
      Runs runs(p, plan, row);
      while (runs.next()) {
        int64_t from = (int64_t)runs.x0 * p.image.pixel_bytes, to = (int64_t)runs.x1 * p.image.pixel_bytes;
        if (runs.code != KEEP) exchange_span<V>(row.a + from, row.b + from, to - from, runs.code);
      }
    }
  }
}

#define EXCHANGE(V)                                                                        \
  KERNEL exchange_tokens_##V(uint8_t* images, const uint8_t* plan, Exchange p) {           \
    exchange<V, TokenRuns>(images, plan, p);                                               \
  }                                                                                        \
  KERNEL exchange_box_##V(uint8_t* images, const uint8_t* plan, Exchange p) {              \
    exchange<V, BoxRuns>(images, plan, p);                                                 \
  }
EXCHANGE(1)
EXCHANGE(2)
EXCHANGE(4)
EXCHANGE(8)
EXCHANGE(16)
