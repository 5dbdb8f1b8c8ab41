/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Tunnels that end on this host. The outer source is decided first. If the packet passes,
 * the source of the packet inside is decided, too. The program cannot know cheaply
 * whether a tunnel ends here, so it looks into all packets of the kinds that are
 * configured. It looks into one tunnel, and not into a tunnel inside that.
 */
#ifndef PARAXIAL_TUNNEL_H
#define PARAXIAL_TUNNEL_H

#include "link.h"
#include "packet.h"
#include "parse.h"
#include "reasons.h"

/*
 * Bits of enum tunnel_kinds. The daemon writes this and the ports before load, as it
 * does with the slot. If no bit is set, the verifier removes all code for tunnels.
 */
volatile const __u32 tunnels = 0;

/* Ports in host order, 0 for none. */
volatile const __u16 vxlan_ports[TUNNEL_PORTS] = {};
volatile const __u16 geneve_ports[TUNNEL_PORTS] = {};

/* No map uses the type. This keeps it in the BTF, from which the Go mirror is generated. */
const enum tunnel_kinds *tunnel_kinds_btf __attribute__((unused));

#define ETH_P_TEB 0x6558	/* an Ethernet frame */
#define ETH_P_WCCP 0x883e

#define GRE_CHECKSUM 0x8000
#define GRE_ROUTING 0x4000
#define GRE_KEY 0x2000
#define GRE_SEQUENCE 0x1000
#define GRE_VERSION 0x0007

struct gre_header {
	__be16 flags;
	__be16 proto;
};

#define UDP_HEADER 8

#define VXLAN_GPE 0x04		/* the last byte tells what follows; without it, that is Ethernet */
#define VXLAN_GPE_IPV4 1
#define VXLAN_GPE_IPV6 2
#define VXLAN_GPE_ETHERNET 3

struct vxlan_header {
	__u8 flags;
	__u8 reserved[2];
	__u8 next;
	__be32 vni;
};

#define GENEVE_LENGTH 0x3f	/* of the options, in units of four bytes */

struct geneve_header {
	__u8 length;		/* and version */
	__u8 flags;
	__be16 proto;
	__be32 vni;
};

DEFINE_LOAD(load_gre, struct gre_header)
DEFINE_LOAD(load_vxlan, struct vxlan_header)
DEFINE_LOAD(load_geneve, struct geneve_header)
DEFINE_LOAD(load_tunnel_ports, struct ports)

static __always_inline bool is_port_of(const volatile __u16 *ports, __be16 port)
{
	int i;

#pragma unroll
	for (i = 0; i < TUNNEL_PORTS; i++) {
		__u16 of = ports[i];

		if (of && bpf_htons(of) == port)
			return true;
	}
	return false;
}

/*
 * True if the packet may belong to a tunnel that is looked into. The cursor is behind
 * the base header. With options or extension headers, find_inner() has to look further.
 */
static __always_inline bool maybe_tunnel(const struct packet *p, __u8 proto, bool options)
{
	__u32 kinds = tunnels;
	struct cursor c = p->c;
	struct ports *ports;

	switch (proto) {
	case IPPROTO_GRE:
		return kinds & TUNNEL_GRE;
	case IPPROTO_IPIP:
		return kinds & TUNNEL_IPIP;
	case IPPROTO_IPV6:
		return kinds & TUNNEL_SIT;
	case IPPROTO_UDP:
		if (!(kinds & TUNNEL_UDP) || options)
			return kinds & TUNNEL_UDP;
		ports = PARSE(struct ports, &c);
		return ports && (is_port_of(vxlan_ports, ports->dest) || is_port_of(geneve_ports, ports->dest));
	}
	return is_ipv6_extension(proto);
}

/* A place in a tunnel: an EtherType, and the offset of what follows. */
struct inside {
	__u64 offset;
	__be16 proto;	/* 0 if it is not looked into */
	bool tunnel;	/* it is a packet of a tunnel that is looked into */
};

/* The parsers of tunnels return false if the frame ends before what they parse. */
static __always_inline bool enter_gre(struct xdp_md *ctx, struct inside *at)
{
	struct gre_header gre;
	__u64 flags;
	__u8 byte;

	if (!load_gre(ctx, at->offset, &gre))
		return false;
	flags = bpf_ntohs(gre.flags);
	at->offset += sizeof(gre);
	/* Linux drops these, but for PPTP, which is version 1. */
	if (flags & (GRE_ROUTING | GRE_VERSION))
		return true;
	/* Four bytes each, without a branch. */
	at->offset += (flags >> 13 & 4) + (flags >> 11 & 4) + (flags >> 10 & 4);
	at->proto = gre.proto;
	if (gre.proto != bpf_htons(ETH_P_WCCP))
		return true;
	/* Linux takes it for IPv4, with or without four bytes in front. */
	if (!load_u8(ctx, at->offset, &byte))
		return false;
	at->proto = bpf_htons(ETH_P_IP);
	if (byte >> 4 != 4)
		at->offset += 4;
	return true;
}

static __always_inline bool enter_vxlan(struct xdp_md *ctx, struct inside *at)
{
	struct vxlan_header vxlan;

	if (!load_vxlan(ctx, at->offset, &vxlan))
		return false;
	at->offset += sizeof(vxlan);
	if (!(vxlan.flags & VXLAN_GPE) || vxlan.next == VXLAN_GPE_ETHERNET)
		at->proto = bpf_htons(ETH_P_TEB);
	else if (vxlan.next == VXLAN_GPE_IPV4)
		at->proto = bpf_htons(ETH_P_IP);
	else if (vxlan.next == VXLAN_GPE_IPV6)
		at->proto = bpf_htons(ETH_P_IPV6);
	return true;
}

static __always_inline bool enter_geneve(struct xdp_md *ctx, struct inside *at)
{
	struct geneve_header geneve;

	if (!load_geneve(ctx, at->offset, &geneve))
		return false;
	at->offset += sizeof(geneve) + (geneve.length & GENEVE_LENGTH) * 4;
	at->proto = geneve.proto;
	return true;
}

static __always_inline bool enter_udp(struct xdp_md *ctx, struct inside *at)
{
	struct ports ports;
	bool vxlan;

	if (!load_tunnel_ports(ctx, at->offset, &ports))
		return true;
	vxlan = is_port_of(vxlan_ports, ports.dest);
	if (!vxlan && !is_port_of(geneve_ports, ports.dest))
		return true;
	at->tunnel = true;
	at->offset += UDP_HEADER;
	return vxlan ? enter_vxlan(ctx, at) : enter_geneve(ctx, at);
}

static __always_inline bool enter_tunnel(struct xdp_md *ctx, __u8 proto, struct inside *at)
{
	__u32 kinds = tunnels;

	switch (proto) {
	case IPPROTO_GRE:
		at->tunnel = kinds & TUNNEL_GRE;
		return !at->tunnel || enter_gre(ctx, at);
	case IPPROTO_IPIP:
		at->tunnel = kinds & TUNNEL_IPIP;
		at->proto = bpf_htons(ETH_P_IP);
		return true;
	case IPPROTO_IPV6:
		at->tunnel = kinds & TUNNEL_SIT;
		at->proto = bpf_htons(ETH_P_IPV6);
		return true;
	case IPPROTO_UDP:
		return !(kinds & TUNNEL_UDP) || enter_udp(ctx, at);
	}
	return true;
}

/* Skips what is in front of IP in a tunnel. Returns the same as skip_tags(). */
static __always_inline __u32 skip_link(struct xdp_md *ctx, struct inside at)
{
	__u32 place;

	if (!at.proto)
		return link_place(0, at.offset);
	if (at.proto == bpf_htons(ETH_P_TEB)) {
		if (!load_u16(ctx, at.offset + sizeof(struct ethhdr) - sizeof(at.proto), &at.proto))
			return 0;
		at.offset += sizeof(struct ethhdr);
	}
	place = link_place(at.proto, at.offset);
	if (is_vlan(place >> 16) && at.offset <= L3_OFFSET_MASK)
		place = skip_tags(ctx, at.offset, at.proto);
	if (is_carrier(place >> 16) && place && (place & 0xffff) <= L3_OFFSET_MASK)
		place = skip_carriers(ctx, place & 0xffff, place >> 16);
	return place;
}

/*
 * find_inner() returns the offset of the IP header inside in the lowest bits, then the
 * reason for the outer source, then the reason for the packet if that needs no look-up.
 */
#define INNER_OFFSET(inner) ((inner) & L3_OFFSET_MASK)
#define INNER_IPV6 (1u << 14)
#define INNER_FOUND (1u << 15)	/* so that it is never 0 */
#define INNER_OUTER(inner) ((inner) >> 16 & 0xff)
#define INNER_OUTER_SHIFT 16
#define INNER_REASON(inner) ((inner) >> 24)
#define INNER_REASON_SHIFT 24

/* Reads where the transport is, and the offset of the end of the packet. Returns false if there is no IP header. */
static __always_inline bool outer_transport(struct xdp_md *ctx, __u32 l3_offset, struct transport *t, __u64 *end)
{
	struct cursor c = headers_at(ctx, l3_offset);
	struct ipv6hdr *ip6;
	struct iphdr *ip;

	if (!c.pos || c.pos + 1 > c.end)
		return false;
	if (*(__u8 *)c.pos >> 4 == 4) {
		ip = parse_ipv4(&c);
		if (!ip)
			return false;
		*t = transport_ipv4(ip, l3_offset);
		*end = l3_offset + bpf_ntohs(ip->tot_len);
		return true;
	}
	ip6 = parse_ipv6(&c);
	if (!ip6)
		return false;
	*end = ipv6_end(ctx, ip6, l3_offset);
	*t = transport_ipv6(ctx, ip6, l3_offset);
	return true;
}

/*
 * Finds the IP header in a packet of a tunnel. outer is the reason for the outer source.
 * Returns 0 if it is no packet of a tunnel that is looked into, a later fragment, or if
 * there is no IP inside. It is a global function for the same reason as skip_tags(), and
 * because the verifier then checks what follows for one unknown answer and not for every
 * kind of tunnel.
 *
 * A packet with its source out of reach is dropped. That is a first fragment that ends
 * before the source, and IPv6 with so many extension headers that they are not walked or
 * that the source is too far behind. No host sends these. Linux assembles what is inside
 * the end that the IP header tells, in multiples of eight bytes. The bytes behind it can
 * be chosen by the sender, so they do not count.
 */
__attribute__((noinline)) __u32 find_inner(struct xdp_md *ctx, __u32 l3_offset, __u32 outer)
{
	__u32 found = INNER_FOUND | (outer & 0xff) << INNER_OUTER_SHIFT;
	const __u32 hidden = found | REASON_TUNNEL_HIDDEN << INNER_REASON_SHIFT;
	struct inside at = {};
	struct transport t;
	__u32 place = 0;
	__be16 proto;
	__u64 end;

	if (!outer_transport(ctx, l3_offset & L3_OFFSET_MASK, &t, &end) || !t.first)
		return 0;
	if (t.hidden)
		return hidden;
	at.offset = t.offset & MAX_TRANSPORT_OFFSET;
	if (enter_tunnel(ctx, t.proto, &at))
		place = skip_link(ctx, at);
	if (!at.tunnel)
		return 0;
	if (t.fragment && (!place || (place & 0xffff) + sizeof(struct ipv6hdr) > end))
		return hidden;
	if (!place)
		return found | REASON_MALFORMED << INNER_REASON_SHIFT;
	if ((place & 0xffff) > L3_OFFSET_MASK)
		return hidden;
	proto = place >> 16;
	if (is_vlan(proto))
		return found | REASON_VLAN_EXCESS << INNER_REASON_SHIFT;
	if (is_mpls(proto))
		return found | REASON_MPLS_EXCESS << INNER_REASON_SHIFT;
	if (!is_ip(proto))
		return 0;
	return found | (place & 0xffff) | (proto == bpf_htons(ETH_P_IPV6) ? INNER_IPV6 : 0);
}

/* Returns whether the packet is in a tunnel that is looked into, and then notes where its inside is. */
static __always_inline bool in_tunnel(struct packet *p, enum reason reason, __u8 proto, bool options)
{
	if (!(reason_accounted(reason) || reason == REASON_ALLOWED) || !maybe_tunnel(p, proto, options))
		return false;
	p->inner = find_inner(p->ctx, p->l3_offset, reason);
	return p->inner;
}

#endif
