// SPDX-License-Identifier: Apache-2.0
// The portability words. Nothing else in kernels/ knows which compiler is reading.
#pragma once
#ifdef __CUDACC_RTC__
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef short int16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <cmath>
#include <cstdint>
#include <cstring>
#endif
#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void
#define DEVICE __device__ __forceinline__
#define PREFETCH(pointer)
#define LOWEST_BIT(word) (__ffs((int)(word)) - 1)
#define ALIGNED(bytes) __align__(bytes)
#else
#define KERNEL extern "C" __attribute__((visibility("default"))) void
#define DEVICE inline __attribute__((always_inline))
#define PREFETCH(pointer) __builtin_prefetch(pointer, 1)
#define LOWEST_BIT(word) __builtin_ctz(word)
#endif
#ifdef ON_GRID  // a CPU that goes through a GPU's blocks and threads one by one: runtime/grid.py
#define ALIGNED(bytes) __attribute__((aligned(bytes), may_alias))
struct Index {
  uint32_t x, y;
};
extern "C" {
__attribute__((visibility("default"))) Index blockIdx, threadIdx, blockDim, gridDim;
}
#endif
#if defined(__CUDACC__) || defined(ON_GRID)
#define MISALIGNMENT(pointer, bytes) ((int)((uint64_t)(pointer) % (bytes)))
#define WIDEST 16  // bytes that an access moves at most
// A row is worked on by blockDim.x lanes side by side; a block holds blockDim.y rows. The body ends with "};".
#define FOR_EACH_ROW(r, count) \
  for (int64_t r = blockIdx.x * (int64_t)blockDim.y + threadIdx.y; r < (count); r += gridDim.x * (int64_t)blockDim.y)
#define FOR_EACH_LANE(v, count) for (int64_t v = threadIdx.x; v < (count); v += blockDim.x)
#define IN_THIS_LANE(v) ((uint32_t)(v) % blockDim.x == threadIdx.x)  // FOR_EACH_LANE's part of a scattered write
#else
#include "threads.h"
#define MISALIGNMENT(pointer, bytes) 0
#define WIDEST 64
#define ALIGNED(bytes) __attribute__((packed, may_alias))  // a CPU reads 16 bytes from any address
#define FOR_EACH_ROW(r, count) Rows{count} = [=](int64_t r)
#define FOR_EACH_LANE(v, count) for (int64_t v = 0; v < (count); ++v)
#define IN_THIS_LANE(v) true
#endif
