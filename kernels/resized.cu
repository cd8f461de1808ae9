// SPDX-License-Identifier: Apache-2.0
// resized: a box of an image shows the whole partner, resized to the box, as far as it lies inside. In place: both of a
// pair are read before they are written: what the boxes show is taken to scratch memory, and then pasted, in two
// launches. A CPU takes one, resized_pairs.cu.
#include "resized_lines.cuh"

// A row of work of resized_take and resized_paste.
struct Part {
  int32_t sample, channel, scratch_row;  // the one that image row 0 would have: shown rows are together
  Placed box;
  Window window;

  DEVICE Part(int64_t r, const uint8_t* plan, const Resized& p) {
    int32_t plane = (int32_t)r / p.parts;
    sample = plane / p.image.planes;
    channel = plane % p.image.planes;
    box = *plan_region<Placed>(plan, p.rows, sample);
    window = shown(box, p.image, (int32_t)r % p.parts, p.parts);
    scratch_row = plane * p.image.height - (box.top > 0 ? box.top : 0);
  }
};

template <class T>
DEVICE void take(uint8_t* images, const uint8_t* plan, uint8_t* scratch, const Resized& p) {
  FOR_EACH_ROW(r, p.image.samples * p.image.planes * p.parts) {
    Part part(r, plan, p);
    uint8_t* partner = plane_of(images, p.image, plan_head(plan, p.rows, part.sample)->partner, part.channel);
    resample<T>({partner, p.image.row_stride}, p.image, part.box, part.window,
                {scratch + (int64_t)part.scratch_row * p.pitch, p.pitch});
  };
}

template <int V>
DEVICE void paste(uint8_t* images, const uint8_t* plan, uint8_t* scratch, const Resized& p) {
  FOR_EACH_ROW(r, p.image.samples * p.image.planes * p.parts) {
    Part part(r, plan, p);
    copy_window<V>({scratch + (int64_t)part.scratch_row * p.pitch, p.pitch}, p.image, part.window,
                   {plane_of(images, p.image, part.sample, part.channel), p.image.row_stride});
  };
}

#define TAKE(NAME, T)                                                                             \
  KERNEL resized_take_##NAME(uint8_t* images, const uint8_t* plan, uint8_t* scratch, Resized p) { \
    take<T>(images, plan, scratch, p);                                                            \
  }
TAKE(uint8, uint8_t)
TAKE(float16, uint16_t)
TAKE(float32, float)

#define PASTE(V)                                                                                \
  KERNEL resized_paste_##V(uint8_t* images, const uint8_t* plan, uint8_t* scratch, Resized p) { \
    paste<V>(images, plan, scratch, p);                                                         \
  }
PASTE(1)
PASTE(2)
PASTE(4)
PASTE(8)
PASTE(16)
