// SPDX-License-Identifier: Apache-2.0
// The CPU library: every kernel by the host compiler, and what the launcher asks of the library itself.
#include "blend.cu"
#include "block_mask.cu"
#include "crop_maps.cu"
#include "exchange.cu"
#include "mirror.cu"
#include "relabel.cu"
#include "resize.cu"
#include "roi_weights.cu"
#include "score.cu"
#include "targets.cu"
#include "token_labels.cu"
#ifdef _OPENMP
#include <omp.h>
#endif

// Threads of the launches that the calling thread makes from now on; returns how many there were. GNU OpenMP keeps one
// number for all libraries of a process, torch among them: whoever sets it sets it back.
extern "C" __attribute__((visibility("default"))) int32_t set_threads(int32_t threads) {
#ifdef _OPENMP
  int32_t before = omp_get_max_threads();
  omp_set_num_threads(threads);
  return before;
#else
  return threads;
#endif
}

// Sizes of the parameter structs, held against the NumPy dtypes when the library is loaded.
#define SIZE_OF(T) extern "C" __attribute__((visibility("default"))) const int32_t size_of_##T = sizeof(T);
SIZE_OF(Exchange)
SIZE_OF(Blend)
SIZE_OF(BlockMask)
SIZE_OF(Words)
SIZE_OF(Targets)
SIZE_OF(CropMaps)
SIZE_OF(RoiWeights)
SIZE_OF(Pool)
SIZE_OF(Softmax)
SIZE_OF(MixLabels)
SIZE_OF(TokenLabels)
SIZE_OF(Mirror)
SIZE_OF(Resize)
SIZE_OF(Score)
SIZE_OF(PlanHead)
