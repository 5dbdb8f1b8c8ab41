/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The index of IPv6 sources is two hash tables. The "short" one holds prefixes of the
 * lengths (classes) /16, /32, /48, /56 and /64, the "host" one whole addresses, /128.
 * A prefix of another length is written as keys of these; see index/v6_keys.go.
 *
 * A generation begins with the header and the filter. The tag words of the short buckets
 * follow, then those of the host buckets, eight to a line; then the slots of the short
 * buckets, 16 bytes each, and those of the host buckets, two lines to a bucket. A bucket
 * has six slots and one tag word:
 *
 *	bits 10i..10i+9	tag of slot i, 0 if the slot is empty
 *	bits 60..63	set if a key whose tag in this bucket ends in 0..3 found no
 *			free slot: the key is in the next of its three buckets, or
 *			nowhere after the third
 *
 * The filter is asked first: it names the classes that may have a key for the source. For
 * most sources that are not listed it names none, and nothing else is read. It is a Bloom
 * filter, so it names some classes by mistake, but never leaves one out. The /32 of a source
 * chooses a line of it. In that line, a key has two bits at places that depend on its first
 * 48 bits and its class. So most sources end there too whose /32 has keys, but whose /48 has
 * none. Keys of the class /16 have no /32. They have a bit in a table of all /16s.
 *
 * The daemon sets the bits of a key before it writes the key, and never clears them. With 16
 * bits to a key, one source in twenty is looked up in a class by mistake. The filter is in
 * the first segment, which has 16 bits for each of a quarter of a million keys. With more
 * keys there are more mistakes. The places of bits depend on the secrets of the generation,
 * so nobody can choose prefixes that fill the filter. Many prefixes of one /32 fill its line.
 *
 * A source is looked up in all named classes at once. If no tag matches, it is not listed.
 * Otherwise the answers of all keys that cover it are combined.
 */
#ifndef PARAXIAL_INDEX_V6_LAYOUT_H
#define PARAXIAL_INDEX_V6_LAYOUT_H

#include "types.h"

#define V6_FORMAT 3

enum v6_class {
	V6_16,
	V6_32,
	V6_48,
	V6_56,
	V6_64,
	V6_128,
	V6_CLASSES,
};

/* Line 0. With a format other than V6_FORMAT, such as 0, the tries are asked. */
struct index_v6_header {
	__u8 format;
	__u8 classes;		/* bit 1 << enum v6_class is set if there are keys of the class */
	__u16 filter_lines;	/* from line V6_FILTER on; the short tags follow */
	__u32 short_buckets;
	__u32 host_buckets;
	__u32 host_tags;	/* line of the first */
	__u32 short_slots;	/* line of the first */
	__u32 bank;		/* see enum index_segments */
	__u32 nh[4];		/* secrets of the hash; see v6_mix() */
	__u64 salt;
	__u64 home;		/* odd */
	__u64 second;		/* odd */
};
_Static_assert(sizeof(struct index_v6_header) == sizeof(struct index_line), "the header is a line");
_Static_assert(__builtin_offsetof(struct index_v6_header, bank) == INDEX_BANK_OFFSET, "where the loader writes it");

/*
 * until is the deadline of the prefix's own drop, in ticks. TICK_NEVER says only that there
 * is an entry. V6_ALLOW says that the tries must be asked, whatever other keys say.
 */
#define V6_ALLOW 1u

struct v6_slot {
	__u64 prefix;		/* upper half of the address, masked */
	__u32 until;
	__u32 class;		/* 1 + enum v6_class; 0 if never used */
};

#define V6_LANES 6
#define V6_SLOTS_PER_LINE 4

/* Half of a host bucket: three slots. */
#define V6_HOSTS_PER_LINE 3

struct v6_hosts {
	struct {
		__u64 high;
		__u64 low;
	} addr[V6_HOSTS_PER_LINE];
	__u32 until[V6_HOSTS_PER_LINE];
	__u32 used;		/* for the writer */
};
_Static_assert(sizeof(struct v6_hosts) == sizeof(struct index_line), "three hosts are a line");

#define V6_CHOICES 3		/* of buckets for a key */
#define V6_LANE_BITS 10
#define V6_EACH_LANE (1ull | 1ull << 10 | 1ull << 20 | 1ull << 30 | 1ull << 40 | 1ull << 50)
#define V6_LANE_TOPS (V6_EACH_LANE << (V6_LANE_BITS - 1))
#define V6_TAGS ((1ull << 60) - 1)
#define V6_PASSED_SHIFT 60

/*
 * The combined answer of the keys that cover a source is the largest of these: 0 for
 * no key, V6_LISTED | until for a key, V6_ASK.
 */
#define V6_LISTED (1ull << 32)
#define V6_ASK (1ull << 33)

/* The probe for the key of one class. The stack has room for little more. */
struct v6_probe {
	__u64 found;		/* in the home bucket; see v6_found() */
	__u64 bucket;		/* the home bucket */
};

struct v6_place {
	__u32 bucket;
	__u64 tag;
};

/*
 * The lines from V6_WIDE on have a bit for each /16, for keys of the class V6_16. Those
 * from V6_FILTER on are the filter for the other classes.
 */
#define V6_WIDE 1
#define V6_LINE_BITS (8 * sizeof(struct index_line))
#define V6_FILTER (V6_WIDE + (1 << 16) / V6_LINE_BITS)

/*
 * Multiply-shift (Dietzfelbinger et al., 1997): two keys get the same place with a
 * probability of about 4 / (1023 * buckets). An attacker who chooses the keys cannot
 * raise it while the odd multiplier is secret.
 */
static __always_inline struct v6_place v6_place(__u64 mixed, __u64 multiplier, __u32 buckets)
{
	__u64 at = (mixed * multiplier >> 32) * buckets;

	return (struct v6_place){ .bucket = at >> 32, .tag = ((at & 0xffffffff) * 1023 >> 32) + 1 };
}

/*
 * NH of UMAC (RFC 4418): two inputs collide with a probability of 2^-32. The
 * shift breaks up arithmetic progressions, which multiply-shift would keep.
 */
static __always_inline __u64 v6_nh(__u64 x, __u32 a, __u32 b)
{
	return (__u64)((__u32)(x >> 32) + a) * (__u32)((__u32)x + b);
}

static __always_inline __u64 v6_mix(__u64 x)
{
	return x ^ x >> 32;
}

#endif
