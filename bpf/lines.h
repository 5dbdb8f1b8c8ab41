/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_LINES_H
#define PARAXIAL_LINES_H

#include "maps.h"

/*
 * How the program reaches the lines of an index generation. A look-up in an array
 * whose size is known at load time is a few instructions. In any other array it is a
 * call into the kernel, which costs some 3 ns on CPUs with a mitigation for returns.
 * Therefore all segments have the same size.
 */

/* The first segment of the generation in force, NULL if there is none. */
static __always_inline void *index_first(void *index)
{
	__u32 at = INDEX_IN_FORCE;

	return bpf_map_lookup_elem(index, &at);
}

/* A line of the first segment, without the look-up of the segment that index_line() needs. */
static __always_inline void *index_first_line(void *first, __u32 line)
{
	return bpf_map_lookup_elem(first, &line);
}

/* Line 0 of the generation in force, NULL if there is none. */
static __always_inline void *index_header(void *index)
{
	void *first = index_first(index);

	return first ? index_first_line(first, 0) : NULL;
}

/* A line of the generation in that bank. NULL never happens. */
static __always_inline void *index_line(void *index, __u32 bank, __u32 line)
{
	__u32 at = bank + line / INDEX_SEGMENT_LINES, within = line % INDEX_SEGMENT_LINES;
	void *segment = bpf_map_lookup_elem(index, &at);

	return segment ? bpf_map_lookup_elem(segment, &within) : NULL;
}

#endif
