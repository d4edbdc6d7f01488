/* SPDX-License-Identifier: MIT
 *
 * probes.h - static probes (USDT), for bpftrace, perf, SystemTap and gdb; docs/tracing.md says what each tells
 *
 * A probe is a nop, and a note in the file that says where the nop is and where its arguments are. The library does not
 * know whether a tracer looks at it. So a probe stands on slow paths only, and passes values that are in a register or
 * in memory anyway: nothing is computed for it. A bool goes as an int, since gdb does not know the names of all 8-bit
 * registers.
 *
 * Probes are built in if <sys/sdt.h> is there (Debian: systemtap-sdt-dev) and BUFFERPOOL_NO_SDT is not defined.
 */
#ifndef BUFFERPOOL_PROBES_H
#define BUFFERPOOL_PROBES_H

#if !defined(BUFFERPOOL_NO_SDT) && defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#ifdef __clang__ /* blames each use of a macro for what the header does: it calls a macro without its `...` */
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif
#endif
#endif

/* PROBEn(pool, name, argument...): the probe bufferpool:name, whose first argument is the pool's name, with n more. */
#ifdef STAP_PROBE
#define PROBE1(pool, probe, a)       STAP_PROBE2(bufferpool, probe, (pool)->name, a)
#define PROBE2(pool, probe, a, b)    STAP_PROBE3(bufferpool, probe, (pool)->name, a, b)
#define PROBE3(pool, probe, a, b, c) STAP_PROBE4(bufferpool, probe, (pool)->name, a, b, c)
#else
#define PROBE1(pool, probe, a)       ((void)0)
#define PROBE2(pool, probe, a, b)    ((void)0)
#define PROBE3(pool, probe, a, b, c) ((void)0)
#endif

#endif
