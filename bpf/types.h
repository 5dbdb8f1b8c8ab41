/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the program and the daemon share: enums and the layout of map keys
 * and values. The Go mirror is generated from here by bpf2go; a test keeps
 * the reasons in step.
 */
#ifndef PARAXIAL_TYPES_H
#define PARAXIAL_TYPES_H

#include "vmlinux.h"

/*
 * Why a packet got its verdict. Each reason has one verdict, which only
 * reason_drops() states; a test of the loader compares its mirror with it.
 * Append only: the numbers are in pinned maps.
 */
enum reason {
	REASON_NOT_LISTED = 0,	/* source on no list */
	REASON_ALLOWED = 1,	/* source on an allow list */
	REASON_BLOCKED = 2,	/* source on a block list */
	REASON_SHADOW = 3,	/* would be dropped, were the entry armed */
	REASON_NOT_IP = 4,	/* neither IPv4 nor IPv6: ARP, LLDP, ... */
	REASON_VLAN_DEPTH = 5,	/* more than two VLAN tags: not looked into */
	REASON_MALFORMED = 6,	/* a header that is cut short or contradicts itself */
	REASON_LIMITED = 7,	/* source over the rate of a limit */
	REASON_UNDER_LIMIT = 8,	/* source on a list with a limit, and within its rate */
	REASON_COUNT,
};

/* Counters are keyed slot << REASON_BITS | reason. */
#define REASON_BITS 6
#define MAX_SLOTS 64
_Static_assert(REASON_COUNT <= 1 << REASON_BITS, "a reason must fit its key");

/*
 * Deadlines are CLOCK_BOOTTIME nanoseconds >> TICK_SHIFT (134 ms a tick),
 * rounded up when they are written. An entry is live while now < deadline.
 */
#define TICK_SHIFT 27
#define TICK_NEVER 0u
#define TICK_FOREVER 0xffffffffu

/*
 * Network byte order throughout. The tries are one per family: with one trie
 * and no family bit 42.0.0.0/8 would match 2a00::/8.
 */
struct lpm_v4 {
	__u32 prefixlen;
	__be32 addr;
};

struct lpm_v6 {
	__u32 prefixlen;
	__u8 addr[16];
};

/*
 * Effective verdict of a block node: each deadline is the latest among the
 * entry's own and all its covering entries', so that the longest match alone
 * decides. 20 bytes: a trie node with up to 24 stays in the 64-byte slab.
 */
struct verdict {
	__u32 drop_until;
	__u32 limit_until;	/* the latest among limits[limit_id].steps */
	__u32 shadow_until;
	__u32 limit_id;		/* index into limits[]; 0 = no limit */
	__u32 hit_id;		/* index into hits[]; 0 = not counted */
};
_Static_assert(sizeof(struct verdict) <= 24, "64-byte trie nodes");

struct allow {
	__u32 allow_until;
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

/* 512 KiB of drop counters at a time. */
#define HIT_SEGMENT_BITS 16
#define HIT_SEGMENT (1u << HIT_SEGMENT_BITS)
#define MAX_HIT_SEGMENTS 512

/*
 * Drops that the index decides are attributed to entries exactly while they are
 * few, and by sampling when they are many: the first ATTRIBUTE_EXACTLY drops of
 * a CPU in a window of 256 jiffies, and then one in ATTRIBUTE_ONE_IN with that
 * weight.
 */
#define ATTRIBUTE_EXACTLY 2048
#define ATTRIBUTE_ONE_IN 1024

struct attribution {
	__u64 window;
	__u64 drops;		/* in this window */
	__u64 sampled;		/* drops ever that were counted by sampling */
};

/* 256 KiB of limits at a time. */
#define LIMIT_SEGMENT_BITS 12
#define LIMIT_SEGMENT (1u << LIMIT_SEGMENT_BITS)
#define MAX_LIMIT_SEGMENTS 8192

#define LIMIT_STEPS 4
#define LIMIT_PER_BYTE (1ull << 63)
#define LIMIT_COST_SHIFT 16	/* cost is in 2^-16 ns, */
#define LIMIT_TIME_SHIFT 4	/* and tat in 2^-4 ns: 10 Gbit/s is 0.8 ns a byte */
#define LIMIT_LONGEST (1u << 17)	/* bytes: what GRO makes of many packets stays below */

/*
 * A limit: the token bucket of one entry, and which buckets may decide for a
 * source whose longest match with a limit is this entry's. They are apart,
 * because many prefixes share the bucket of one that covers them, each with
 * limits of its own.
 *
 * The bucket is a GCRA: tat is when it will be full again, and a packet passes
 * while that is not further away than burst.
 *
 * A step is a deadline in the lower half, in ticks, and the bucket's index in
 * limits[] in the upper. The strictest comes first, and the deadlines grow, so
 * the first live one is the strictest live one. 0 = no more.
 */
struct limit {
	__u64 tat;		/* boot time; the program adds, everything else is the daemon's */
	__u64 cost;		/* of a packet, or with LIMIT_PER_BYTE of a byte */
	__u64 owner;		/* which entry, for the daemon to know it by; 0 = free */
	__u32 burst;		/* microseconds */
	__u32 hit_id;		/* where its drops are counted, as in struct verdict */
	__u64 steps[LIMIT_STEPS];
};
_Static_assert(sizeof(struct limit) == 64, "a limit is one cache line");

#define INDEX_LINE_WORDS 8

/* One cache line of an index generation. */
struct index_line {
	__u64 words[INDEX_LINE_WORDS];
};

/*
 * An index generation is in segments, of 512 KiB, in the slots of one of two
 * banks; the one in force has its first segment in a slot of its own besides,
 * which is how it is put in force.
 */
enum index_segments {
	INDEX_SEGMENT_LINES = 8192,
	INDEX_BANK_SLOTS = 4096,
	INDEX_IN_FORCE = 2 * INDEX_BANK_SLOTS,
	INDEX_SLOTS,
};

/* Where in line 0 the bank is: its first slot. The loader's, all else is the index's. */
#define INDEX_BANK_OFFSET 20

/* What the index says of a source. */
enum index_answer {
	INDEX_ASK = 0,		/* ask the tries */
	INDEX_CLEAN = 1,	/* on no list */
	INDEX_DROP = 2,		/* dropped, now */
};

#define EVENT_PORTS 1		/* sport and dport are valid */
#define EVENT_FRAGMENT 2	/* the packet is an IP fragment */

/* A sampled drop or would-be drop. Addresses and ports in network order. */
struct drop_event {
	__u64 time;		/* CLOCK_BOOTTIME, ns */
	__u32 slot;
	__u32 length;		/* whole frame, bytes */
	__u8 src[16];		/* IPv4 in the first four bytes */
	__be16 sport;
	__be16 dport;
	__u8 version;		/* 4 or 6 */
	__u8 proto;		/* of the transport, past IPv6 extension headers */
	__u8 reason;
	__u8 flags;
};

#endif
