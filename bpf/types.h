/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The types that the program and the daemon share: enums, and the layout of map
 * keys and values. bpf2go generates the Go mirror from this file.
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
	REASON_SHADOW = 3,	/* passed, but a shadow entry would drop it */
	REASON_NOT_IP = 4,	/* neither IPv4 nor IPv6: ARP, LLDP, ... */
	REASON_VLAN_DEPTH = 5,	/* no longer used: more than two VLAN tags, which passed */
	REASON_MALFORMED = 6,	/* a header is cut short or contradicts itself */
	REASON_LIMITED = 7,	/* source over the rate of a limit */
	REASON_UNDER_LIMIT = 8,	/* source with a limit, within its rate */
	REASON_VLAN_EXCESS = 9,	/* more than eight VLAN tags: dropped, whatever the source */
	REASON_MPLS_EXCESS = 10, /* more than 30 MPLS labels: dropped, whatever the source */
	REASON_ESSENTIAL = 11,	/* the host needs it: passed, although an entry would drop it (essential.h) */
	REASON_ESSENTIAL_LIMITED = 12, /* the same, but over the rate for such packets: dropped */
	REASON_TUNNEL_HIDDEN = 13, /* in a tunnel, and its source cannot be read: dropped (tunnel.h) */
	REASON_REPLY = 14,	/* an answer that this host waits for: passed, although an entry would drop it (reply.h) */
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
 * All fields but prefixlen are in network byte order. Each family has its own
 * tries: in a trie of both, without a family bit, 42.0.0.0/8 would match 2a00::/8.
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
 * Effective verdict of a block node. Each deadline is the latest of the entry's own
 * and those of all entries that cover it, so that the longest match alone decides.
 * The size is 24 bytes: with more, a trie node would leave the 64-byte slab.
 */
struct verdict {
	__u32 drop_until;
	__u32 limit_until;	/* the latest among limits[limit_id].steps */
	__u32 shadow_until;
	__u32 limit_id;		/* index into limits[]; 0 = no limit */
	__u32 hit_id;		/* index into hits[]; 0 = not counted */
	__u32 strict_until;	/* until then, also answers to connections of this host are dropped or limited */
};
_Static_assert(sizeof(struct verdict) <= 24, "64-byte trie nodes");

struct allow {
	__u32 allow_until;
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

/* A segment of drop counters has 512 KiB. */
#define HIT_SEGMENT_BITS 16
#define HIT_SEGMENT (1u << HIT_SEGMENT_BITS)
#define MAX_HIT_SEGMENTS 512

/*
 * How drops that the index decides are counted for entries. In each window of 256
 * jiffies, the first ATTRIBUTE_EXACTLY drops of a CPU are counted exactly. Of the
 * others one in ATTRIBUTE_ONE_IN is counted, with that weight.
 */
#define ATTRIBUTE_EXACTLY 2048
#define ATTRIBUTE_ONE_IN 1024

struct attribution {
	__u64 window;
	__u64 drops;		/* in this window */
	__u64 sampled;		/* all drops so far that were counted by sampling */
};

/* A segment of limits has 256 KiB. */
#define LIMIT_SEGMENT_BITS 12
#define LIMIT_SEGMENT (1u << LIMIT_SEGMENT_BITS)
#define MAX_LIMIT_SEGMENTS 8192

#define LIMIT_STEPS 4
#define LIMIT_PER_BYTE (1ull << 63)
#define LIMIT_COST_SHIFT 16	/* cost is in 2^-16 ns */
#define LIMIT_TIME_SHIFT 4	/* tat is in 2^-4 ns: 10 Gbit/s is 0.8 ns a byte */
#define LIMIT_LONGEST (1u << 17)	/* bytes; packets merged by GRO are shorter */

/*
 * A limit has the token bucket of one entry, and the steps for sources whose longest
 * match with a limit is this entry. A step names the bucket that decides. The two are
 * separate because many prefixes, each with its own limits, can share the bucket of
 * an entry that covers them.
 *
 * The bucket is a GCRA: tat is the time at which it will be full again. A packet
 * passes while tat is no more than burst ahead of now.
 *
 * The lower half of a step is a deadline in ticks, the upper half the index of the
 * bucket in limits[]. The strictest step comes first and the deadlines grow, so that
 * the first live step is the strictest live one. 0 ends the list.
 */
struct limit {
	__u64 tat;		/* boot time; the program adds to it, the daemon writes all else */
	__u64 cost;		/* of a packet, or with LIMIT_PER_BYTE of a byte */
	__u64 owner;		/* by which the daemon finds the entry; 0 = free */
	__u32 burst;		/* microseconds */
	__u32 hit_id;		/* counter of its drops, as in struct verdict */
	__u64 steps[LIMIT_STEPS];
};
_Static_assert(sizeof(struct limit) == 64, "a limit is one cache line");

/* The kinds of essential packets, which have buckets of their own. */
enum essential_kind {
	ESSENTIAL_NONE = 0,	/* no essential packet */
	ESSENTIAL_ND = 1,	/* IPv6 neighbour discovery */
	ESSENTIAL_GROUPS = 2,	/* MLD and IGMP */
	ESSENTIAL_DHCPV4 = 3,
	ESSENTIAL_DHCPV6 = 4,
};

#define ESSENTIAL_KINDS 4
#define ESSENTIAL_ROW_BITS 5
#define ESSENTIAL_ROW (1u << ESSENTIAL_ROW_BITS)
#define ESSENTIAL_SHARES (ESSENTIAL_KINDS * 2 * ESSENTIAL_ROW)

/*
 * The buckets of an interface for essential packets; see take_essential(). The elements
 * of pools and shares are as tat of struct limit, and the program adds to them. The daemon
 * writes the other fields. No pool_cost turns the exception off.
 */
struct essential_buckets {
	__u64 pool_cost;	/* as cost of struct limit, in a bucket of pools */
	__u64 share_cost;	/* in a bucket of shares */
	__u32 pool_burst;	/* microseconds */
	__u32 share_burst;
	__u64 pools[ESSENTIAL_KINDS];
	__u64 shares[ESSENTIAL_SHARES];	/* two rows for each kind */
};

/* The local ports of connections that this host opens. No port is in it while first is after last. */
struct reply_ports {
	__u32 first;
	__u32 last;
};

#define INDEX_LINE_WORDS 8

/* One cache line of an index generation. */
struct index_line {
	__u64 words[INDEX_LINE_WORDS];
};

/*
 * An index generation consists of segments of 512 KiB, which are the elements of one
 * of two banks of the outer map. Element INDEX_IN_FORCE holds the first segment of the
 * generation in force too: storing it there puts the generation in force.
 */
enum index_segments {
	INDEX_SEGMENT_LINES = 8192,
	INDEX_BANK_ELEMENTS = 4096,
	INDEX_IN_FORCE = 2 * INDEX_BANK_ELEMENTS,
	INDEX_ELEMENTS,
};

/*
 * Offset in line 0 of the number of the bank's first element. The loader writes this
 * field, the index everything else.
 */
#define INDEX_BANK_OFFSET 20

/* The answer of the index for a source. */
enum index_answer {
	INDEX_ASK = 0,		/* ask the tries */
	INDEX_CLEAN = 1,	/* on no list */
	INDEX_DROP = 2,		/* dropped at this time */
};

/* The tunnels that are looked into, as bits of a constant of the program; see tunnel.h. */
enum tunnel_kinds {
	TUNNEL_GRE = 1,
	TUNNEL_IPIP = 2,
	TUNNEL_SIT = 4,
	TUNNEL_UDP = 8,		/* VXLAN or Geneve, at the ports that are set */
	TUNNEL_PORTS = 4,	/* for each of these two */
};

#define EVENT_PORTS 1		/* sport and dport are valid */
#define EVENT_FRAGMENT 2	/* the packet is an IP fragment */

/* A reported drop, or a packet that a shadow entry would drop. Addresses and ports are in network order. */
struct drop_event {
	__u64 time;		/* CLOCK_BOOTTIME, ns */
	__u32 slot;
	__u32 length;		/* whole frame, bytes */
	__u8 src[16];		/* IPv4 in the first four bytes */
	__be16 sport;
	__be16 dport;
	__u8 version;		/* 4 or 6 */
	__u8 proto;		/* of the transport, after IPv6 extension headers */
	__u8 reason;
	__u8 flags;
};

#endif
