// SPDX-License-Identifier: Apache-2.0
// Four crops of four images, patched at one boundary: what a plan's row says of them.
#pragma once
#include "image.cuh"

// A sample's data: the size of its lower right quarter, 0 where it is left alone, and where in their images the crops
// begin, y and x: upper left (own), upper right (partner), lower left and right (further).
struct Crops {
  int32_t height, width, begin[4][2];
  DEVICE bool mixed() const { return (height | width) != 0; }
};
