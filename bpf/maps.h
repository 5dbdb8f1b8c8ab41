/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_MAPS_H
#define PARAXIAL_MAPS_H

#include "types.h"
#include <bpf/bpf_helpers.h>

/*
 * Which interface this instance serves. Every interface runs its own copy of
 * the program over shared maps. Written by the daemon before load, constant
 * for the verifier afterwards.
 */
volatile const __u32 slot = 0;

/*
 * Whether this instance only answers what would happen. Then it takes nothing
 * from the limits, which it shares with those that filter. Set as slot is.
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

/* Allowed prefixes, IPv4: they win over any block. Daemon writes, program reads. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DEFAULT_ENTRIES);
	__type(key, struct lpm_v4);
	__type(value, struct allow);
} allow_v4 SEC(".maps");

/* Allowed prefixes, IPv6: they win over any block. Daemon writes, program reads. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DEFAULT_ENTRIES);
	__type(key, struct lpm_v6);
	__type(value, struct allow);
} allow_v6 SEC(".maps");

/*
 * Packets and bytes by interface slot and reason. The program adds, each CPU
 * to its own copy; the daemon reads and clears a slot it hands out again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SLOTS << REASON_BITS);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

/*
 * Packets dropped (or, for shadow, that would have been) by verdict.hit_id:
 * hits[id >> HIT_SEGMENT_BITS][id & (HIT_SEGMENT - 1)]. In segments, so that a
 * host with few entries pays for few. Not in the trie value, because a trie
 * update replaces the node and would lose the count. The program adds; the
 * daemon adds segments, reads through mapped memory, and clears an id before it
 * hands it out. Id 0 is nobody's.
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
 * Limits, by verdict.limit_id, in segments as hits are: none before the first
 * limit. The daemon writes through mapped memory, the program reads, and adds to
 * tat. What the daemon takes over from an earlier run it finds by owner.
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
 * When to look up who a drop counts for, if the index has decided it. Each CPU
 * keeps its own; nobody else reads it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct attribution);
} attribution SEC(".maps");

/*
 * The index in front of the tries, one per family, in lines of 64 bytes: see
 * index_v4.h, index_v6.h, and lines.h for how they are reached. Nothing in slot
 * INDEX_IN_FORCE means that there is no index yet, and every packet asks the
 * tries. The daemon writes through mapped memory, the program reads. A change of
 * the layout needs a new name, since the program of an older version may still
 * be reading.
 *
 * The sizes of key and value stand for their types, because clang keeps no BTF
 * of an inner map's.
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
	__uint(max_entries, INDEX_SLOTS);
	__type(key, __u32);
	__array(values, struct index_segment);
} index_v4 SEC(".maps"), index_v6 SEC(".maps");

/* No map has the type, so nothing else would keep it in the BTF that a test of the loader reads. */
const enum index_segments *index_segments_btf __attribute__((unused));

/* Sampled drops, as struct drop_event. The program writes, the daemon reads. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

/*
 * How many more events may be written. The daemon sets it to the configured
 * rate every second and the program counts it down, so a flood of drops is
 * never a flood of events, the cap costs no clock, and with the daemon dead
 * nothing is written for nobody.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __s64);
} event_credit SEC(".maps");

#endif
