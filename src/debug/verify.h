/* SPDX-License-Identifier: MIT
 *
 * verify.h - at the end of the process: whether the buffers that idle are as their puts left them
 */
#ifndef BUFFERPOOL_VERIFY_H
#define BUFFERPOOL_VERIFY_H

/* Reports misuse unless the blocks that idle, in all pools, are as watch_idle wants them: in the caches of threads, in
 * the depots, in the quarantines. Other threads may go on with their calls. A cache of another thread is left out if
 * its owner is inside, or if stealing is impossible. Moves and counts nothing. A debug mode watches. */
void verify_all(void);

#endif
