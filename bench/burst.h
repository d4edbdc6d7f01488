/* SPDX-License-Identifier: MIT
 *
 * burst.h - the workload "burst", of which a sample is one burst
 */
#ifndef BENCH_BURST_H
#define BENCH_BURST_H

/* Measures and prints. The rest is how long nobody calls after the last put. */
void burst(unsigned rest_ms);

#endif
