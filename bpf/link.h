/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The headers between the Ethernet addresses and IP: VLAN tags, then LLC and SNAP, then
 * a PPPoE session, then MPLS labels. Each of them may be missing.
 */
#ifndef PARAXIAL_LINK_H
#define PARAXIAL_LINK_H

#include "packet.h"
#include "parse.h"

#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define ETH_P_QINQ1 0x9100
#define ETH_P_QINQ2 0x9200
#define ETH_P_MPLS_UC 0x8847
#define ETH_P_MPLS_MC 0x8848
#define ETH_P_PPP_SES 0x8864
#define ETH_P_802_3_MIN 0x0600	/* below, the field is the length of an 802.3 frame */

/*
 * Linux removes every outer tag of VLAN 0 without a VLAN device, however many there
 * are, and each VLAN device removes one more. So all tags are skipped, and a frame with
 * more than this is dropped.
 */
#define MAX_VLAN_TAGS 8

/* Linux adds 30 labels at most. A frame with more is dropped. */
#define MAX_MPLS_LABELS 30
#define MPLS_BOTTOM 0x00000100

/* Protocol numbers of PPP. If the lowest bit of the first byte is set, it is the whole number. */
#define PPP_IP 0x21
#define PPP_IPV6 0x57
#define PPP_MPLS_UC 0x281
#define PPP_MPLS_MC 0x283

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

/* LLC and SNAP, with the EtherType of what follows. */
struct snap_header {
	__u8 dsap;
	__u8 ssap;
	__u8 control;
	__u8 oui[3];
	__be16 proto;
};

DEFINE_LOAD(load_u8, __u8)
DEFINE_LOAD(load_u16, __be16)
DEFINE_LOAD(load_u32, __be32)
DEFINE_LOAD(load_snap, struct snap_header)
DEFINE_LOAD(load_tag, struct vlan_tag)

static __always_inline struct vlan_tag *parse_vlan(struct cursor *c)
{
	return PARSE(struct vlan_tag, c);
}

static __always_inline bool is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD) ||
	       proto == bpf_htons(ETH_P_QINQ1) || proto == bpf_htons(ETH_P_QINQ2);
}

static __always_inline bool is_ip(__be16 proto)
{
	return proto == bpf_htons(ETH_P_IP) || proto == bpf_htons(ETH_P_IPV6);
}

static __always_inline bool is_mpls(__be16 proto)
{
	return proto == bpf_htons(ETH_P_MPLS_UC) || proto == bpf_htons(ETH_P_MPLS_MC);
}

/* True for a length in place of an EtherType. */
static __always_inline bool is_8023(__be16 proto)
{
	return bpf_ntohs(proto) < ETH_P_802_3_MIN;
}

/* True for what skip_carriers() skips. */
static __always_inline bool is_carrier(__be16 proto)
{
	return proto == bpf_htons(ETH_P_PPP_SES) || is_mpls(proto) || is_8023(proto);
}

#define NO_ETHERTYPE 0x10000	/* the frame ends before it */

/* The value that skip_tags() and skip_carriers() return. They return 0 if the frame ends before that. */
static __always_inline __u32 link_place(__be16 proto, __u32 offset)
{
	return (__u32)proto << 16 | offset;
}

/*
 * Skips all VLAN tags from an offset. It is a global function, so that the verifier does
 * not check the rest of the program for every number of tags. Returns the EtherType
 * behind the tags in the upper half, and the offset of what follows in the lower half; 0
 * if the frame ends before that. If the EtherType is again that of a tag, there are more
 * than MAX_VLAN_TAGS.
 */
__attribute__((noinline)) __u32 skip_tags(struct xdp_md *ctx, __u32 start, __u32 ethertype)
{
	__u64 offset = start & L3_OFFSET_MASK;
	__be16 proto = ethertype;
	struct vlan_tag tag;
	int i;

#pragma unroll
	for (i = 0; i < MAX_VLAN_TAGS && is_vlan(proto); i++) {
		if (!load_tag(ctx, offset, &tag))
			return 0;
		proto = tag.proto;
		offset += sizeof(tag);
	}
	return link_place(proto, offset);
}

/* Returns the EtherType for a protocol of PPP, in network order; 0 for one that is neither IP nor MPLS. */
static __always_inline __be16 ethertype_of_ppp(__u32 proto)
{
	switch (proto) {
	case PPP_IP:
		return bpf_htons(ETH_P_IP);
	case PPP_IPV6:
		return bpf_htons(ETH_P_IPV6);
	case PPP_MPLS_UC:
		return bpf_htons(ETH_P_MPLS_UC);
	case PPP_MPLS_MC:
		return bpf_htons(ETH_P_MPLS_MC);
	}
	return 0;
}

/*
 * Skips SNAP, PPPoE and MPLS from an offset. It is a global function for the same reason
 * as skip_tags(), and returns the same. If the EtherType is that of MPLS, there are more
 * than MAX_MPLS_LABELS.
 *
 * Linux ignores version, type and code of PPPoE, and so does this function.
 */
__attribute__((noinline)) __u32 skip_carriers(struct xdp_md *ctx, __u32 start, __u32 ethertype)
{
	const __u32 pppoe = 6;	/* bytes of the header before the protocol of PPP */
	__u64 offset = start & L3_OFFSET_MASK;
	__be16 proto = ethertype;
	struct snap_header snap;
	__be32 label = 0;
	__u8 byte;
	int i;

	if (is_8023(proto)) {
		if (!load_snap(ctx, offset, &snap))
			return link_place(proto, offset);
		/* The two OUI of IP: RFC 1042 and IEEE 802.1H. */
		if (snap.dsap != 0xaa || snap.ssap != 0xaa || snap.control != 3 || snap.oui[0] || snap.oui[1] ||
		    (snap.oui[2] && snap.oui[2] != 0xf8))
			return link_place(proto, offset);
		/* Nothing takes tags from here. The caller would take the EtherType for that of a ninth tag. */
		proto = is_vlan(snap.proto) ? 0 : snap.proto;
		offset += sizeof(snap);
	}
	if (proto == bpf_htons(ETH_P_PPP_SES)) {
		__be16 ppp;

		offset += pppoe;
		if (!load_u8(ctx, offset, &byte))
			return 0;
		if (byte & 1) {
			proto = ethertype_of_ppp(byte);
			offset += 1;
		} else {
			if (!load_u16(ctx, offset, &ppp))
				return 0;
			proto = ethertype_of_ppp(bpf_ntohs(ppp));
			offset += sizeof(ppp);
		}
	}
	if (!is_mpls(proto))
		return link_place(proto, offset);
#pragma clang loop unroll(disable)
	for (i = 0; i < MAX_MPLS_LABELS; i++) {
		if (!load_u32(ctx, offset, &label))
			return 0;
		offset += sizeof(label);
		if (label & bpf_htonl(MPLS_BOTTOM))
			break;
	}
	if (!(label & bpf_htonl(MPLS_BOTTOM)))
		return link_place(proto, offset);
	/* No label says what follows. Linux looks at the version, too. */
	if (!load_u8(ctx, offset, &byte))
		return 0;
	if (byte >> 4 == 4)
		return link_place(bpf_htons(ETH_P_IP), offset);
	if (byte >> 4 == 6)
		return link_place(bpf_htons(ETH_P_IPV6), offset);
	return link_place(0, offset);
}

/* Skips what is in front of IP, if proto is not that of IP. Returns the EtherType behind it, or NO_ETHERTYPE. */
static __always_inline __u32 parse_link(struct packet *p, __u32 proto)
{
	__u32 offset = p->l3_offset, place;

	if (is_vlan(proto)) {
		struct vlan_tag *tag = parse_vlan(&p->c);

		if (!tag)
			return NO_ETHERTYPE;
		proto = tag->proto;
		offset += sizeof(*tag);
		p->l3_offset = offset;
		if (is_ip(proto))
			return proto;
		if (is_vlan(proto)) {
			/* All of them again. Only their number matters, and not of which kind the first is. */
			place = skip_tags(p->ctx, sizeof(struct ethhdr), bpf_htons(ETH_P_8021Q));
			if (!place)
				return NO_ETHERTYPE;
			proto = place >> 16;
			offset = place & 0xffff;
		}
	}
	if (is_carrier(proto)) {
		place = skip_carriers(p->ctx, offset, proto);
		if (!place)
			return NO_ETHERTYPE;
		proto = place >> 16;
		offset = place & 0xffff;
	}
	if (!is_ip(proto))
		return proto;
	p->l3_offset = offset & L3_OFFSET_MASK;
	p->c = headers_at(p->ctx, p->l3_offset);
	return p->c.pos ? proto : NO_ETHERTYPE;
}

#endif
