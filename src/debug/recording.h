/* SPDX-License-Identifier: MIT
 *
 * recording.h - the recording of holders, switched while the process runs
 */
#ifndef BUFFERPOOL_RECORDING_H
#define BUFFERPOOL_RECORDING_H

#include <stdbool.h>

/* Switches MODE_HOLDERS. Where no other mode watches, every get that begins after this returned is recorded, or none
 * is. Any thread; no lock is held. */
void recording_switch(bool on);

#endif
