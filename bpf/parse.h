/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_PARSE_H
#define PARAXIAL_PARSE_H

#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd

#define MAX_VLAN_TAGS 2
/* RFC 8200 lists six extension headers, of which destination options may occur twice. */
#define MAX_IPV6_EXTENSIONS 8

#define IPV4_FRAGMENT 0x3fff	/* more-fragments flag and offset */
#define IPV4_OFFSET 0x1fff
#define IPV6_FRAGMENT 0xfff9	/* offset and more-fragments flag */
#define IPV6_OFFSET 0xfff8

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

/* The first eight bytes, which every IPv6 extension header has. offset is that of a fragment header. */
struct ipv6_extension {
	__u8 nexthdr;
	__u8 length;
	__be16 offset;
	__be32 rest;
};

struct ports {
	__be16 source;
	__be16 dest;
};

/* The place up to which a packet is parsed. Every parse_* checks the bounds, then advances. */
struct cursor {
	void *pos;
	void *end;
};

static __always_inline struct cursor cursor_of(struct xdp_md *ctx)
{
	return (struct cursor){
		.pos = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};
}

/*
 * Returns the bytes in the frame. A multi-buffer frame has only its first buffer
 * between data and data_end, so that by their difference every jumbo frame would be cut
 * short. Linux 5.10 does not have the helper, hence the two builds.
 */
static __always_inline __u64 frame_length(struct xdp_md *ctx)
{
#ifdef FRAGS
	return bpf_xdp_get_buff_len(ctx);
#else
	return ctx->data_end - ctx->data;
#endif
}

/* Ethernet, two VLAN tags and IPv6 decide a packet (62). Detectors also look at 16 bytes of the transport. */
#define BASE_HEADERS (62 + 16)

#ifdef FRAGS
/* The padding aligns the IP header to four bytes. */
struct headers {
	__u8 pad[2];
	__u8 bytes[BASE_HEADERS];
} __attribute__((aligned(8)));

/*
 * A copy of the headers of a frame whose first buffer does not have all of them. It is
 * used while the program runs. Each CPU has its own, and the daemon does not read it.
 * The stack has no room for it beside the frame of a function.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct headers);
} headers SEC(".maps");

/*
 * Returns how many of length bytes fit. It is opaque to the compiler, which would
 * otherwise apply the bound to another copy of the number. It is signed: a copy must
 * have at least one byte, and before Linux 6.8 the verifier does not conclude that from
 * an unsigned number that is not 0.
 */
static __always_inline __s64 copied(__s64 length, __s64 room)
{
	asm volatile("" : "+r"(length));
	if (length > room)
		length = room;
	asm volatile("" : "+r"(length));
	return length;
}

/*
 * Returns a cursor over the headers: in the first buffer, or else in a copy. A driver
 * may leave less than the headers in the first buffer of a frame, even nothing at all
 * (header split, striding receive queues). Without the copy, such frames would evade
 * every block.
 */
static __always_inline struct cursor headers_of(struct xdp_md *ctx)
{
	__s64 linear = ctx->data_end - ctx->data;
	__s64 length = bpf_xdp_get_buff_len(ctx);
	struct headers *copy;
	__u32 zero = 0;

	if (linear >= BASE_HEADERS || linear >= length)
		return cursor_of(ctx);
	copy = bpf_map_lookup_elem(&headers, &zero);
	if (!copy)
		return cursor_of(ctx);
	length = copied(length, BASE_HEADERS);
	if (length < 1 || bpf_xdp_load_bytes(ctx, 0, copy->bytes, length))
		return cursor_of(ctx);
	return (struct cursor){ .pos = copy->bytes, .end = copy->bytes + length };
}
#else
static __always_inline struct cursor headers_of(struct xdp_md *ctx)
{
	return cursor_of(ctx);
}
#endif

#define PARSE(type, c)                                        \
	({                                                    \
		type *header = (c)->pos;                      \
		if ((void *)(header + 1) > (c)->end)          \
			header = NULL;                        \
		else                                          \
			(c)->pos = header + 1;                \
		header;                                       \
	})

static __always_inline struct ethhdr *parse_eth(struct cursor *c)
{
	return PARSE(struct ethhdr, c);
}

static __always_inline struct vlan_tag *parse_vlan(struct cursor *c)
{
	return PARSE(struct vlan_tag, c);
}

/* Parses the 20 bytes that every IPv4 header has. The caller parses options. */
static __always_inline struct iphdr *parse_ipv4(struct cursor *c)
{
	struct iphdr *ip = PARSE(struct iphdr, c);

	return ip && ip->version == 4 ? ip : NULL;
}

static __always_inline struct ipv6hdr *parse_ipv6(struct cursor *c)
{
	struct ipv6hdr *ip = PARSE(struct ipv6hdr, c);

	return ip && ip->version == 6 ? ip : NULL;
}

static __always_inline bool is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* True if the IPv4 header contradicts itself or the frame. room is the bytes from it to the end of the frame. */
static __always_inline bool ipv4_malformed(const struct iphdr *ip, __u64 room)
{
	__u32 header = ip->ihl * 4;
	__u32 total = bpf_ntohs(ip->tot_len);

	return header < sizeof(*ip) || total < header || total > room;
}

/* The same for IPv6. A payload length of 0 is that of a jumbogram, and no contradiction. */
static __always_inline bool ipv6_malformed(const struct ipv6hdr *ip, __u64 room)
{
	return sizeof(*ip) + bpf_ntohs(ip->payload_len) > room;
}

/* The transport of a packet, for drop events and detectors. */
struct transport {
	__u8 proto;
	bool fragment;
	bool first;	/* not a fragment, or the fragment that has the ports */
};

static __always_inline struct transport transport_ipv4(struct cursor *c, const struct iphdr *ip)
{
	struct transport t = {
		.proto = ip->protocol,
		.fragment = ip->frag_off & bpf_htons(IPV4_FRAGMENT),
		.first = !(ip->frag_off & bpf_htons(IPV4_OFFSET)),
	};

	/* ihl is 4 bits wide. The mask tells the verifier. */
	if (ip->ihl >= 5)
		c->pos += (ip->ihl * 4 - sizeof(*ip)) & 0x3f;
	return t;
}

#define EXTENSION(proto) (1ull << (proto))

static __always_inline bool is_ipv6_extension(__u8 proto)
{
	const __u64 extensions = EXTENSION(IPPROTO_HOPOPTS) | EXTENSION(IPPROTO_ROUTING) |
				 EXTENSION(IPPROTO_FRAGMENT) | EXTENSION(IPPROTO_AH) |
				 EXTENSION(IPPROTO_DSTOPTS);

	return proto < 64 && extensions >> proto & 1;
}

/*
 * Walks the extension headers. It stops at the transport, at a later fragment, which
 * is followed by payload, or where the packet is cut short.
 *
 * Lengths (RFC 4302, RFC 8200): AH counts 4-byte units less two, the others 8-byte
 * units less one. A fragment header is 8 bytes, and its second byte is no length. There
 * are no branches, because the verifier follows every branch of every round: with
 * branches it checked 138,000 instructions.
 */
static __always_inline struct transport transport_ipv6(struct cursor *c, const struct ipv6hdr *ip)
{
	__u32 proto = ip->nexthdr;
	__u32 fragment = 0;
	int i;

	for (i = 0; i < MAX_IPV6_EXTENSIONS && is_ipv6_extension(proto); i++) {
		struct ipv6_extension *ext = c->pos;
		__u32 is_ah = proto == IPPROTO_AH;
		__u32 is_fragment = proto == IPPROTO_FRAGMENT;

		if ((void *)(ext + 1) > c->end || fragment & bpf_htons(IPV6_OFFSET))
			break;
		/* Opaque to the compiler, which would otherwise restore the branches. */
		asm volatile("" : "+r"(is_ah), "+r"(is_fragment));
		fragment |= ext->offset & -is_fragment;
		c->pos += ((ext->length & (is_fragment - 1) & 0xff) + 1 + is_ah) << (3 - is_ah) & 0xfff;
		proto = ext->nexthdr;
	}
	return (struct transport){
		.proto = proto,
		.fragment = fragment & bpf_htons(IPV6_FRAGMENT),
		.first = !(fragment & bpf_htons(IPV6_OFFSET)),
	};
}

/* Returns NULL if the transport has no ports, or the packet is too short. */
static __always_inline struct ports *parse_ports(struct cursor *c, const struct transport *t)
{
	if (!t->first)
		return NULL;
	switch (t->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_DCCP:
	case IPPROTO_SCTP:
		return PARSE(struct ports, c);
	}
	return NULL;
}

#endif
