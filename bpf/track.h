/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the detectors are fed with. Of the packets that pass, one in so many is
 * reported, at random; from these the daemon learns which sources stand out, and
 * has those *tracked*: they alone are counted, exactly. So memory is constant
 * whatever the number of sources, and a source that is not tracked costs a hash
 * and the look at 16 bytes.
 *
 * All memory for that is one array of 64-byte lines, which exists only while
 * accounting is on:
 *
 *   index	of tracked sources, from line 0: a hash table of groups of four u32,
 *		four groups to a line. That of 2^n groups lies in groups 2^n to
 *		2^(n+1) - 1, so that the daemon can fill a larger one while this one
 *		is in use
 *   slots	from line track_control.slots, one for each tracked source
 *   ports	from line track_control.ports: for each destination port a u16, the
 *		detectors that want it
 *
 *   entry  31          30     29     28    27..17  16..0
 *          see below   used   IPv6   level tag     slot
 *
 * A source is in the group that its hash says, or in a second one: then bit 31 of
 * the first group's first entry is set. No two entries of a group are equal in bits
 * 17 to 30; the daemon sees to that. An entry only leads to a slot, whose key
 * decides, so what a reader meets while the daemon changes the index costs at
 * most the count of that packet.
 */
#ifndef PARAXIAL_TRACK_H
#define PARAXIAL_TRACK_H

#include "maps.h"
#include "packet.h"
#include "parse.h"

#define DETECTORS 12
#define TRACK_LEVELS 2

/*
 * What detectors tell packets apart by, in eight bits: CLASS_FRAGMENT, and either
 * CLASS_TCP with the flags of the TCP header, FIN the lowest and URG the highest,
 * or else an enum packet_kind.
 */
#define CLASS_FRAGMENT 0x80
#define CLASS_TCP 0x40
#define CLASS_TCP_FLAGS 0x3f
#define CLASSES 256

enum packet_kind {
	KIND_OTHER = 0,
	KIND_TCP = 1,		/* the header is not there: a later fragment, or cut short */
	KIND_UDP = 2,
	KIND_ICMP = 3,		/* and ICMPv6 */
};

/* What counts as one source: the bits of the address that are set here. Network order, as u64 and u32 of memory. */
struct track_level {
	__u64 high;		/* IPv6 */
	__u64 low;
	__u32 ipv4;
	__u32 detectors;	/* that count by this level; 0 = level not in use */
};

/*
 * active, groups, and sampling are changed at any time, each by a single store. All
 * else is changed only while active is 0 and no program runs that saw it set; so
 * a packet never meets two configurations.
 */
struct track_control {
	__u32 active;		/* 0 = nothing is accounted */
	__u32 groups;		/* of the index in use, less one */
	__u64 sampling;		/* above: of 2^32 packets so many are reported; below: what each stands for */
	__u64 seed;		/* of the choice of samples */
	__u32 slots;
	__u32 ports;
	__u64 home;		/* secrets of the hash, odd */
	__u64 second;
	__u32 nh[4];
	struct track_level levels[TRACK_LEVELS];
	__u32 by_bytes;		/* detectors that count bytes */
	__u32 by_port;		/* detectors that want certain ports */
	__u64 unused;
	__u16 classes[CLASSES];	/* detectors that want packets of a class */
	/* In a line of its own: the only thing here that the program writes. */
	__u64 lost;
	__u64 unused_line[7];
};
_Static_assert(__builtin_offsetof(struct track_control, lost) % 64 == 0, "what the program writes is on a line of its own");

/* A tracked source. The key is its address, masked. */
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

/* One packet of those that were sampled. Address and port in network order. */
struct packet_sample {
	__u8 src[16];		/* IPv4 in the first four bytes */
	__u32 length;		/* whole frame, bytes */
	__u32 weight;		/* how many packets it stands for */
	__u16 detectors;	/* that want it */
	__be16 dport;
	__u8 version;		/* 4 or 6 */
	__u8 class;
	__u8 proto;		/* of the transport, past IPv6 extension headers */
	__u8 flags;
};
_Static_assert(sizeof(struct packet_sample) == 32, "no padding");

/* No map has these types, so nothing else would keep them in the BTF that the Go mirror is made from. */
const struct packet_sample *packet_sample_btf __attribute__((unused));
const struct track_slot *track_slot_btf __attribute__((unused));

/* How to account. The daemon writes, through mapped memory; the program reads, and counts lost samples. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct track_control);
} tracking SEC(".maps");

/*
 * Index, slots and ports, in slot 0 while accounting is on. The daemon writes all
 * but the counters of slots, to which the program adds; the daemon reads them
 * through mapped memory. The daemon sets the size before load, the same for all
 * that are ever put here, and without BPF_F_INNER_MAP look-ups need no call.
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
 * Sampled packets, as struct packet_sample, in the ring that is in slot 0 while
 * accounting is on. The program writes, the daemon reads. Nobody is woken up: the
 * daemon looks from time to time.
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

/* The daemon writes while the program reads: load once. */
#define TRACK_LOAD(x) (*(volatile typeof(x) *)&(x))

#define TRACK_SPILLED (1ull << 31)
#define TRACK_TAG 0x7ffe0000ull		/* of an entry */
#define TRACK_SLOT 0x1ffffull
#define TRACK_USED (1ull << 30)
#define TRACK_IPV6 (1ull << 29)
#define TRACK_LEVEL_SHIFT 28
#define TRACK_HASH_SHIFT 17
#define TRACK_HASH_BITS 11
/* In both halves of a word. */
#define TRACK_BOTH(x) ((x) | (x) << 32)

/* The source of a packet, in network order. The version is known to the compiler wherever this is used. */
struct source {
	__u32 version;		/* 4 or 6 */
	__u64 high;
	__u64 low;		/* or IPv4 */
};

static __always_inline struct source source_of_ipv4(const struct iphdr *ip)
{
	return (struct source){ .version = 4, .low = ip->saddr };
}

/* By four bytes: on the verifier's stack the address is aligned to no more. */
static __always_inline struct source source_of_ipv6(const struct ipv6hdr *ip)
{
	const __be32 *addr = ip->saddr.in6_u.u6_addr32;

	return (struct source){
		.version = 6,
		.high = addr[0] | (__u64)addr[1] << 32,
		.low = addr[2] | (__u64)addr[3] << 32,
	};
}

/* A source at a level, on its way to its slot. */
struct track_key {
	__u64 high;
	__u64 low;
	__u64 mixed;		/* to be hashed */
	__u64 tag;		/* in both halves, at its place in an entry */
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

static __always_inline void track_key_of(const struct track_control *c, const struct source *from, __u32 level,
					 struct track_key *key)
{
	const struct track_level *l = &c->levels[level];
	__u64 mixed;

	if (from->version == 4) {
		key->high = 0;
		key->low = from->low & l->ipv4;
		key->mixed = key->low;
		key->tag = TRACK_USED;
	} else {
		key->high = from->high & l->high;
		key->low = from->low & l->low;
		mixed = track_nh(key->high, c->nh[0], c->nh[1]) + track_nh(key->low, c->nh[2], c->nh[3]);
		key->mixed = mixed ^ mixed >> 32;
		key->tag = TRACK_USED | TRACK_IPV6;
	}
	key->tag |= (__u64)level << TRACK_LEVEL_SHIFT;
	key->tag |= track_hash(key, c->home) >> (64 - TRACK_HASH_BITS) << TRACK_HASH_SHIFT;
	key->tag = TRACK_BOTH(key->tag);
}

/* The group that a hash says; NULL never happens. */
static __always_inline __u64 *track_group(void *lines, const struct track_control *c, __u64 hash)
{
	__u32 mask = TRACK_LOAD(c->groups);
	__u32 group = (hash >> 32 & mask) + mask + 1;
	__u32 line = group >> 2;
	struct track_groups *groups = bpf_map_lookup_elem(lines, &line);

	return groups ? &groups->pairs[(group & 3) * 2] : NULL;
}

/* Bit 31 of a half is clear if that entry of the pair has the tag. The others are set, and bits below mean nothing. */
static __always_inline __u64 track_differ(__u64 pair, __u64 tag)
{
	return ((pair ^ tag) & TRACK_BOTH(TRACK_TAG)) + TRACK_BOTH(0x7fffffffull);
}

/*
 * The line of the slot that the group has for a key, or 0. At most one entry has
 * the tag; it is singled out without a branch, which would be mispredicted.
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

/* The line of the slot of a tracked source, or 0. */
static __always_inline __u32 track_find(void *lines, const struct track_control *c, const struct source *from, __u32 level)
{
	struct track_key key;
	__u64 *group, a, b;
	__u32 line;

	track_key_of(c, from, level, &key);
	group = track_group(lines, c, track_hash(&key, c->home));
	if (!group)
		return 0;
	a = TRACK_LOAD(group[0]);
	b = TRACK_LOAD(group[1]);
	/* Mostly neither: no branch but this one depends on what the group holds. */
	if (((track_differ(a, key.tag) & track_differ(b, key.tag)) | ~TRACK_BOTH(TRACK_SPILLED)) == ~0ull &&
	    !(a & TRACK_SPILLED))
		return 0;
	line = track_slot_in(lines, c, &key, a, b);
	if (line || !(a & TRACK_SPILLED))
		return line;
	group = track_group(lines, c, track_hash(&key, c->second));
	return group ? track_slot_in(lines, c, &key, TRACK_LOAD(group[0]), TRACK_LOAD(group[1])) : 0;
}

/*
 * What the packet stands for if it is sampled, else 0. Every packet is taken with
 * the same probability, by a hash of its number on this CPU: there is no state
 * to keep and no call for random numbers, and without the seed nobody can tell
 * which packets it takes.
 */
static __always_inline __u32 sample_weight(const struct track_control *c, __u64 number)
{
	__u64 sampling = TRACK_LOAD(c->sampling);
	__u64 x = (number + c->seed) * 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
	return x >> 32 < sampling >> 32 ? sampling : 0;
}

/* A TCP header without what follows its flags, and how that begins. */
struct tcp_start {
	struct ports ports;
	__be32 sequence[2];
	__u8 offset;
	__u8 flags;
	__be16 window;
};

/*
 * What detectors look at, in one word: the class, whether there is a destination
 * port that can be seen, the protocol of the transport, and that port in network
 * order.
 */
#define SEEN_CLASS(seen) ((seen) & 0xff)
#define SEEN_PORT (1ull << 8)
#define SEEN_PROTO_SHIFT 16
#define SEEN_DPORT_SHIFT 32

static __always_inline __u64 seen_of(struct cursor *c, const struct transport *t)
{
	__u64 seen = (t->fragment ? CLASS_FRAGMENT : 0) | (__u64)t->proto << SEEN_PROTO_SHIFT;
	struct ports *ports = NULL;
	struct tcp_start *tcp;

	switch (t->proto) {
	case IPPROTO_TCP:
		tcp = t->first ? PARSE(struct tcp_start, c) : NULL;
		if (!tcp)
			return seen | KIND_TCP;
		seen |= CLASS_TCP | (tcp->flags & CLASS_TCP_FLAGS);
		ports = &tcp->ports;
		break;
	case IPPROTO_UDP:
		seen |= KIND_UDP;
		ports = t->first ? PARSE(struct ports, c) : NULL;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return seen | KIND_ICMP;
	}
	return ports ? seen | SEEN_PORT | (__u64)ports->dest << SEEN_DPORT_SHIFT : seen;
}

/* Of any packet. A function of its own for the same reasons as sample(). */
__attribute__((noinline)) __u64 seen_anyhow(struct xdp_md *ctx, __u32 l3_offset)
{
	struct cursor c = cursor_of(ctx);
	struct transport t;
	struct ipv6hdr *ip6;
	struct iphdr *ip;

	c.pos += l3_offset & 0x3f;
	if (c.pos + 1 > c.end)
		return 0;
	if (*(__u8 *)c.pos >> 4 == 4) {
		ip = parse_ipv4(&c);
		if (!ip)
			return 0;
		t = transport_ipv4(&c, ip);
	} else {
		ip6 = parse_ipv6(&c);
		if (!ip6)
			return 0;
		t = transport_ipv6(&c, ip6);
	}
	return seen_of(&c, &t);
}

/* Without a call unless there are options. The cursor is behind the header. */
static __always_inline __u64 seen_ipv4(const struct packet *p, const struct iphdr *ip)
{
	struct transport t = {
		.proto = ip->protocol,
		.fragment = ip->frag_off & bpf_htons(IPV4_FRAGMENT),
		.first = !(ip->frag_off & bpf_htons(IPV4_OFFSET)),
	};
	struct cursor c = p->c;

	if (ip->ihl > 5)
		return seen_anyhow(p->ctx, p->l3_offset);
	return seen_of(&c, &t);
}

/* Without a call unless there are extension headers. */
static __always_inline __u64 seen_ipv6(const struct packet *p, const struct ipv6hdr *ip)
{
	struct transport t = { .proto = ip->nexthdr, .first = true };
	struct cursor c = p->c;

	if (is_ipv6_extension(ip->nexthdr))
		return seen_anyhow(p->ctx, p->l3_offset);
	return seen_of(&c, &t);
}

/* The detectors that want a packet. */
static __always_inline __u32 detectors_of(void *lines, const struct track_control *c, __u64 seen)
{
	__u32 detectors = c->classes[SEEN_CLASS(seen)];
	__u32 port = bpf_ntohs(seen >> SEEN_DPORT_SHIFT), line = c->ports + port / 32;
	struct track_ports *ports;

	if (!(detectors & c->by_port))
		return detectors;
	ports = seen & SEEN_PORT ? bpf_map_lookup_elem(lines, &line) : NULL;
	if (!ports)
		return detectors & ~c->by_port;
	return detectors & (~c->by_port | ports->detectors[port & 31]);
}

/* Adds to the counters of a tracked source. */
static __always_inline void track_count(void *lines, const struct track_control *c, __u32 line, __u32 detectors,
					__u32 length)
{
	struct track_slot *found;
	int i;

	if (!line || !detectors)
		return;
	found = bpf_map_lookup_elem(lines, &line);
	if (!found)
		return;
#pragma unroll
	for (i = 0; i < DETECTORS; i++) {
		__u32 wanted = detectors & 1u << i, rest = detectors >> i;

		/* Opaque, or the verifier would note every bit and look at every set of detectors. */
		asm volatile("" : "+r"(wanted), "+r"(rest));
		if (i % 4 == 0 && !rest)
			break;
		if (wanted)
			__sync_fetch_and_add(&found->counters[i], c->by_bytes & 1u << i ? length : 1);
	}
}

#define BASE_COPY (40 + 16)	/* IPv6, and what detectors look at of the transport */

/*
 * A cursor over the IP header and what follows, wherever they are. Other than
 * headers_of() it has them at the start of the copy, because in a map, unlike in a
 * packet, the verifier takes no offset that varies.
 */
static __always_inline struct cursor base_header(struct xdp_md *ctx, __u32 l3_offset)
{
	struct cursor c = cursor_of(ctx);
#ifdef FRAGS
	__u64 length = bpf_xdp_get_buff_len(ctx);
	__u32 zero = 0;
	struct headers *copy = bpf_map_lookup_elem(&headers, &zero);

	if (!copy || length <= l3_offset)
		return (struct cursor){};
	length -= l3_offset;
	/* Opaque to the compiler, or the bound would be put on another copy of it. */
	asm volatile("" : "+r"(length));
	if (length > BASE_COPY)
		length = BASE_COPY;
	if (!length || bpf_xdp_load_bytes(ctx, l3_offset, copy->bytes, length))
		return (struct cursor){};
	return (struct cursor){ .pos = copy->bytes, .end = copy->bytes + length };
#endif
	c.pos += l3_offset;
	return c;
}

/*
 * Reports a packet that is sampled. A function of its own for the same reasons as
 * sample().
 */
__attribute__((noinline)) int report_sample(struct xdp_md *ctx, __u32 l3_offset, __u32 weight)
{
	struct packet_sample s = { .length = frame_length(ctx), .weight = weight };
	struct packet p = { .ctx = ctx, .l3_offset = l3_offset & 0x3f };
	__u32 zero = 0;
	struct track_control *control = bpf_map_lookup_elem(&tracking, &zero);
	void *lines = bpf_map_lookup_elem(&tracked, &zero);
	void *ring = bpf_map_lookup_elem(&samples, &zero);
	struct ipv6hdr *ip6;
	struct iphdr *ip;
	__u64 seen;

	if (!control || !lines)
		return 0;
	p.c = base_header(ctx, p.l3_offset);
	if (!p.c.pos || p.c.pos + 1 > p.c.end)
		return 0;
	s.version = *(__u8 *)p.c.pos >> 4;
	if (s.version == 4) {
		ip = parse_ipv4(&p.c);
		if (!ip)
			return 0;
		__builtin_memcpy(s.src, &ip->saddr, sizeof(ip->saddr));
		seen = seen_ipv4(&p, ip);
	} else {
		ip6 = parse_ipv6(&p.c);
		if (!ip6)
			return 0;
		__builtin_memcpy(s.src, &ip6->saddr, sizeof(s.src));
		seen = seen_ipv6(&p, ip6);
	}
	s.detectors = detectors_of(lines, control, seen);
	s.class = SEEN_CLASS(seen);
	s.proto = seen >> SEEN_PROTO_SHIFT;
	s.flags = seen & SEEN_PORT ? SAMPLE_PORT : 0;
	s.dport = seen >> SEEN_DPORT_SHIFT;
	if (!ring || bpf_ringbuf_output(ring, &s, sizeof(s), BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&control->lost, 1);
	return 0;
}

/* Where a tracked source is counted: lines of its slots at the two levels, or 0. */
struct track_place {
	void *lines;
	__u32 first;
	__u32 second;
};

/* Is accounting on, and the source tracked? */
static __always_inline bool track_source(struct packet *p, const struct source *from, struct track_place *place)
{
	__u32 zero = 0;
	struct track_control *c = bpf_map_lookup_elem(&tracking, &zero);

	if (!c || !TRACK_LOAD(c->active))
		return false;
	place->lines = bpf_map_lookup_elem(&tracked, &zero);
	if (!place->lines)
		return false;
	p->control = c;
	place->first = track_find(place->lines, c, from, 0);
	place->second = c->levels[1].detectors ? track_find(place->lines, c, from, 1) : 0;
	return place->first | place->second;
}

static __always_inline void track_counts(const struct packet *p, const struct track_place *place, __u64 seen)
{
	const struct track_control *c = p->control;
	__u32 detectors = detectors_of(place->lines, c, seen);

	track_count(place->lines, c, place->first, detectors & c->levels[0].detectors, p->length);
	track_count(place->lines, c, place->second, detectors & c->levels[1].detectors, p->length);
}

static __always_inline void account_ipv4(struct packet *p, const struct iphdr *ip)
{
	struct source from = source_of_ipv4(ip);
	struct track_place place;

	if (track_source(p, &from, &place))
		track_counts(p, &place, seen_ipv4(p, ip));
}

static __always_inline void account_ipv6(struct packet *p, const struct ipv6hdr *ip)
{
	struct source from = source_of_ipv6(ip);
	struct track_place place;

	if (track_source(p, &from, &place))
		track_counts(p, &place, seen_ipv6(p, ip));
}

/* Reports the packet if it is sampled; number: among those of this CPU. */
static __always_inline void sample_accounted(struct packet *p, __u64 number)
{
	__u32 weight;

	if (!p->control)
		return;
	weight = sample_weight(p->control, number);
	if (weight)
		report_sample(p->ctx, p->l3_offset, weight);
}

#endif
