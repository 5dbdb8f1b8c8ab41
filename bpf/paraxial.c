// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Paraxial's packet filter. It decides on the source address before it parses anything
 * behind the IP base header, so that no transport, extension header or fragment evades
 * a block.
 *
 * It is built twice: plain, and with -DFRAGS for frames in several buffers, which needs
 * Linux 5.18.
 */
#include "vmlinux.h"
#include "account.h"
#include "link.h"
#include "maps.h"
#include "packet.h"
#include "parse.h"
#include "tunnel.h"
#include "verdict.h"

static __always_inline enum reason filter_ipv4(struct packet *p, bool inner)
{
	struct iphdr *ip = parse_ipv4(&p->c);
	enum reason reason;

	if (!ip)
		return REASON_MALFORMED;
	reason = source_ipv4(p, ip);
	if (reason == REASON_NOT_LISTED && ipv4_malformed(ip, p->length - p->l3_offset))
		reason = REASON_MALFORMED;
	if (!inner && tunnels && in_tunnel(p, reason, ip->protocol, ip->ihl > 5))
		return reason;
	if (reason_accounted(reason))
		account_ipv4(p, ip);
	return reason;
}

static __always_inline enum reason filter_ipv6(struct packet *p, bool inner)
{
	struct ipv6hdr *ip = parse_ipv6(&p->c);
	enum reason reason;

	if (!ip)
		return REASON_MALFORMED;
	reason = source_ipv6(p, ip);
	if (reason == REASON_NOT_LISTED && ipv6_malformed(ip, p->length - p->l3_offset))
		reason = REASON_MALFORMED;
	if (!inner && tunnels && in_tunnel(p, reason, ip->nexthdr, false))
		return reason;
	if (reason_accounted(reason))
		account_ipv6(p, ip);
	return reason;
}

/*
 * Decides the packet in a tunnel, whose outer source passes. An entry that covers the
 * inner source decides. If there is none, the packet has the reason of the outer source,
 * but an allow of that is for the end of the tunnel and not for what comes through it.
 */
static __always_inline enum reason filter_inner(struct packet *p)
{
	__u32 inner = p->inner;
	enum reason outer = INNER_OUTER(inner), reason = INNER_REASON(inner);

	if (reason)
		return reason;
	p->l3_offset = INNER_OFFSET(inner);
	p->c = headers_at(p->ctx, p->l3_offset);
	if (!p->c.pos)
		return REASON_MALFORMED;
	reason = inner & INNER_IPV6 ? filter_ipv6(p, true) : filter_ipv4(p, true);
	return reason == REASON_NOT_LISTED && outer != REASON_ALLOWED ? outer : reason;
}

static __always_inline enum reason filter(struct packet *p)
{
	struct ethhdr *eth = parse_eth(&p->c);
	enum reason reason;
	__u32 proto;

	if (!eth)
		return REASON_MALFORMED;
	proto = eth->h_proto;
	p->l3_offset = sizeof(*eth);
	if (!is_ip(proto)) {
		proto = parse_link(p, proto);
		if (proto == NO_ETHERTYPE)
			return REASON_MALFORMED;
		if (is_vlan(proto))
			return REASON_VLAN_EXCESS;
		if (is_mpls(proto))
			return REASON_MPLS_EXCESS;
	}
	if (proto == bpf_htons(ETH_P_IP))
		reason = filter_ipv4(p, false);
	else if (proto == bpf_htons(ETH_P_IPV6))
		reason = filter_ipv6(p, false);
	else
		return REASON_NOT_IP;
	return p->inner ? filter_inner(p) : reason;
}

#ifdef FRAGS
SEC("xdp.frags")
#else
SEC("xdp")
#endif
int paraxial(struct xdp_md *ctx)
{
	struct packet p = {
		.ctx = ctx,
		.c = headers_of(ctx),
		.length = frame_length(ctx),
	};

	return finish(&p, filter(&p));
}

char _license[] SEC("license") = "Dual BSD/GPL";
