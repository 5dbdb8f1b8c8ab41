/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_ACCOUNT_H
#define PARAXIAL_ACCOUNT_H

#include "maps.h"
#include "packet.h"
#include "parse.h"
#include "reasons.h"
#include "track.h"

/* Returns the number of the packet among those with the same reason on this CPU. */
static __always_inline __u64 count_packet(enum reason reason, __u64 length)
{
	__u32 key = slot << REASON_BITS | reason;
	struct counter *counter = bpf_map_lookup_elem(&counters, &key);

	/* Never NULL: the daemon hands out slots below MAX_SLOTS only. */
	if (!counter)
		return 0;
	counter->bytes += length;
	return ++counter->packets;
}

/* Called before report_drop(): a call is expensive for a dropped packet, and mostly there is no credit. */
static __always_inline __s64 *events_wanted(void)
{
	__u32 zero = 0;
	__s64 *credit = bpf_map_lookup_elem(&event_credit, &zero);

	/* Volatile: the daemon and other CPUs write it. Each CPU that races can overdraw by one. */
	return credit && *(volatile __s64 *)credit > 0 ? credit : NULL;
}

/* No map uses these types. This keeps them in the BTF, from which the Go mirror is generated. */
const struct drop_event *drop_event_btf __attribute__((unused));
const enum reason *reason_btf __attribute__((unused));

static __always_inline void describe_transport(struct drop_event *event, struct xdp_md *ctx, struct transport *t)
{
	struct cursor c = headers_at(ctx, t->offset);
	struct ports *ports = parse_ports(&c, t);

	event->proto = t->proto;
	if (t->fragment)
		event->flags |= EVENT_FRAGMENT;
	if (ports) {
		event->flags |= EVENT_PORTS;
		event->sport = ports->source;
		event->dport = ports->dest;
	}
}

static __always_inline void describe_ipv4(struct drop_event *event, struct xdp_md *ctx, __u32 l3_offset,
					  struct cursor *c)
{
	struct iphdr *ip = parse_ipv4(c);
	struct transport t;

	if (!ip)
		return;
	event->version = 4;
	__builtin_memcpy(event->src, &ip->saddr, sizeof(ip->saddr));
	t = transport_ipv4(ip, l3_offset);
	describe_transport(event, ctx, &t);
}

static __always_inline void describe_ipv6(struct drop_event *event, struct xdp_md *ctx, __u32 l3_offset,
					  struct cursor *c)
{
	struct ipv6hdr *ip = parse_ipv6(c);
	struct transport t;

	if (!ip)
		return;
	event->version = 6;
	__builtin_memcpy(event->src, &ip->saddr, sizeof(event->src));
	t = transport_ipv6(ctx, ip, l3_offset);
	describe_transport(event, ctx, &t);
}

/*
 * Reports a packet that is dropped, or that a shadow entry would drop, if credit is
 * left. It is a global function, so that the verifier checks it once and not once for
 * every path that calls it. Therefore it takes scalars and finds the IP header again.
 * The event is built on the stack and copied, so that fields that are not set do not
 * show old memory of the ring.
 */
__attribute__((noinline)) int report_drop(struct xdp_md *ctx, __u32 l3_offset, __u32 reason)
{
	struct drop_event event = { .slot = slot, .reason = reason };
	__s64 *credit = events_wanted();
	struct cursor l3;

	if (!credit)
		return 0;
	__sync_fetch_and_add(credit, -1);
	event.time = bpf_ktime_get_boot_ns();
	event.length = frame_length(ctx);
	l3_offset &= L3_OFFSET_MASK;
	l3 = headers_at(ctx, l3_offset);
	if (!l3.pos || l3.pos + 1 > l3.end)
		return 0;
	if (*(__u8 *)l3.pos >> 4 == 4)
		describe_ipv4(&event, ctx, l3_offset, &l3);
	else
		describe_ipv6(&event, ctx, l3_offset, &l3);
	if (event.version)
		bpf_ringbuf_output(&events, &event, sizeof(event), 0);
	return 0;
}

/* The only exit: every packet is counted here once, under the reason for its verdict. */
static __always_inline enum xdp_action finish(struct packet *p, enum reason reason)
{
	__u64 number = count_packet(reason, p->length);

	sample_accounted(p, number);
	if (reason_reported(reason) && events_wanted())
		report_drop(p->ctx, p->l3_offset, reason);
	return reason_drops(reason) ? XDP_DROP : XDP_PASS;
}

#endif
