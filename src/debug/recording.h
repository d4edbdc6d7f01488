/* SPDX-License-Identifier: MIT
 *
 * recording.h - the recording of holders, switched while the process runs
 */
#ifndef BUFFERPOOL_RECORDING_H
#define BUFFERPOOL_RECORDING_H

#include <stdbool.h>

/* Switches MODE_HOLDERS on or off. If no other mode watches, then every get that begins after the return is recorded
 * (on), or none is (off). Any thread may call this, and holds no lock. */
void recording_switch(bool on);

#endif
