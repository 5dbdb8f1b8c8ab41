/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_CLOCK_H
#define PARAXIAL_CLOCK_H

#include "types.h"
#include <bpf/bpf_helpers.h>

/* The boot clock is read (40 ns) once a packet at most, and only for a finite deadline or a limit. */
struct clock {
	__u64 ns;
};

static __always_inline __u64 boot_ns(struct clock *clock)
{
	if (!clock->ns)
		clock->ns = bpf_ktime_get_boot_ns();
	return clock->ns;
}

static __always_inline bool live(struct clock *clock, __u32 until)
{
	if (until == TICK_NEVER)
		return false;
	if (until == TICK_FOREVER)
		return true;
	return boot_ns(clock) >> TICK_SHIFT < until;
}

#endif
