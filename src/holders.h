/* SPDX-License-Identifier: MIT
 *
 * holders.h - who holds what: at exit
 */
#ifndef BUFFERPOOL_HOLDERS_H
#define BUFFERPOOL_HOLDERS_H

/* Writes what bufferpool_holders says to stderr, if anybody holds a buffer. */
void holders_say(void);

#endif
