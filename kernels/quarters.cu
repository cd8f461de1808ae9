// SPDX-License-Identifier: Apache-2.0
// quarters: each image becomes four crops, its own, its partner's and two further samples', patched at one boundary.
// In place, all images of a group read each other. A GPU composes the batch in scratch and stores it. A CPU does a
// group at a time, whose scratch and images stay in its cache: memory is read once and written once.
#include "quarters.cuh"

struct Quarters {
  Image image;
  PlanRows rows;
  int32_t scratch_row;  // bytes from row to row of scratch, whose images are (sample, plane, row) without gaps
  int32_t parts;        // of the batch, for a CPU's threads; each has scratch for four planes
};

DEVICE const Crops& crops_of(const uint8_t* plan, const Quarters& p, int32_t sample) {
  return *plan_region<Crops>(plan, p.rows, sample);
}

DEVICE int64_t row_at(const Image& image, int64_t sample, int64_t plane, int64_t y) {
  return sample * image.sample_stride + plane * image.plane_stride + y * image.row_stride;
}

// What fills quarter k of a plane of a sample: the crop's first byte, how far to the right and down it goes, its size.
struct Quarter {
  const uint8_t* from;
  int32_t top, rows;
  int64_t left, bytes;

  DEVICE Quarter(const uint8_t* images, const uint8_t* plan, const Quarters& p, int32_t sample, int32_t plane,
                 int32_t k) {
    const Image& image = p.image;
    const PlanHead* head = plan_head(plan, p.rows, sample);
    const Crops& crops = crops_of(plan, p, sample);
    int32_t source = k == 0 ? sample : k == 1 ? head->partner : head->further()[k - 2];
    int32_t y = image.height - crops.height, x = image.width - crops.width;
    top = k < 2 ? 0 : y;
    rows = k < 2 ? y : crops.height;
    left = (int64_t)(k & 1 ? x : 0) * image.pixel_bytes;
    bytes = (int64_t)(k & 1 ? crops.width : x) * image.pixel_bytes;
    from = images + row_at(image, source, plane, crops.begin[k][0]) + (int64_t)crops.begin[k][1] * image.pixel_bytes;
  }
};

template <int V>
DEVICE void copy_bytes(uint8_t* to, const uint8_t* from, int64_t bytes) {
  int64_t body = bytes / V * V;
  FOR_EACH_LANE(v, body / V)((Vector<V>*)to)[v] = ((const Vector<V>*)from)[v];
  if (V > 1) FOR_EACH_LANE(b, bytes - body) to[body + b] = from[body + b];
}

// One pixel row of the batch. False where the sample is left alone.
struct BatchRow {
  int32_t sample, plane, y;
  DEVICE bool find(int64_t r, const uint8_t* plan, const Quarters& p) {
    uint32_t planes = (uint32_t)r / (uint32_t)p.image.height;
    y = (int32_t)((uint32_t)r - planes * (uint32_t)p.image.height);
    sample = (int32_t)(planes / (uint32_t)p.image.planes);
    plane = (int32_t)(planes - (uint32_t)sample * (uint32_t)p.image.planes);
    return crops_of(plan, p, sample).mixed();
  }
};

// V divides a pixel, and all that lies between two.
template <int V>
DEVICE void compose(const uint8_t* images, const uint8_t* plan, uint8_t* scratch, const Quarters& p) {
  FOR_EACH_ROW(r, pair_rows(p.image)) {
    BatchRow row;
    if (row.find(r, plan, p)) {
      int32_t upper = row.y < p.image.height - crops_of(plan, p, row.sample).height;
      for (int32_t k = upper ? 0 : 2, end = k + 2; k < end; ++k) {
        Quarter quarter(images, plan, p, row.sample, row.plane, k);
        const uint8_t* from = quarter.from + (row.y - quarter.top) * p.image.row_stride;
        copy_bytes<V>(scratch + r * p.scratch_row + quarter.left, from, quarter.bytes);
      }
    }
  };
}

template <int V>
DEVICE void store(uint8_t* images, const uint8_t* plan, const uint8_t* scratch, const Quarters& p) {
  FOR_EACH_ROW(r, pair_rows(p.image)) {
    BatchRow row;
    if (row.find(r, plan, p))
      copy_bytes<V>(images + row_at(p.image, row.sample, row.plane, row.y), scratch + r * p.scratch_row,
                    (int64_t)p.image.width * p.image.pixel_bytes);
  };
}

#define COMPOSE(V)                                                                                        \
  KERNEL quarters_compose_##V(const uint8_t* images, const uint8_t* plan, uint8_t* scratch, Quarters p) { \
    compose<V>(images, plan, scratch, p);                                                                 \
  }
COMPOSE(1)
COMPOSE(2)
COMPOSE(4)

#define STORE(V)                                                                                        \
  KERNEL quarters_store_##V(uint8_t* images, const uint8_t* plan, const uint8_t* scratch, Quarters p) { \
    store<V>(images, plan, scratch, p);                                                                 \
  }
STORE(1)
STORE(2)
STORE(4)
STORE(8)
STORE(16)

// The samples that a sample shows, each once. They all show the same: Plan sees to that.
struct Group {
  int32_t member[4], size, first;
  DEVICE Group(int32_t sample, const PlanHead* head) : member{sample}, size(1), first(sample) {
    const int32_t others[3] = {head->partner, head->further()[0], head->further()[1]};
    for (int32_t k = 0; k < 3; ++k) {
      bool known = false;
      for (int32_t m = 0; m < size; ++m) known |= member[m] == others[k];
      if (!known) member[size++] = others[k];
      if (others[k] < first) first = others[k];
    }
  }
};

// A CPU's own copy of bytes that do not overlap. The last vector may repeat some of the one before.
DEVICE void copy_span(uint8_t* to, const uint8_t* from, int64_t bytes) {
  if (bytes >= 64) {
    for (int64_t at = 0; at < bytes - 64; at += 64) *(Vector<64>*)(to + at) = *(const Vector<64>*)(from + at);
    *(Vector<64>*)(to + bytes - 64) = *(const Vector<64>*)(from + bytes - 64);
  } else if (bytes >= 16) {
    for (int64_t at = 0; at < bytes - 16; at += 16) *(Vector<16>*)(to + at) = *(const Vector<16>*)(from + at);
    *(Vector<16>*)(to + bytes - 16) = *(const Vector<16>*)(from + bytes - 16);
  } else {
    for (int64_t at = 0; at < bytes; ++at) to[at] = from[at];
  }
}

DEVICE void copy_rows(uint8_t* to, int64_t to_stride, const uint8_t* from, int64_t from_stride, int32_t rows,
                      int64_t bytes) {
  if (to_stride == bytes && from_stride == bytes) return (void)memcpy(to, from, rows * bytes);
  for (int32_t y = 0; y < rows; ++y) copy_span(to + y * to_stride, from + y * from_stride, bytes);
}

// For a CPU alone: lanes would have to wait for each other.
KERNEL quarters_by_group(uint8_t* images, const uint8_t* plan, uint8_t* scratch, Quarters p) {
  FOR_EACH_ROW(part, p.parts) {
    const Image& image = p.image;
    int64_t planes = (int64_t)image.samples * image.planes, plane_bytes = (int64_t)image.height * p.scratch_row;
    for (int64_t at = part; at < planes; at += p.parts) {
      int32_t sample = (int32_t)(at / image.planes), plane = (int32_t)(at % image.planes);
      Group group(sample, plan_head(plan, p.rows, sample));
      if (group.first != sample) continue;
      for (int32_t m = 0; m < group.size; ++m)
        for (int32_t k = 0; k < 4 && crops_of(plan, p, group.member[m]).mixed(); ++k) {
          Quarter quarter(images, plan, p, group.member[m], plane, k);
          uint8_t* to = scratch + (part * 4 + m) * plane_bytes + (int64_t)quarter.top * p.scratch_row + quarter.left;
          copy_rows(to, p.scratch_row, quarter.from, image.row_stride, quarter.rows, quarter.bytes);
        }
      for (int32_t m = 0; m < group.size; ++m)
        if (crops_of(plan, p, group.member[m]).mixed())
          copy_rows(images + row_at(image, group.member[m], plane, 0), image.row_stride,
                    scratch + (part * 4 + m) * plane_bytes, p.scratch_row, image.height,
                    (int64_t)image.width * image.pixel_bytes);
    }
  };
}
