/* SPDX-License-Identifier: MIT
 *
 * burst.h - the workloads "burst" and "waves": one sample is one burst, or some in a row
 */
#ifndef BENCH_BURST_H
#define BENCH_BURST_H

/* Measures and prints. After the last put no thread calls the contestant for rest_ms. */
void burst(unsigned rest_ms);

#endif
