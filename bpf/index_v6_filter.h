/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The filter that is asked before a source is looked up; index_v6_layout.h describes it. */
#ifndef PARAXIAL_INDEX_V6_FILTER_H
#define PARAXIAL_INDEX_V6_FILTER_H

#include "index_v6_layout.h"
#include "lines.h"

/* Returns which line of the filter a network has. The network is the first 32 bits. */
static __always_inline __u32 v6_filter_line(const struct index_v6_header *h, __u32 network)
{
	return (v6_mix(network * h->home) * h->salt >> 32) * h->filter_lines >> 32;
}

/*
 * Returns the classes that may have a key with these first 48 bits, and other bits that
 * mean nothing. One of the key's two bits is in the lower half of the word, and the other
 * in the upper half.
 */
static __always_inline __u64 v6_sift(const struct index_v6_header *h, const struct index_line *line, __u64 site)
{
	__u64 spot = site * h->second;
	__u64 word = *(volatile __u64 *)&line->words[spot >> 61];

	return word >> (spot >> 56 & 31) & word >> 27 >> (spot >> 51 & 31);
}

#define V6_LONG_CLASSES (1 << V6_48 | 1 << V6_56 | 1 << V6_64 | 1 << V6_128)

/* Returns the classes that may have a key for the source: bit 1 << enum v6_class. */
static __always_inline __u32 v6_filter(void *first, const struct index_v6_header *h, __u64 high)
{
	__u32 classes = h->classes;
	struct index_line *line;
	__u64 found;

	if (!classes)
		return 0;
	line = index_first_line(first, V6_FILTER + v6_filter_line(h, high >> 32));
	if (!line)
		return classes;
	found = (v6_sift(h, line, high >> 32 << 16) & 1 << V6_32) | (v6_sift(h, line, high >> 16) & V6_LONG_CLASSES);
	if (classes & 1 << V6_16) {
		line = index_first_line(first, V6_WIDE + (high >> 48) / V6_LINE_BITS);
		if (!line)
			return classes;
		found |= (*(volatile __u64 *)&line->words[high >> 54 & 7] >> (high >> 48 & 63) & 1) << V6_16;
	}
	return classes & found;
}

#endif
