/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_MAPS_H
#define PARAXIAL_MAPS_H

#include "types.h"
#include <bpf/bpf_helpers.h>

/*
 * The interface that this instance serves. Every interface runs its own copy of the
 * program over shared maps. The daemon writes the slot before load, so that it is a
 * constant for the verifier.
 */
volatile const __u32 slot = 0;

/*
 * Set for an instance that only answers what would happen to a packet. It takes
 * nothing from the limits, which it shares with the instances that filter. The daemon
 * writes this before load too.
 */
volatile const bool probe = false;

/* The daemon sets the real capacity of the tries before load. */
#define DEFAULT_ENTRIES 1024

/* Blocked prefixes, IPv4. The daemon writes, the program reads. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DEFAULT_ENTRIES);
	__type(key, struct lpm_v4);
	__type(value, struct verdict);
} block_v4 SEC(".maps");

/* Blocked prefixes, IPv6. The daemon writes, the program reads. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DEFAULT_ENTRIES);
	__type(key, struct lpm_v6);
	__type(value, struct verdict);
} block_v6 SEC(".maps");

/* Allowed prefixes, IPv4: they win over any block. The daemon writes, the program reads. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DEFAULT_ENTRIES);
	__type(key, struct lpm_v4);
	__type(value, struct allow);
} allow_v4 SEC(".maps");

/* Allowed prefixes, IPv6: they win over any block. The daemon writes, the program reads. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DEFAULT_ENTRIES);
	__type(key, struct lpm_v6);
	__type(value, struct allow);
} allow_v6 SEC(".maps");

/*
 * Packets and bytes by interface slot and reason. The program adds, each CPU to its
 * own copy. The daemon reads, and clears a slot before it gives it to another
 * interface.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SLOTS << REASON_BITS);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

/*
 * Packets that were dropped, or that a shadow entry would have dropped, by
 * verdict.hit_id: hits[id >> HIT_SEGMENT_BITS][id & (HIT_SEGMENT - 1)]. The counters
 * are in segments, so that a host with few entries needs little memory. They are not
 * in the trie value, because a trie update replaces the node and would lose the count.
 * The program adds. The daemon adds segments, reads through mapped memory, and clears
 * an id before it hands it out. Id 0 is not used.
 */
struct hit_segment {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, HIT_SEGMENT);
	__type(key, __u32);
	__type(value, __u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_HIT_SEGMENTS);
	__type(key, __u32);
	__array(values, struct hit_segment);
} hits SEC(".maps");

/*
 * Limits by verdict.limit_id, in segments as hits are. There is no segment before the
 * first limit. The daemon writes through mapped memory; the program reads, and adds to
 * tat. The daemon finds the limits of an earlier run by their owner.
 */
struct limit_segment {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LIMIT_SEGMENT);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct limit));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_LIMIT_SEGMENTS);
	__type(key, __u32);
	__array(values, struct limit_segment);
} limits SEC(".maps");

/*
 * The buckets for packets that pass although an entry would drop them, by interface
 * slot; see essential.h. The daemon writes costs and bursts through mapped memory, and
 * the program adds to the buckets.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_SLOTS);
	__type(key, __u32);
	__type(value, struct essential_buckets);
} essential SEC(".maps");

/*
 * The local ports of connections whose answers pass; see reply.h. The daemon writes both
 * fields as one word through mapped memory, the program reads.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct reply_ports);
} reply_ports SEC(".maps");

/*
 * Decides for which drops of the index the entry is looked up. Each CPU has its own
 * copy. The daemon reads how many were sampled.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct attribution);
} attribution SEC(".maps");

/*
 * The index in front of the tries, one per family, in lines of 64 bytes. index_v4.h
 * and index_v6_layout.h describe the lines, lines.h how to reach them. If element
 * INDEX_IN_FORCE is empty, there is no index and every packet asks the tries. The
 * daemon writes through mapped memory, the program reads. A change of the layout needs
 * a new name, because the program of an older version may still be reading. For a change
 * of the lines of a generation a new format is enough, since a program asks the tries if
 * it does not know the format.
 *
 * Sizes take the place of the types of key and value, because clang keeps no BTF of an
 * inner map's types.
 */
struct index_segment {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, INDEX_SEGMENT_LINES);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct index_line));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, INDEX_ELEMENTS);
	__type(key, __u32);
	__array(values, struct index_segment);
} index_v4 SEC(".maps"), index_v6 SEC(".maps");

/* No map uses the type. This keeps it in the BTF, which a test of the loader reads. */
const enum index_segments *index_segments_btf __attribute__((unused));

/* Reported drops, as struct drop_event. The program writes, the daemon reads. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

/*
 * How many more events may be written. The daemon sets it to the configured rate
 * every second and the program counts it down. So a flood of drops is no flood of
 * events, the cap needs no clock, and without a daemon no events are written.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __s64);
} event_credit SEC(".maps");

#endif
