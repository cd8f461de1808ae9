// SPDX-License-Identifier: Apache-2.0
// The CPU library: every kernel by the host compiler, and what the launcher asks of the library itself.
#include "blend.cu"
#include "block_mask.cu"
#include "chains_apply.cu"
#include "chains_sum.cu"
#include "chains_tables.cu"
#include "crop_maps.cu"
#include "erase.cu"
#include "exchange.cu"
#include "luminance.cu"
#include "mirror.cu"
#include "normalise.cu"
#include "place.cu"
#include "quarters.cu"
#include "relabel.cu"
#include "resize.cu"
#include "resized.cu"
#include "resized_pairs.cu"
#include "roi_weights.cu"
#include "score.cu"
#include "targets.cu"
#include "token_labels.cu"

// Threads of the launches that the calling thread makes from now on.
extern "C" __attribute__((visibility("default"))) void set_threads(int32_t threads) {
#ifdef ON_GRID
  (void)threads;
#else
  Threads::wanted = threads;
#endif
}

// Sizes of the parameter structs, held against the NumPy dtypes when the library is loaded.
#define SIZE_OF(T) extern "C" __attribute__((visibility("default"))) const int32_t size_of_##T = sizeof(T);
SIZE_OF(Exchange)
SIZE_OF(Erase)
SIZE_OF(Blend)
SIZE_OF(Chains)
SIZE_OF(Quarters)
SIZE_OF(BlockMask)
SIZE_OF(Words)
SIZE_OF(Targets)
SIZE_OF(CropMaps)
SIZE_OF(RoiWeights)
SIZE_OF(Pool)
SIZE_OF(Softmax)
SIZE_OF(MixLabels)
SIZE_OF(TokenLabels)
SIZE_OF(Luminance)
SIZE_OF(Place)
SIZE_OF(Mirror)
SIZE_OF(Resize)
SIZE_OF(Resized)
SIZE_OF(Normalise)
SIZE_OF(Score)
SIZE_OF(PlanHead)
