// SPDX-License-Identifier: Apache-2.0
// What erased pixels are filled with: sources of elements along a pixel row, channel after channel, pixel after pixel.
// They are made in groups of LENGTH, from any multiple of LENGTH, or of ALIGN where there is one, on.
#pragma once
#include "noise.cuh"

// One colour: a pattern of bytes that repeats after TILES times 16 of them, or `count` times where TILES is 0.
template <int TILES>
struct Colour {
  typedef uint8_t Element;
  static const int ALIGN = TILES ? 16 * TILES : 16, LENGTH = ALIGN;
  const uint64_t* tiles;
  int32_t count;

  union alignas(16) Group {
    uint64_t words[LENGTH / 8];
    Element at[LENGTH];
  };
  DEVICE void make(int64_t from, Group& group) const {
    uint32_t first = TILES ? 0 : 2 * ((uint32_t)(from / LENGTH) % (uint32_t)count);
    for (int k = 0; k < LENGTH / 8; ++k) group.words[k] = tiles[first + k];
  }
};

// Uniform bytes, four a word of noise.
struct Bytes {
  typedef uint8_t Element;
  static const int ALIGN = 16, LENGTH = 4 * NOISE_WORDS;
  NoiseRow row;

  union Group {
    NoiseWords words;
    Element at[LENGTH];
  };
  DEVICE void make(int64_t from, Group& group) const { noise_words(row, (uint32_t)(from / 16), group.words); }
};

DEVICE void put_normal(uint32_t word, float* out) { *out = normal(word); }
DEVICE void put_normal(uint32_t word, uint16_t* out) { *out = float_to_half(normal(word)); }

// Normal numbers, one a word of noise.
template <class T>
struct Normals {
  typedef T Element;
  static const int ALIGN = 16 / sizeof(T), LENGTH = NOISE_WORDS;
  NoiseRow row;

  struct alignas(16) Group {
    T at[LENGTH];
  };
  DEVICE void make(int64_t from, Group& group) const {
    NoiseWords words;
    noise_words(row, (uint32_t)(from / 4), words);
    for (int k = 0; k < LENGTH; ++k) put_normal(words.at[k], group.at + k);
  }
};
