// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The IPv6 index alone, mostly on a different source at each run. */
#include "vmlinux.h"
#include "bpf/index_v6.h"

#define SOURCES (1u << 20)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SOURCES);
	__type(key, __u32);
	__type(value, struct in6_addr);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct counter);
} answers SEC(".maps");

__u32 next;

static __always_inline struct in6_addr *source(void)
{
	__u32 at = next++ & (SOURCES - 1);

	return bpf_map_lookup_elem(&sources, &at);
}

static __always_inline int count(__u32 answer)
{
	struct counter *counter = bpf_map_lookup_elem(&answers, &answer);

	if (counter) {
		counter->packets++;
		counter->bytes += 100;
	}
	return answer == INDEX_DROP ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int floor_of_it(struct xdp_md *ctx)
{
	struct in6_addr *src = source();

	return count(src ? src->in6_u.u6_addr32[0] == 1 : 3);
}

SEC("xdp")
int indexed(struct xdp_md *ctx)
{
	struct in6_addr *src = source();
	struct clock clock = {};

	return count(src ? index_ipv6(src, &clock) : 3);
}

/* Counts the answers, those for odd sources from 4 on. */
SEC("xdp")
int watch(struct xdp_md *ctx)
{
	struct in6_addr *src = source();
	struct clock clock = {};

	return count(src ? (next & 1 ? 0 : 4) + index_ipv6(src, &clock) : 3);
}

/* Returns the answer for the source in the packet. */
SEC("xdp")
int answer(struct xdp_md *ctx)
{
	struct in6_addr *src = (void *)(long)ctx->data;
	struct clock clock = {};

	return (void *)(src + 1) > (void *)(long)ctx->data_end ? 3 : index_ipv6(src, &clock);
}

char _license[] SEC("license") = "Dual BSD/GPL";
