/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_PARSE_H
#define PARAXIAL_PARSE_H

#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd

/*
 * Holds the offset of the IP header. Without a tunnel that is at most 182: Ethernet (14),
 * tags (8 * 4), SNAP (8), PPPoE (8) and labels (30 * 4). In a tunnel it is at most 692:
 * these, IPv4 with options (60), UDP (8), Geneve with options (260), and the same headers
 * (182) once more. IPv6 with extension headers may be longer: see find_inner(). Bounds it
 * for the verifier.
 */
#define L3_OFFSET_MASK 0x3ff

/*
 * Linux accepts any number of extension headers. Packets with more than this, or with
 * more bytes of them, have an unknown transport: see struct transport.
 */
#define MAX_IPV6_EXTENSIONS 32
#define MAX_TRANSPORT_OFFSET 0x7fff

#define IPV4_FRAGMENT 0x3fff	/* more-fragments flag and offset */
#define IPV4_OFFSET 0x1fff
#define IPV6_FRAGMENT 0xfff9	/* offset and more-fragments flag */
#define IPV6_OFFSET 0xfff8

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

/* A TCP header up to the window. */
struct tcp_start {
	struct ports ports;
	__be32 sequence[2];
	__u8 offset;
	__u8 flags;
	__be16 window;
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

/*
 * Ethernet, a VLAN tag and IPv6 decide a packet (58); skip_tags() reads further tags.
 * Detectors also look at 16 bytes of the transport.
 */
#define BASE_HEADERS (58 + 16)
#define BASE_COPY (40 + 16)	/* the same without what precedes IPv6 */

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

/*
 * Returns a cursor over what is at an offset. It holds at least BASE_COPY bytes, unless
 * the frame ends before. Unlike headers_of() it copies to the start of the copy,
 * because the verifier accepts a variable offset in a packet, but not in a map.
 */
static __always_inline struct cursor headers_at(struct xdp_md *ctx, __u32 offset)
{
	struct cursor c = cursor_of(ctx);
#ifdef FRAGS
	__s64 length = bpf_xdp_get_buff_len(ctx);
	__u32 zero = 0;
	struct headers *copy = bpf_map_lookup_elem(&headers, &zero);

	if (!copy || length <= offset)
		return (struct cursor){};
	length = copied(length - offset, BASE_COPY);
	if (length < 1 || bpf_xdp_load_bytes(ctx, offset, copy->bytes, length))
		return (struct cursor){};
	return (struct cursor){ .pos = copy->bytes, .end = copy->bytes + length };
#endif
	c.pos += offset;
	return c;
}

/* Defines a function that reads a value at an offset. It returns false if the frame ends before. */
#define DEFINE_LOAD(name, type)                                                                  \
	static __always_inline bool name(struct xdp_md *ctx, __u64 offset, type *value)          \
	{                                                                                        \
		type *from = (void *)(long)ctx->data + offset;                                   \
												 \
		if ((void *)(from + 1) > (void *)(long)ctx->data_end)                            \
			return load_later(ctx, offset, value, sizeof(*value));                   \
		*value = *from;                                                                  \
		return true;                                                                     \
	}

/* Reads bytes that are not all in the first buffer. */
static __always_inline bool load_later(struct xdp_md *ctx, __u64 offset, void *to, __u32 size)
{
#ifdef FRAGS
	return !bpf_xdp_load_bytes(ctx, offset, to, size);
#else
	return false;
#endif
}

DEFINE_LOAD(load_extension, struct ipv6_extension)

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

/* Of a first fragment, Linux keeps a multiple of eight bytes. TCP has its flags in the second eight. */
#define TCP_WITH_FLAGS 16

/* The transport of a packet, for drop events and detectors. */
struct transport {
	__u32 offset;
	__u8 proto;
	bool fragment;
	bool first;	/* not a fragment, or the fragment that has the ports */
	/*
	 * A first fragment with less than TCP_WITH_FLAGS bytes. If it is TCP, its flags are in
	 * the next one, and bytes behind the end of the packet may look like flags. No host
	 * sends such fragments (RFC 1858, RFC 3128).
	 */
	bool tiny;
	/*
	 * The transport is unknown: there are more IPv6 extension headers than are walked, or
	 * the packet ends before it. proto is that of the next header.
	 */
	bool hidden;
};

static __always_inline struct transport transport_ipv4(const struct iphdr *ip, __u32 l3_offset)
{
	/* ihl is 4 bits wide. The mask tells the verifier. */
	__u32 header = ip->ihl >= 5 ? (ip->ihl * 4) & 0x3f : sizeof(*ip);
	struct transport t = {
		.offset = l3_offset + header,
		.proto = ip->protocol,
		.fragment = ip->frag_off & bpf_htons(IPV4_FRAGMENT),
		.first = !(ip->frag_off & bpf_htons(IPV4_OFFSET)),
	};

	t.tiny = t.fragment && t.first && bpf_ntohs(ip->tot_len) < header + TCP_WITH_FLAGS;
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

/* Returns the offset of the end of an IPv6 packet. A jumbogram (length 0) ends with the frame. */
static __always_inline __u64 ipv6_end(struct xdp_md *ctx, const struct ipv6hdr *ip, __u32 l3_offset)
{
	__u64 payload = bpf_ntohs(ip->payload_len);

	return payload ? l3_offset + sizeof(*ip) + payload : frame_length(ctx);
}

/* walk_extensions() returns the offset of the transport in the lowest bits, then its protocol, then flags. */
#define WALK_OFFSET(walked) ((walked) & MAX_TRANSPORT_OFFSET)
#define WALK_PROTO_SHIFT 16
#define WALK_FRAGMENT (1u << 24)
#define WALK_LATER (1u << 25)
#define WALK_TINY (1u << 26)
#define WALK_HIDDEN (1u << 27)

/*
 * Walks the extension headers from an offset. It stops at the transport, at a later
 * fragment, which is followed by payload, or at the end of the packet. Bytes behind the
 * end are not looked at, because a sender can choose them.
 *
 * Lengths (RFC 4302, RFC 8200): AH counts 4-byte units less two, the others 8-byte
 * units less one. A fragment header is 8 bytes, and its second byte is no length.
 *
 * It is a global function, so that the verifier does not check the code behind it for
 * every number of headers, and has few branches, because the verifier follows every
 * branch of every round. The offset is a number and not a pointer, because the verifier
 * limits how far a pointer may be moved.
 */
__attribute__((noinline)) __u32 walk_extensions(struct xdp_md *ctx, __u32 start, __u32 end, __u32 proto)
{
	__u64 offset = start & 0x7ff;	/* L3_OFFSET_MASK + 40 at most */
	struct ipv6_extension ext;
	__u32 fragment = 0;
	__u32 walked;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < MAX_IPV6_EXTENSIONS && is_ipv6_extension(proto); i++) {
		__u32 is_ah = proto == IPPROTO_AH;
		__u32 is_fragment = proto == IPPROTO_FRAGMENT;

		if (offset > MAX_TRANSPORT_OFFSET || offset + sizeof(ext) > end ||
		    fragment & bpf_htons(IPV6_OFFSET) || !load_extension(ctx, offset, &ext))
			break;
		/* Opaque to the compiler, which would otherwise restore the branches. */
		asm volatile("" : "+r"(is_ah), "+r"(is_fragment));
		fragment |= ext.offset & -is_fragment;
		offset += ((ext.length & (is_fragment - 1) & 0xff) + 1 + is_ah) << (3 - is_ah) & 0xfff;
		proto = ext.nexthdr;
	}
	walked = WALK_OFFSET(offset) | (proto & 0xff) << WALK_PROTO_SHIFT;
	if (offset > MAX_TRANSPORT_OFFSET || is_ipv6_extension(proto))
		walked |= WALK_HIDDEN;
	if (fragment & bpf_htons(IPV6_FRAGMENT))
		walked |= WALK_FRAGMENT;
	if (fragment & bpf_htons(IPV6_OFFSET))
		return walked | WALK_LATER;
	/* Some versions of Linux accept headers that go on in the next fragment. */
	if (walked & WALK_FRAGMENT && offset + sizeof(ext) > end)
		walked |= WALK_HIDDEN;
	if (walked & WALK_FRAGMENT && offset + TCP_WITH_FLAGS > end)
		walked |= WALK_TINY;
	return walked;
}

static __always_inline struct transport transport_ipv6(struct xdp_md *ctx, const struct ipv6hdr *ip, __u32 l3_offset)
{
	__u32 start = l3_offset + sizeof(*ip);
	__u32 walked = walk_extensions(ctx, start, ipv6_end(ctx, ip, l3_offset), ip->nexthdr);

	return (struct transport){
		.offset = WALK_OFFSET(walked),
		.proto = walked >> WALK_PROTO_SHIFT,
		.fragment = walked & WALK_FRAGMENT,
		.first = !(walked & WALK_LATER),
		.tiny = walked & WALK_TINY,
		.hidden = walked & WALK_HIDDEN,
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
