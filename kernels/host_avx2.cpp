// SPDX-License-Identifier: Apache-2.0
// The CPU library for processors with AVX2: a file of its own, so that its object is never taken for the other's.
#include "host.cpp"
