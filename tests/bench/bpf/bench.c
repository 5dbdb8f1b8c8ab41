// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The packet filter as shipped, for the benchmark: the real source code, and a
 * step before it that gives every packet another source address, because a single
 * address would be in the cache all the time.
 *
 * Built three times: as shipped; with -DFLOOR, which parses and counts with the same
 * code but gives every source the same verdict without a look-up, so that the cost of
 * the filter is the difference; and with -DNAIVE, which accounts for every source in
 * an LRU hash, the obvious design.
 */
#include "vmlinux.h"
#include "maps.h"
#include "verdict.h"

#ifdef FLOOR
/* Opaque to the compiler, so that parsing stays. */
volatile const __u32 floor_reason = REASON_NOT_LISTED;

#define source_ipv4(p, ip) ((ip)->saddr ? floor_reason : REASON_MALFORMED)
#define source_ipv6(p, ip) ((ip)->saddr.in6_u.u6_addr32[3] ? floor_reason : REASON_MALFORMED)
#endif

#ifdef NAIVE
#include "track.h"

#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_ANY 0

struct naive_key {
	__be32 addr[4];
};

/* Packets and bytes of the most recent sources. The program adds; nothing reads them. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 17);
	__type(key, struct naive_key);
	__type(value, struct counter);
} naive SEC(".maps");

static __always_inline void naive_account(const struct packet *p, const __be32 *addr, int words)
{
	struct counter first = { .packets = 1, .bytes = p->length };
	struct naive_key key = { .addr = { addr[0], words > 1 ? addr[1] : 0 } };
	struct counter *counter = bpf_map_lookup_elem(&naive, &key);

	if (!counter) {
		bpf_map_update_elem(&naive, &key, &first, BPF_ANY);
		return;
	}
	__sync_fetch_and_add(&counter->packets, 1);
	__sync_fetch_and_add(&counter->bytes, p->length);
}

#define account_ipv4(p, ip) naive_account(p, &(ip)->saddr, 1)
#define account_ipv6(p, ip) naive_account(p, (ip)->saddr.in6_u.u6_addr32, 2)
#endif

#include "paraxial.c"

#define SOURCES (1u << 20)

/*
 * The sources that packets get, in turn. Packed into lines, because an array pads
 * its elements to eight bytes: the traffic must not evict more of the cache than
 * necessary. The benchmark writes, the programs read.
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

/* One CPU runs these programs, so it needs no lock. */
static __u32 position;

/* Whether the sources change each time that all of them were used. */
volatile const __u32 spoofing = 0;

static __always_inline __u32 spoof(__u32 n)
{
	return spoofing ? n * 0x9e3779b1u : 0;
}

/* Writes the next source into the frame, which is the benchmark's own: untagged, complete, IPv4 or IPv6. */
static __always_inline struct iphdr *vary_source(struct xdp_md *ctx)
{
	__u32 n = position++, at = n & (SOURCES - 1), line4 = at / 16, line6 = at / 4;
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
		ip->saddr = from->addr[at % 16] ^ spoof(n / SOURCES);
		return ip;
	}
	ip6 = parse_ipv6(&c);
	from6 = bpf_map_lookup_elem(&sources_v6, &line6);
	if (ip6 && from6) {
		ip6->saddr = from6->addr[at % 4];
		ip6->saddr.in6_u.u6_addr32[1] ^= spoof(n / SOURCES);
	}
	return NULL;
}

/* The program under test, with another source for every packet. */
SEC("xdp")
int varied(struct xdp_md *ctx)
{
	struct packet p = { .ctx = ctx };

	vary_source(ctx);
	p.c = cursor_of(ctx);
	p.length = frame_length(ctx);
	return finish(&p, filter(&p));
}

#if !defined(FLOOR) && !defined(NAIVE)
/* The header's checksum without its source, unfolded: stacks check it before their filters run. */
volatile const __u32 header_sum = 0;

static __always_inline void fix_checksum(struct iphdr *ip)
{
	__u32 sum = header_sum + (ip->saddr & 0xffff) + (ip->saddr >> 16);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~sum;
}

/* Sends IPv4 frames with varying sources out of the interface that it is run for. */
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
