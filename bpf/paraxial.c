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
#include "maps.h"
#include "packet.h"
#include "parse.h"
#include "verdict.h"

static __always_inline enum reason filter_ipv4(struct packet *p)
{
	struct iphdr *ip = parse_ipv4(&p->c);
	enum reason reason;

	if (!ip)
		return REASON_MALFORMED;
	reason = source_ipv4(ip, p->length);
	if (reason == REASON_NOT_LISTED && ipv4_malformed(ip, p->length - p->l3_offset))
		reason = REASON_MALFORMED;
	if (reason_accounted(reason))
		account_ipv4(p, ip);
	return reason;
}

static __always_inline enum reason filter_ipv6(struct packet *p)
{
	struct ipv6hdr *ip = parse_ipv6(&p->c);
	enum reason reason;

	if (!ip)
		return REASON_MALFORMED;
	reason = source_ipv6(ip, p->length);
	if (reason == REASON_NOT_LISTED && ipv6_malformed(ip, p->length - p->l3_offset))
		reason = REASON_MALFORMED;
	if (reason_accounted(reason))
		account_ipv6(p, ip);
	return reason;
}

#define NO_ETHERTYPE 0x10000	/* the frame ends before it */

/*
 * Skips all VLAN tags of a frame that has two or more. It is a global function, so that
 * the verifier does not check the rest of the program for every number of tags. Returns
 * the EtherType behind the tags in the upper half, and the offset of what follows in
 * the lower half; 0 if the frame ends before that. If the EtherType is again that of a
 * tag, there are more than MAX_VLAN_TAGS.
 */
__attribute__((noinline)) __u32 skip_tags(struct xdp_md *ctx)
{
	__u32 offset = sizeof(struct ethhdr) - sizeof(__be16);
	__be16 proto = 0;
	int i;

#pragma unroll
	for (i = 0; i <= MAX_VLAN_TAGS; i++) {
		if (!load_u16(ctx, offset, &proto))
			return 0;
		offset += sizeof(proto);
		if (!is_vlan(proto))
			break;
		offset += sizeof(struct vlan_tag) - sizeof(proto);
	}
	return (__u32)proto << 16 | offset;
}

/* Skips the tags of a frame that has one or more. Returns the EtherType behind them, or NO_ETHERTYPE. */
static __always_inline __u32 parse_tags(struct packet *p)
{
	struct vlan_tag *tag = parse_vlan(&p->c);
	__u32 behind, proto;

	if (!tag)
		return NO_ETHERTYPE;
	if (!is_vlan(tag->proto)) {
		p->l3_offset += sizeof(*tag);
		return tag->proto;
	}
	behind = skip_tags(p->ctx);
	if (!behind)
		return NO_ETHERTYPE;
	proto = behind >> 16;
	if (proto != bpf_htons(ETH_P_IP) && proto != bpf_htons(ETH_P_IPV6))
		return proto;
	p->l3_offset = behind & L3_OFFSET_MASK;
	p->c = headers_at(p->ctx, p->l3_offset);
	return p->c.pos ? proto : NO_ETHERTYPE;
}

static __always_inline enum reason filter(struct packet *p)
{
	struct ethhdr *eth = parse_eth(&p->c);
	__u32 proto;

	if (!eth)
		return REASON_MALFORMED;
	proto = eth->h_proto;
	p->l3_offset = sizeof(*eth);
	if (is_vlan(proto)) {
		proto = parse_tags(p);
		if (proto == NO_ETHERTYPE)
			return REASON_MALFORMED;
		if (is_vlan(proto))
			return REASON_VLAN_EXCESS;
	}
	if (proto == bpf_htons(ETH_P_IP))
		return filter_ipv4(p);
	if (proto == bpf_htons(ETH_P_IPV6))
		return filter_ipv6(p);
	return REASON_NOT_IP;
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
