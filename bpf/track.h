/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Extracts what detectors need of a packet, and updates samples and counters; see track_maps.h. */
#ifndef PARAXIAL_TRACK_H
#define PARAXIAL_TRACK_H

#include "packet.h"
#include "parse.h"
#include "track_find.h"

/*
 * Returns how many packets this one stands for if it is sampled, else 0. Every packet
 * is sampled with the same probability, by a hash of its number on this CPU. This needs
 * no state and no call for random numbers. Without the seed nobody can predict which
 * packets are sampled.
 */
static __always_inline __u32 sample_weight(const struct track_control *c, __u64 number)
{
	__u64 sampling = TRACK_LOAD(c->sampling);
	__u64 x = (number + c->seed) * 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
	return x >> 32 < sampling >> 32 ? sampling : 0;
}

/*
 * The fields that detectors look at are packed into one word: the class, whether the
 * destination port is known, the protocol of the transport, and the port in network
 * order.
 */
#define SEEN_CLASS(seen) ((seen) & 0xff)
#define SEEN_PORT (1ull << 8)
#define SEEN_PROTO_SHIFT 16
#define SEEN_DPORT_SHIFT 32

/* The cursor is at the transport. */
static __always_inline __u64 seen_of(struct cursor *c, const struct transport *t)
{
	__u64 seen = (t->fragment ? CLASS_FRAGMENT : 0) | (__u64)t->proto << SEEN_PROTO_SHIFT;
	struct ports *ports = NULL;
	struct tcp_start *tcp;

	if (t->hidden)
		return seen | KIND_HIDDEN;
	switch (t->proto) {
	case IPPROTO_TCP:
		tcp = t->first && !t->tiny ? PARSE(struct tcp_start, c) : NULL;
		if (tcp) {
			seen |= CLASS_TCP | (tcp->flags & CLASS_TCP_FLAGS);
			ports = &tcp->ports;
		} else if (t->tiny) {
			seen |= KIND_TINY;
			ports = PARSE(struct ports, c);
		} else {
			seen |= KIND_TCP;
		}
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

/* Parses any packet. It is a global function for the same reasons as report_drop(). */
__attribute__((noinline)) __u64 seen_anyhow(struct xdp_md *ctx, __u32 l3_offset)
{
	struct transport t;
	struct ipv6hdr *ip6;
	struct iphdr *ip;
	struct cursor c;

	l3_offset &= L3_OFFSET_MASK;
	c = headers_at(ctx, l3_offset);
	if (!c.pos || c.pos + 1 > c.end)
		return 0;
	if (*(__u8 *)c.pos >> 4 == 4) {
		ip = parse_ipv4(&c);
		if (!ip)
			return 0;
		t = transport_ipv4(ip, l3_offset);
	} else {
		ip6 = parse_ipv6(&c);
		if (!ip6)
			return 0;
		t = transport_ipv6(ctx, ip6, l3_offset);
	}
	c = headers_at(ctx, t.offset);
	return seen_of(&c, &t);
}

/* Makes no call unless there are options. The cursor is behind the header. */
static __always_inline __u64 seen_ipv4(const struct packet *p, const struct iphdr *ip)
{
	struct transport t;
	struct cursor c = p->c;

	if (ip->ihl > 5)
		return seen_anyhow(p->ctx, p->l3_offset);
	t = transport_ipv4(ip, p->l3_offset);
	return seen_of(&c, &t);
}

/* Makes no call unless there are extension headers. */
static __always_inline __u64 seen_ipv6(const struct packet *p, const struct ipv6hdr *ip)
{
	struct transport t = { .proto = ip->nexthdr, .first = true };
	struct cursor c = p->c;

	if (is_ipv6_extension(ip->nexthdr))
		return seen_anyhow(p->ctx, p->l3_offset);
	return seen_of(&c, &t);
}

/* Returns the detectors that count a packet. */
static __always_inline __u32 detectors_of(void *lines, const struct track_control *c, __u64 seen)
{
	__u32 detectors = c->classes[SEEN_CLASS(seen)];
	__u32 port = bpf_ntohs(seen >> SEEN_DPORT_SHIFT), line = c->ports + port / 32;
	struct track_ports *ports;

	if (!(detectors & c->by_port))
		return detectors;
	ports = seen & SEEN_PORT ? bpf_map_lookup_elem(lines, &line) : NULL;
	/* A hidden transport may have any port. */
	if (!ports)
		return (SEEN_CLASS(seen) & ~CLASS_FRAGMENT) == KIND_HIDDEN ? detectors : detectors & ~c->by_port;
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

		/* Opaque: otherwise the verifier tracks every bit and checks every set of detectors. */
		asm volatile("" : "+r"(wanted), "+r"(rest));
		if (i % 4 == 0 && !rest)
			break;
		if (wanted)
			__sync_fetch_and_add(&found->counters[i], c->by_bytes & 1u << i ? length : 1);
	}
}

/*
 * Counts a packet for the single address that it comes from, if that is tracked. This is a
 * function of its own, because only packets of tracked sources get here, and only while a
 * single address is tracked.
 */
static __attribute__((noinline)) int track_single(void *lines, const struct track_control *c,
						  const struct source *from, __u32 detectors, __u32 length)
{
	struct track_key key;

	track_single_key(c, from, &key);
	track_count(lines, c, track_find_key(lines, c, &key), detectors, length);
	return 0;
}

/*
 * Reports a packet that is sampled. It is a global function for the same reasons as
 * report_drop().
 */
__attribute__((noinline)) int report_sample(struct xdp_md *ctx, __u32 l3_offset, __u32 weight)
{
	struct packet_sample s = { .length = frame_length(ctx), .weight = weight };
	struct packet p = { .ctx = ctx, .l3_offset = l3_offset & L3_OFFSET_MASK };
	__u32 zero = 0;
	struct track_control *control = bpf_map_lookup_elem(&tracking, &zero);
	void *lines = bpf_map_lookup_elem(&tracked, &zero);
	void *ring = bpf_map_lookup_elem(&samples, &zero);
	struct ipv6hdr *ip6;
	struct iphdr *ip;
	__u64 seen;

	if (!control || !lines)
		return 0;
	p.c = headers_at(ctx, p.l3_offset);
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

/* The counters of a tracked source: the lines of its slots at the two levels, or 0. */
struct track_place {
	void *lines;
	__u32 first;
	__u32 second;
};

/* Returns whether accounting is on and the source is tracked. */
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

static __always_inline void track_counts(const struct packet *p, const struct source *from,
					 const struct track_place *place, __u64 seen)
{
	const struct track_control *c = p->control;
	__u32 detectors = detectors_of(place->lines, c, seen);
	__u32 single = detectors & (from->version == 4 ? TRACK_LOAD(c->single_ipv4) : TRACK_LOAD(c->single_ipv6));

	track_count(place->lines, c, place->first, detectors & c->levels[0].detectors, p->length);
	track_count(place->lines, c, place->second, detectors & c->levels[1].detectors, p->length);
	if (single)
		track_single(place->lines, c, from, single, p->length);
}

static __always_inline void account_ipv4(struct packet *p, const struct iphdr *ip)
{
	struct source from = source_of_ipv4(ip);
	struct track_place place;

	if (track_source(p, &from, &place))
		track_counts(p, &from, &place, seen_ipv4(p, ip));
}

static __always_inline void account_ipv6(struct packet *p, const struct ipv6hdr *ip)
{
	struct source from = source_of_ipv6(ip);
	struct track_place place;

	if (track_source(p, &from, &place))
		track_counts(p, &from, &place, seen_ipv6(p, ip));
}

/* Reports the packet if it is sampled. number is that of the packet on this CPU. */
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
