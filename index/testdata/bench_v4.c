// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Looks up a million sources for a repeated packet: the index alone, and a floor to compare with. */
#include "vmlinux.h"
#include "../../bpf/index_v4.h"
#include "../../bpf/parse.h"

#define SOURCES (1 << 20)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SOURCES);
	__type(key, __u32);
	__type(value, __u32);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct counter);
} answers SEC(".maps");

static __u32 position;

static __always_inline __be32 source(struct xdp_md *ctx)
{
	struct cursor c = cursor_of(ctx);
	struct ethhdr *eth = parse_eth(&c);
	__u32 key = position++ & (SOURCES - 1), *addr;

	if (!eth || eth->h_proto != bpf_htons(ETH_P_IP) || !parse_ipv4(&c))
		return 0;
	addr = bpf_map_lookup_elem(&sources, &key);
	return addr ? *addr : 0;
}

static __always_inline int count(__u32 answer)
{
	struct counter *counter = bpf_map_lookup_elem(&answers, &answer);

	if (counter) {
		counter->packets++;
		counter->bytes += 64;
	}
	return answer == INDEX_DROP ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int parse_and_count(struct xdp_md *ctx)
{
	return count(source(ctx) == 1 ? INDEX_DROP : INDEX_CLEAN);
}

SEC("xdp")
int index_alone(struct xdp_md *ctx)
{
	struct clock clock = {};

	return count(index_ipv4(source(ctx), &clock));
}

char _license[] SEC("license") = "Dual BSD/GPL";
