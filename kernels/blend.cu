// SPDX-License-Identifier: Apache-2.0
// blend: both images of a pair become (1 - w) * own + w * partner's, in place, each with its own weight w.
// Arithmetic is binary32 without contraction; uint8 and float16 are rounded to nearest, ties to even.
#include "image.cuh"
#include "values.cuh"

struct Blend {
  Image image;
  PlanRows rows;  // the region is one float: the partner's weight
};

template <int V, class T>
struct ALIGNED(V) Elements {
  T at[V / sizeof(T)];
};

// The partner's weight in each image of a pair.
struct Weights {
  float a, b;
};

template <int V, class T>
DEVICE void blend_vectors(T* a, T* b, int64_t count, Weights w) {
  Elements<V, T>*va = (Elements<V, T>*)a, *vb = (Elements<V, T>*)b;
  float keep_a = 1.0f - w.a, keep_b = 1.0f - w.b;
  FOR_EACH_LANE(v, count) {
    Elements<V, T> x = va[v], y = vb[v], mixed_x, mixed_y;
    for (int k = 0; k < V / (int)sizeof(T); ++k) {
      float own = load(x.at[k]), other = load(y.at[k]);
      mixed_x.at[k] = rounded<T>(keep_a * own + w.a * other);
      mixed_y.at[k] = rounded<T>(keep_b * other + w.b * own);
    }
    va[v] = mixed_x;
    vb[v] = mixed_y;
  }
}

template <int V, class T>
DEVICE void blend(uint8_t* images, const uint8_t* plan, const Blend& p) {
  const int size = (int)sizeof(T), each = V / size;
  FOR_EACH_ROW(r, pair_rows(p.image)) {
    PairRow row;
    if (pair_row(r, images, p.image, plan, p.rows, row)) {
      Weights w = {*plan_region<float>(plan, p.rows, row.first), *plan_region<float>(plan, p.rows, row.second)};
      int64_t elements = (int64_t)p.image.width * p.image.pixel_bytes / size, body = elements / each * each;
      T *a = (T*)row.a, *b = (T*)row.b;
      if (w.a != 0.0f || w.b != 0.0f) {
        blend_vectors<V, T>(a, b, body / each, w);
        blend_vectors<size, T>(a + body, b + body, elements - body, w);  // rows need not be whole vectors long
      }
    }
  };
}

#define BLEND(NAME, T, V) \
  KERNEL blend_##NAME##_##V(uint8_t* images, const uint8_t* plan, Blend p) { blend<V, T>(images, plan, p); }
BLEND(uint8, uint8_t, 1)
BLEND(uint8, uint8_t, 16)
BLEND(float16, uint16_t, 2)
BLEND(float16, uint16_t, 16)
BLEND(float32, float, 4)
BLEND(float32, float, 16)
