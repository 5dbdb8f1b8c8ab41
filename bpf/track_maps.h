/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The input of the detectors. A random sample of the packets that pass is reported.
 * From these samples the daemon chooses sources to be *tracked*: only they are counted,
 * exactly. So memory does not depend on the number of sources, and a source that is not
 * tracked costs a hash and a read of 16 bytes.
 *
 * All memory for this is one array of 64-byte lines, which exists only while accounting
 * is on:
 *
 *   index	of tracked sources, from line 0: a hash table of groups of four u32,
 *		four groups to a line. An index of 2^n groups is in groups 2^n to
 *		2^(n+1) - 1, so that the daemon can fill a larger one while this one
 *		is in use
 *   slots	from line track_control.slots, one for each tracked source
 *   ports	from line track_control.ports: a u16 for each destination port, the
 *		detectors that match it
 *
 *   entry  31          30     29     28    27..17  16..0
 *          see below   used   IPv6   level tag     slot
 *
 * A source is in the group that its hash gives, or in a second group. In that case bit
 * 31 of the first entry of the first group is set. The daemon makes sure that no two
 * entries of a group are equal in bits 17 to 30. The key of a single address inside a source (see
 * track_single_key()) has bit 29 clear, and its first half is not 0. An entry only leads to a
 * slot, and the key in the slot decides. So a reader that meets a change of the index by the
 * daemon loses the count of one packet at most.
 */
#ifndef PARAXIAL_TRACK_MAPS_H
#define PARAXIAL_TRACK_MAPS_H

#include "maps.h"

#define DETECTORS 12
#define TRACK_LEVELS 2

/*
 * The class of a packet, by which detectors tell packets apart, has eight bits:
 * CLASS_FRAGMENT, and either CLASS_TCP with the flags of the TCP header, FIN the lowest
 * and URG the highest, or an enum packet_kind.
 */
#define CLASS_FRAGMENT 0x80
#define CLASS_TCP 0x40
#define CLASS_TCP_FLAGS 0x3f
#define CLASSES 256

enum packet_kind {
	KIND_OTHER = 0,
	KIND_TCP = 1,		/* without its header: a later fragment, or cut short */
	KIND_UDP = 2,
	KIND_ICMP = 3,		/* and ICMPv6 */
	KIND_HIDDEN = 4,	/* struct transport.hidden: counts for every detector */
	KIND_TINY = 5,		/* struct transport.tiny: counts for detectors of TCP with any flags */
};

/* The bits of the address that tell sources apart, in network order, as u64 and u32 of memory. */
struct track_level {
	__u64 high;		/* IPv6 */
	__u64 low;
	__u32 ipv4;
	__u32 detectors;	/* that count at this level; 0 = level not in use */
};

/*
 * active, groups, sampling and single_* may change at any time, each by a single store. All other
 * fields change only while active is 0 and no program runs that saw it set. So a packet
 * never meets two configurations.
 */
struct track_control {
	__u32 active;		/* 0 = nothing is accounted */
	__u32 groups;		/* of the index in use, less one */
	__u64 sampling;		/* upper half: packets reported of 2^32; lower: how many each stands for */
	__u64 seed;		/* for the choice of samples */
	__u32 slots;
	__u32 ports;
	__u64 home;		/* secrets of the hash, odd */
	__u64 second;
	__u32 nh[4];
	struct track_level levels[TRACK_LEVELS];
	__u32 by_bytes;		/* detectors that count bytes */
	__u32 by_port;		/* detectors that match ports */
	/* Detectors that also count single addresses inside a tracked source; 0 = none is tracked. */
	__u32 single_ipv4;
	__u32 single_ipv6;
	__u16 classes[CLASSES];	/* detectors that match packets of a class */
	/* On a line of its own, because the program writes it, and no other field. */
	__u64 lost;
	__u64 unused_line[7];
};
_Static_assert(__builtin_offsetof(struct track_control, lost) % 64 == 0, "the program writes a line of its own");

/* A tracked source. Its masked address is the key. */
struct track_slot {
	__u64 high;		/* IPv6, the first half; 0 for IPv4 */
	__u64 low;
	__u32 counters[DETECTORS];
};
_Static_assert(sizeof(struct track_slot) == 64, "a slot is a line");

struct track_groups {
	__u64 pairs[8];		/* group i: pairs 2i and 2i + 1 */
};

struct track_ports {
	__u16 detectors[32];
};

#define SAMPLE_PORT 1		/* dport is valid */

/* A sampled packet. Address and port are in network order. */
struct packet_sample {
	__u8 src[16];		/* IPv4 in the first four bytes */
	__u32 length;		/* whole frame, bytes */
	__u32 weight;		/* how many packets it stands for */
	__u16 detectors;	/* that match it */
	__be16 dport;
	__u8 version;		/* 4 or 6 */
	__u8 class;
	__u8 proto;		/* of the transport, after IPv6 extension headers */
	__u8 flags;
};
_Static_assert(sizeof(struct packet_sample) == 32, "no padding");

/* No map uses these types. This keeps them in the BTF, from which the Go mirror is generated. */
const struct packet_sample *packet_sample_btf __attribute__((unused));
const struct track_slot *track_slot_btf __attribute__((unused));

/* How to account. The daemon writes through mapped memory; the program reads, and counts lost samples. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct track_control);
} tracking SEC(".maps");

/*
 * Index, slots and ports, in element 0 while accounting is on. The daemon writes all
 * but the counters of slots. The program adds to these, and the daemon reads them
 * through mapped memory. The daemon sets the size before load. All arrays that are put
 * here have this size, without BPF_F_INNER_MAP, so that look-ups need no call.
 */
struct track_lines {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct track_slot));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct track_lines);
} tracked SEC(".maps");

/*
 * Sampled packets, as struct packet_sample, in the ring that is in element 0 while
 * accounting is on. The program writes, the daemon reads. There is no wakeup, because
 * the daemon polls.
 */
struct sample_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct sample_ring);
} samples SEC(".maps");

#endif
