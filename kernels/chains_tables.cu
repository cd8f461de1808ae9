// SPDX-License-Identifier: Apache-2.0
// chains_tables_count, chains_tables: of the chains whose step maps values to values, how often each value occurs in a
// channel, where that matters, and the table of 256 bytes a channel.
#include "chains.cuh"

DEVICE bool counted(Operation operation) {
  return operation == AUTO_CONTRAST || operation == EQUALIZE || operation == CONTRAST;
}
DEVICE bool by_table(Operation operation) { return operation >= AUTO_CONTRAST && operation <= CONTRAST; }

// counts: 256 of each channel of each chain.
KERNEL chains_tables_count(const uint8_t* images, const uint8_t* plan, const uint8_t* work, uint32_t* counts,
                           Chains p) {
  FOR_EACH_ROW(r, chain_count(p) * p.image.planes) {
    const int64_t chain = r / p.image.planes;
    const int32_t channels = p.image.pixel_bytes;
    if (counted(operation_at(chain_steps(plan, p, chain), p.step))) {
      const Pixels in = after_steps(images, work, p, chain, p.step);
      const uint8_t* plane = in.start + r % p.image.planes * in.plane;
      uint32_t* mine = counts + r * channels * 256;
      FOR_EACH_LANE(v, channels * 256) mine[v] = 0;
      for (int32_t y = 0; y < p.image.height; ++y) {
        const uint8_t* row = plane + y * in.row;
        for (int32_t x = 0; x < p.image.width; ++x)
          for (int32_t c = 0; c < channels; ++c) {
            const uint32_t value = *row++;
            if (IN_THIS_LANE(value)) ++mine[c * 256 + value];
          }
      }
    }
  };
}

DEVICE float mean_of(const uint32_t* counts) {
  double sum = 0.0, pixels = 0.0;
  for (int32_t v = 0; v < 256; ++v) {
    sum += (double)v * counts[v];
    pixels += counts[v];
  }
  return (float)(sum / pixels);
}

// Least and greatest value to 0 and 255, what lies between in proportion.
DEVICE void stretch(const uint32_t* counts, uint8_t* table) {
  int32_t low = 0, high = 255;
  while (counts[low] == 0) ++low;
  while (counts[high] == 0) --high;
  const float scale = high > low ? 255.0f / (float)(high - low) : 1.0f;
  const float from = high > low ? (float)low : 0.0f;
  for (int32_t v = 0; v < 256; ++v) table[v] = nearest_byte(((float)v - from) * scale);
}

// The share of the pixels that are at most as bright, those of the least value left out.
DEVICE void equalize(const uint32_t* counts, uint32_t pixels, uint8_t* table) {
  int32_t low = 0;
  while (counts[low] == 0) ++low;
  const uint32_t others = pixels - counts[low];
  const float scale = others > 0 ? 255.0f / (float)others : 0.0f;
  uint32_t sum = 0;
  for (int32_t v = 0; v < 256; ++v) {
    sum += v > low ? counts[v] : 0;
    table[v] = others > 0 ? nearest_byte((float)sum * scale) : (uint8_t)v;
  }
}

KERNEL chains_tables(const uint8_t* plan, const uint32_t* counts, uint8_t* tables, Chains p) {
  FOR_EACH_ROW(chain, chain_count(p)) {
    const Step* steps = chain_steps(plan, p, chain);
    const Operation operation = operation_at(steps, p.step);
    const int32_t channels = channel_count(p.image);
    if (by_table(operation)) {
      FOR_EACH_LANE(c, channels) {
        const uint32_t* all = counts + chain * channels * 256;
        uint8_t* table = tables + (chain * channels + c) * 256;
        const float factor = steps[p.step].value[0];
        float centre = 0.0f;
        if (operation == CONTRAST) centre = luma(mean_of(all), mean_of(all + 256), mean_of(all + 512));
        if (operation == AUTO_CONTRAST) stretch(all + c * 256, table);
        if (operation == EQUALIZE) equalize(all + c * 256, (uint32_t)(p.image.height * p.image.width), table);
        for (int32_t v = 0; v < 256 && operation >= POSTERIZE; ++v) {
          if (operation == POSTERIZE) table[v] = (uint8_t)(v & (int32_t)factor);
          if (operation == SOLARIZE) table[v] = (uint8_t)((float)v < factor ? v : 255 - v);
          if (operation >= BRIGHTNESS) table[v] = nearest_byte(centre + ((float)v - centre) * factor);
        }
      }
    }
  };
}
