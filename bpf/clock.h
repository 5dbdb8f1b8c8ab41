/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_CLOCK_H
#define PARAXIAL_CLOCK_H

#include "types.h"
#include <bpf/bpf_helpers.h>

/* Reads the boot clock (40 ns) at most once a packet, and only if a matched deadline is finite. */
struct clock {
	__u32 now;
};

static __always_inline bool live(struct clock *clock, __u32 until)
{
	if (until == TICK_NEVER)
		return false;
	if (until == TICK_FOREVER)
		return true;
	if (!clock->now)
		clock->now = bpf_ktime_get_boot_ns() >> TICK_SHIFT;
	return clock->now < until;
}

#endif
