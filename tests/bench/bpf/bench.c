// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The packet filter as it ships, for the benchmark: the real sources, and
 * before them a step that gives every packet another source address, because
 * one hot packet would find all it needs in the cache.
 *
 * Built twice: as shipped, and with -DFLOOR, where parsing and counting are the
 * same code but every source gets the same verdict unseen. What the filter costs
 * is the difference.
 */
#include "vmlinux.h"
#include "maps.h"
#include "verdict.h"

#ifdef FLOOR
/* Opaque to the compiler, so that parsing stays. */
volatile const __u32 floor_reason = REASON_NOT_LISTED;

#define source_ipv4(ip, length) ((ip)->saddr ? floor_reason : REASON_MALFORMED)
#define source_ipv6(ip, length) ((ip)->saddr.in6_u.u6_addr32[3] ? floor_reason : REASON_MALFORMED)
#endif

#include "paraxial.c"

#define SOURCES (1u << 20)

/*
 * The sources that packets get, in turn. Packed into lines, because an array pads
 * its elements to eight bytes: what comes in with the traffic must not push more
 * out of the cache than it has to. The benchmark writes, the programs read.
 */
struct sources_v4 {
	__be32 addr[16];
};

struct sources_v6 {
	struct in6_addr addr[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SOURCES / 16);
	__type(key, __u32);
	__type(value, struct sources_v4);
} sources_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SOURCES / 4);
	__type(key, __u32);
	__type(value, struct sources_v6);
} sources_v6 SEC(".maps");

/* One CPU runs these programs, so nothing guards it. */
static __u32 position;

/* Writes the next source into the frame, which is the benchmark's own: untagged, complete, IPv4 or IPv6. */
static __always_inline struct iphdr *vary_source(struct xdp_md *ctx)
{
	__u32 at = position++ & (SOURCES - 1), line4 = at / 16, line6 = at / 4;
	struct cursor c = cursor_of(ctx);
	struct ethhdr *eth = parse_eth(&c);
	struct sources_v6 *from6;
	struct sources_v4 *from;
	struct ipv6hdr *ip6;
	struct iphdr *ip;

	if (!eth)
		return NULL;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		ip = parse_ipv4(&c);
		from = bpf_map_lookup_elem(&sources_v4, &line4);
		if (!ip || !from)
			return NULL;
		ip->saddr = from->addr[at % 16];
		return ip;
	}
	ip6 = parse_ipv6(&c);
	from6 = bpf_map_lookup_elem(&sources_v6, &line6);
	if (ip6 && from6)
		ip6->saddr = from6->addr[at % 4];
	return NULL;
}

/* The program under test, fed with another source every time. */
SEC("xdp")
int varied(struct xdp_md *ctx)
{
	struct packet p = {};

	vary_source(ctx);
	p.c = cursor_of(ctx);
	p.length = frame_length(ctx);
	return finish(ctx, &p, filter(&p));
}

#ifndef FLOOR
/* The header's checksum less its source, unfolded: stacks look at it before their filters do. */
volatile const __u32 header_sum = 0;

static __always_inline void fix_checksum(struct iphdr *ip)
{
	__u32 sum = header_sum + (ip->saddr & 0xffff) + (ip->saddr >> 16);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~sum;
}

/* Sends IPv4 frames of varied sources out of the interface that it is run for. */
SEC("xdp")
int send(struct xdp_md *ctx)
{
	struct iphdr *ip = vary_source(ctx);

	if (!ip)
		return XDP_ABORTED;
	fix_checksum(ip);
	return XDP_TX;
}

SEC("xdp")
int empty_drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp")
int empty_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
#endif
