/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_LINES_H
#define PARAXIAL_LINES_H

#include "maps.h"

/*
 * How the program gets to the lines of an index generation. What it costs is
 * calls: the look-up in an array whose size is known at load time is a few
 * instructions, in any other array it is a call of the kernel, and on CPUs that
 * must guard their returns each costs some 3 ns. Hence segments of equal size.
 */

/* Line 0 of the generation in force, NULL if there is none. */
static __always_inline void *index_header(void *index)
{
	__u32 at = INDEX_IN_FORCE, zero = 0;
	void *segment = bpf_map_lookup_elem(index, &at);

	return segment ? bpf_map_lookup_elem(segment, &zero) : NULL;
}

/* A line of the generation in that bank. NULL never happens. */
static __always_inline void *index_line(void *index, __u32 bank, __u32 line)
{
	__u32 at = bank + line / INDEX_SEGMENT_LINES, within = line % INDEX_SEGMENT_LINES;
	void *segment = bpf_map_lookup_elem(index, &at);

	return segment ? bpf_map_lookup_elem(segment, &within) : NULL;
}

#endif
