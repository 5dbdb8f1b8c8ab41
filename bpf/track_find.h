/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Finds the slot in which the source of a packet is counted, if it is tracked. */
#ifndef PARAXIAL_TRACK_FIND_H
#define PARAXIAL_TRACK_FIND_H

#include "track_maps.h"

/* The daemon writes while the program reads: load once. */
#define TRACK_LOAD(x) (*(volatile typeof(x) *)&(x))

#define TRACK_SPILLED (1ull << 31)
#define TRACK_TAG 0x7ffe0000ull		/* the tag in an entry */
#define TRACK_SLOT 0x1ffffull
#define TRACK_USED (1ull << 30)
#define TRACK_IPV6 (1ull << 29)
#define TRACK_LEVEL_SHIFT 28
#define TRACK_HASH_SHIFT 17
#define TRACK_HASH_BITS 11
/* Copies a value into both halves of a word. */
#define TRACK_BOTH(x) ((x) | (x) << 32)

/* The source of a packet, in network order. The compiler knows the version at every use. */
struct source {
	__u32 version;		/* 4 or 6 */
	__u64 high;
	__u64 low;		/* or IPv4 */
};

static __always_inline struct source source_of_ipv4(const struct iphdr *ip)
{
	return (struct source){ .version = 4, .low = ip->saddr };
}

/* Four bytes at a time: the verifier knows no larger alignment of the address. */
static __always_inline struct source source_of_ipv6(const struct ipv6hdr *ip)
{
	const __be32 *addr = ip->saddr.in6_u.u6_addr32;

	return (struct source){
		.version = 6,
		.high = addr[0] | (__u64)addr[1] << 32,
		.low = addr[2] | (__u64)addr[3] << 32,
	};
}

/* The key of a source at a level. */
struct track_key {
	__u64 high;
	__u64 low;
	__u64 mixed;		/* to be hashed */
	__u64 tag;		/* in both halves, at its position in an entry */
};

/*
 * Multiply-shift, as in index_v6.h: two sources have the same group and tag with a
 * probability of about 2^-11 / groups, as long as the multiplier is secret.
 */
static __always_inline __u64 track_hash(const struct track_key *key, __u64 multiplier)
{
	return key->mixed * multiplier;
}

static __always_inline __u64 track_nh(__u64 x, __u32 a, __u32 b)
{
	return (__u64)((__u32)(x >> 32) + a) * (__u32)((__u32)x + b);
}

static __always_inline __u64 track_mix(const struct track_control *c, const struct track_key *key)
{
	__u64 mixed = track_nh(key->high, c->nh[0], c->nh[1]) + track_nh(key->low, c->nh[2], c->nh[3]);

	return mixed ^ mixed >> 32;
}

static __always_inline void track_tag(const struct track_control *c, struct track_key *key, __u64 tag)
{
	tag |= track_hash(key, c->home) >> (64 - TRACK_HASH_BITS) << TRACK_HASH_SHIFT;
	key->tag = TRACK_BOTH(tag);
}

static __always_inline void track_key_of(const struct track_control *c, const struct source *from, __u32 level,
					 struct track_key *key)
{
	const struct track_level *l = &c->levels[level];
	__u64 tag = TRACK_USED | (__u64)level << TRACK_LEVEL_SHIFT;

	if (from->version == 4) {
		key->high = 0;
		key->low = from->low & l->ipv4;
		key->mixed = key->low;
	} else {
		key->high = from->high & l->high;
		key->low = from->low & l->low;
		key->mixed = track_mix(c, key);
		tag |= TRACK_IPV6;
	}
	track_tag(c, key, tag);
}

/*
 * The key of a single address inside a source. It differs from the keys of levels, which
 * have a first half of 0 for IPv4 and bit 29 for IPv6. No IPv6 address that is tracked so
 * has a first half of 0.
 */
static __always_inline void track_single_key(const struct track_control *c, const struct source *from,
					     struct track_key *key)
{
	bool ipv4 = from->version == 4;

	key->high = ipv4 ? ~0ull : from->high;
	key->low = from->low;
	key->mixed = track_mix(c, key);
	track_tag(c, key, TRACK_USED | (ipv4 ? 1ull << TRACK_LEVEL_SHIFT : 0));
}

/* Returns the group for a hash, never NULL. */
static __always_inline __u64 *track_group(void *lines, const struct track_control *c, __u64 hash)
{
	__u32 mask = TRACK_LOAD(c->groups);
	__u32 group = (hash >> 32 & mask) + mask + 1;
	__u32 line = group >> 2;
	struct track_groups *groups = bpf_map_lookup_elem(lines, &line);

	return groups ? &groups->pairs[(group & 3) * 2] : NULL;
}

/* Bit 31 of each half is clear if that entry of the pair has the tag, else set. The bits below mean nothing. */
static __always_inline __u64 track_differ(__u64 pair, __u64 tag)
{
	return ((pair ^ tag) & TRACK_BOTH(TRACK_TAG)) + TRACK_BOTH(0x7fffffffull);
}

/*
 * Returns the line of the slot that the group has for a key, or 0. At most one entry
 * has the tag. It is selected without a branch, which would be mispredicted.
 */
static __always_inline __u32 track_slot_in(void *lines, const struct track_control *c, const struct track_key *key,
					   __u64 a, __u64 b)
{
	__u64 same_a = ~track_differ(a, key->tag) & TRACK_BOTH(TRACK_SPILLED);
	__u64 same_b = ~track_differ(b, key->tag) & TRACK_BOTH(TRACK_SPILLED);
	__u64 same = same_a | same_b;
	__u64 in_a = (__s64)(same_a | same_a << 32) >> 63;
	struct track_slot *found;
	__u64 entry;
	__u32 line;

	if (!same)
		return 0;
	entry = (b ^ ((a ^ b) & in_a)) >> (same >> 63 << 5);
	line = c->slots + (entry & TRACK_SLOT);
	found = bpf_map_lookup_elem(lines, &line);
	if (!found || found->high != key->high || found->low != key->low)
		return 0;
	return line;
}

/* Returns the line of the slot of a key, or 0. */
static __always_inline __u32 track_find_key(void *lines, const struct track_control *c, const struct track_key *key)
{
	__u64 *group, a, b;
	__u32 line;

	group = track_group(lines, c, track_hash(key, c->home));
	if (!group)
		return 0;
	a = TRACK_LOAD(group[0]);
	b = TRACK_LOAD(group[1]);
	/* Usually neither has it. No other branch depends on the contents of the group. */
	if (((track_differ(a, key->tag) & track_differ(b, key->tag)) | ~TRACK_BOTH(TRACK_SPILLED)) == ~0ull &&
	    !(a & TRACK_SPILLED))
		return 0;
	line = track_slot_in(lines, c, key, a, b);
	if (line || !(a & TRACK_SPILLED))
		return line;
	group = track_group(lines, c, track_hash(key, c->second));
	return group ? track_slot_in(lines, c, key, TRACK_LOAD(group[0]), TRACK_LOAD(group[1])) : 0;
}

/* Returns the line of the slot of a tracked source, or 0. */
static __always_inline __u32 track_find(void *lines, const struct track_control *c, const struct source *from,
					__u32 level)
{
	struct track_key key;

	track_key_of(c, from, level, &key);
	return track_find_key(lines, c, &key);
}

#endif
