/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Packets that a host needs to have an address and to reach its neighbours: DHCP, IPv6
 * neighbour discovery, and multicast membership. They pass whatever a list says, up to
 * a rate, of which each sender has a share. ARP always passes. Only packets that an entry would drop get here.
 */
#ifndef PARAXIAL_ESSENTIAL_H
#define PARAXIAL_ESSENTIAL_H

#include "limit.h"
#include "maps.h"
#include "packet.h"
#include "parse.h"
#include "verifier.h"

/* struct ports as one word: clang 14 reads a copy of the struct byte by byte. */
#define PORTS(source, dest) (bpf_htons(source) | (__u32)bpf_htons(dest) << 16)

/* True if one port is a and the other is b. */
static __always_inline bool ports_are(__u32 ports, __u16 a, __u16 b)
{
	return ports == PORTS(a, b) || ports == PORTS(b, a);
}

static __always_inline bool is_dhcpv4(__u32 ports)
{
	return ports_are(ports, 67, 68);
}

static __always_inline bool is_dhcpv6(__u32 ports)
{
	return ports_are(ports, 546, 547);
}

/* A query, a report of version 1, 2 or 3, or a leave message (RFC 1112, RFC 2236, RFC 3376). */
static __always_inline bool is_igmp(__u8 type)
{
	return type == 0x11 || type == 0x12 || type == 0x16 || type == 0x17 || type == 0x22;
}

/* Neighbour discovery has hop limit 255 (RFC 4861), multicast listener discovery 1 (RFC 2710, RFC 3810). */
#define HOPS_ND 255
#define HOPS_MLD 1

static __always_inline bool is_nd(__u8 type)
{
	return type >= 133 && type <= 137;
}

static __always_inline bool is_mld(__u8 type)
{
	return (type >= 130 && type <= 132) || type == 143;
}

/* The start of every ICMP and IGMP message. */
struct icmp_start {
	__u8 type;
	__u8 code;
};

DEFINE_LOAD(load_ports, __u32)
DEFINE_LOAD(load_icmp, struct icmp_start)

static __always_inline enum essential_kind essential_ipv4(struct xdp_md *ctx, const struct iphdr *ip,
							   __u32 l3_offset)
{
	__u32 offset = l3_offset + (ip->ihl * 4 & 0x3f);
	struct icmp_start igmp;
	__u32 ports;

	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT) || ipv4_malformed(ip, frame_length(ctx) - l3_offset))
		return ESSENTIAL_NONE;
	switch (ip->protocol) {
	case IPPROTO_UDP:
		if (load_ports(ctx, offset, &ports) && is_dhcpv4(ports))
			return ESSENTIAL_DHCPV4;
		break;
	case IPPROTO_IGMP:
		if (load_icmp(ctx, offset, &igmp) && is_igmp(igmp.type))
			return ESSENTIAL_GROUPS;
		break;
	}
	return ESSENTIAL_NONE;
}

static __always_inline enum essential_kind essential_ipv6(struct xdp_md *ctx, const struct ipv6hdr *ip,
							   __u32 l3_offset)
{
	__u32 offset = l3_offset + sizeof(*ip);
	__u8 proto = ip->nexthdr, hops = ip->hop_limit;
	struct ipv6_extension router_alert;
	struct icmp_start icmp;
	__u32 ports;

	if (ipv6_malformed(ip, frame_length(ctx) - l3_offset))
		return ESSENTIAL_NONE;
	if (proto == IPPROTO_UDP)
		return load_ports(ctx, offset, &ports) && is_dhcpv6(ports) ? ESSENTIAL_DHCPV6 : ESSENTIAL_NONE;
	/* Listener discovery has the router alert option, which takes eight bytes. */
	if (proto == IPPROTO_HOPOPTS && hops == HOPS_MLD) {
		if (!load_extension(ctx, offset, &router_alert) || router_alert.length)
			return ESSENTIAL_NONE;
		proto = router_alert.nexthdr;
		offset += sizeof(router_alert);
	}
	if (proto != IPPROTO_ICMPV6 || !load_icmp(ctx, offset, &icmp) || icmp.code)
		return ESSENTIAL_NONE;
	if (hops == HOPS_ND && is_nd(icmp.type))
		return ESSENTIAL_ND;
	return hops == HOPS_MLD && is_mld(icmp.type) ? ESSENTIAL_GROUPS : ESSENTIAL_NONE;
}

static __always_inline __u32 fold_ipv6(const struct ipv6hdr *ip)
{
	const __be32 *words = ip->saddr.in6_u.u6_addr32;

	return ((words[0] * 31 + words[1]) * 31 + words[2]) * 31 + words[3];
}

/* The station that has sent the frame. */
static __always_inline __u32 fold_station(struct xdp_md *ctx)
{
	struct cursor c = cursor_of(ctx);
	struct ethhdr *eth = PARSE(struct ethhdr, &c);
	__u32 low;
	__u16 high;

	if (!eth)
		return 0;
	__builtin_memcpy(&high, eth->h_source, sizeof(high));
	__builtin_memcpy(&low, eth->h_source + sizeof(high), sizeof(low));
	return low * 31 + high;
}

/* Returns the bucket in the row of a kind. */
static __always_inline __u64 *share_of(struct essential_buckets *buckets, __u64 row, __u32 sender)
{
	__u64 at = sender * 0x9e3779b1 >> (32 - ESSENTIAL_ROW_BITS);

	return &buckets->shares[BOUNDED(row * ESSENTIAL_ROW + at, ESSENTIAL_SHARES - 1)];
}

/*
 * Returns whether an essential packet may pass. A packet takes from the share of its source
 * address, or else from that of the station, or else from the pool of its kind. So a flood
 * from one source, or from any sources by one station such as a router, leaves the shares of
 * nearly all other stations alone, and every flood leaves the other kinds alone.
 */
static __always_inline bool take_essential(struct essential_buckets *buckets, enum essential_kind kind,
					   __u32 source, __u32 station)
{
	__u64 cost = LIMIT_FIELD(buckets->share_cost), burst = LIMIT_FIELD(buckets->share_burst);
	__u64 now = bpf_ktime_get_boot_ns();
	__u64 at = BOUNDED((__u64)kind - 1, ESSENTIAL_KINDS - 1);

	if (bucket_take(share_of(buckets, 2 * at, source), now, cost, burst) ||
	    bucket_take(share_of(buckets, 2 * at + 1, station), now, cost, burst))
		return true;
	return bucket_take(&buckets->pools[at], now, LIMIT_FIELD(buckets->pool_cost), LIMIT_FIELD(buckets->pool_burst));
}

/*
 * Returns the reason for a packet that an entry drops, if it is an essential one, else
 * reason. It is a global function for the same reasons as report_drop().
 */
__attribute__((noinline)) __u32 spare_essential(struct xdp_md *ctx, __u32 l3_offset, __u32 reason)
{
	__u32 at = slot;
	struct essential_buckets *buckets = bpf_map_lookup_elem(&essential, &at);
	enum essential_kind kind = ESSENTIAL_NONE;
	__u32 source = 0;
	struct cursor c;

	if (!buckets || !LIMIT_FIELD(buckets->pool_cost))
		return reason;
	l3_offset &= L3_OFFSET_MASK;
	c = headers_at(ctx, l3_offset);
	if (!c.pos || c.pos + 1 > c.end)
		return reason;
	if (*(__u8 *)c.pos >> 4 == 4) {
		struct iphdr *ip = parse_ipv4(&c);

		if (ip) {
			source = ip->saddr;
			kind = essential_ipv4(ctx, ip, l3_offset);
		}
	} else {
		struct ipv6hdr *ip = parse_ipv6(&c);

		if (ip) {
			source = fold_ipv6(ip);
			kind = essential_ipv6(ctx, ip, l3_offset);
		}
	}
	if (kind == ESSENTIAL_NONE)
		return reason;
	if (take_essential(buckets, kind, source, fold_station(ctx)))
		return REASON_ESSENTIAL;
	return REASON_ESSENTIAL_LIMITED;
}

/*
 * The same, but cheap for nearly every packet of a flood, for which it makes no call.
 * The cursor is behind the IP header.
 */
static __always_inline enum reason spare_ipv4(const struct packet *p, const struct iphdr *ip, enum reason reason)
{
	struct cursor c = p->c;
	__u32 *ports;

	if (ip->protocol == IPPROTO_UDP && ip->ihl == 5) {
		ports = PARSE(__u32, &c);
		if (!ports || !is_dhcpv4(*ports))
			return reason;
	} else if (ip->protocol != IPPROTO_UDP && ip->protocol != IPPROTO_IGMP) {
		return reason;
	}
	return spare_essential(p->ctx, p->l3_offset, reason);
}

static __always_inline enum reason spare_ipv6(const struct packet *p, const struct ipv6hdr *ip, enum reason reason)
{
	struct cursor c = p->c;
	__u32 *ports;

	if (ip->nexthdr == IPPROTO_UDP) {
		ports = PARSE(__u32, &c);
		if (!ports || !is_dhcpv6(*ports))
			return reason;
	} else if (ip->nexthdr == IPPROTO_ICMPV6) {
		if (ip->hop_limit != HOPS_ND && ip->hop_limit != HOPS_MLD)
			return reason;
	} else if (ip->nexthdr != IPPROTO_HOPOPTS || ip->hop_limit != HOPS_MLD) {
		return reason;
	}
	return spare_essential(p->ctx, p->l3_offset, reason);
}

#endif
