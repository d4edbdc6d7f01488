/* SPDX-License-Identifier: MIT
 *
 * probes.h - static probes (USDT), for bpftrace, perf, SystemTap and gdb; docs/tracing.md says what each tells
 *
 * A probe is a nop, and a note in the file that says where it is and where its arguments are. Nobody needs to know here
 * whether somebody looks. So a probe stands on slow paths only, and passes what is in a register or in memory anyhow: nothing is
 * computed for it.
 *
 * They are there where <sys/sdt.h> is (Debian: systemtap-sdt-dev), unless BUFFERPOOL_NO_SDT is defined.
 */
#ifndef BUFFERPOOL_PROBES_H
#define BUFFERPOOL_PROBES_H

#if !defined(BUFFERPOOL_NO_SDT) && defined(__has_include)
#if __has_include(<sys/sdt.h>)
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#endif
#endif

/* PROBE(pool, name, argument...): the probe bufferpool:name, whose first argument is the pool's name. One more at least. */
#ifdef STAP_PROBEV
#define PROBE(pool, probe, ...) STAP_PROBEV(bufferpool, probe, (pool)->name, __VA_ARGS__)
#else
#define PROBE(pool, probe, ...) ((void)0)
#endif

#endif
