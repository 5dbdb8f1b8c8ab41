/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Answers to connections that this host opened. A list may hold an address that the host
 * itself talks to. An entry that lets answers pass drops only what the other side begins.
 *
 * The sockets of the host tell which packets are answers, so there is no table that a
 * flood could fill. Only packets that an entry would drop get here. A flood at the port of
 * a service pays for one comparison, because such a port is outside the range that the
 * host uses for its own connections.
 *
 * Not seen are answers in fragments, behind IPv6 extension headers or IPv4 options, and
 * those to connections that this host forwards or translates: it has no socket for them.
 */
#ifndef PARAXIAL_REPLY_H
#define PARAXIAL_REPLY_H

#include "clock.h"
#include "maps.h"
#include "packet.h"
#include "parse.h"

#define TCP_SYN 0x02
#define TCP_ACK 0x10

/* A packet that may be an answer. */
struct reply {
	struct xdp_md *ctx;
	struct bpf_sock_tuple tuple;
	__u8 proto;
};

/* True if the port is one of those that this host opens connections from. */
static __always_inline bool is_reply_port(__be16 port)
{
	__u32 zero = 0;
	const volatile struct reply_ports *own = bpf_map_lookup_elem(&reply_ports, &zero);

	return own && bpf_ntohs(port) >= own->first && bpf_ntohs(port) <= own->last;
}

/* A TCP packet that only asks for a connection answers nothing. */
static __always_inline bool asks_only(struct cursor c)
{
	struct tcp_start *tcp = PARSE(struct tcp_start, &c);

	return !tcp || (tcp->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/*
 * Returns the state of the socket that a packet with this tuple is for, 0 if there is none.
 * Of UDP, a connected socket has the state BPF_TCP_ESTABLISHED, and is found for its own
 * peer only. The size of the tuple is a constant at each call, as the verifier wants it.
 */
static __always_inline __u32 socket_state(struct reply *r, __u32 size)
{
	struct bpf_sock *sk;
	__u32 state;

	if (r->proto == IPPROTO_TCP)
		sk = bpf_sk_lookup_tcp(r->ctx, &r->tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_udp(r->ctx, &r->tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	state = sk->state;
	bpf_sk_release(sk);
	return state;
}

/* For a connection that the other side asks for, the listening socket is found until it is accepted. */
static __always_inline bool of_server(__u32 state)
{
	return state == BPF_TCP_LISTEN || state == BPF_TCP_SYN_RECV;
}

/*
 * Returns whether a socket of this host waits for the packet, and nobody serves on its
 * port: the connections of a server are sockets like those of a client.
 */
static __always_inline bool is_answer(struct reply *r, __u32 size)
{
	__u32 state = socket_state(r, size);

	if (!state || of_server(state) || (r->proto == IPPROTO_UDP && state != BPF_TCP_ESTABLISHED))
		return false;
	/* Nobody connects from port 0, so that only a socket without a peer is found. */
	if (size == sizeof(r->tuple.ipv4))
		r->tuple.ipv4.sport = 0;
	else
		r->tuple.ipv6.sport = 0;
	return !socket_state(r, size);
}

static __always_inline bool answers_ipv4(struct reply *r, struct cursor *c)
{
	struct iphdr *ip = parse_ipv4(c);
	struct cursor transport = *c;
	struct lpm_v4 key = { .prefixlen = 32 };
	const struct verdict *entry;
	struct clock clock = {};
	struct ports *ports;

	if (!ip || ip->frag_off & bpf_htons(IPV4_FRAGMENT))
		return false;
	ports = PARSE(struct ports, c);
	if (!ports || (ip->protocol == IPPROTO_TCP && asks_only(transport)))
		return false;
	r->proto = ip->protocol;
	r->tuple.ipv4.saddr = ip->saddr;
	r->tuple.ipv4.daddr = ip->daddr;
	r->tuple.ipv4.sport = ports->source;
	r->tuple.ipv4.dport = ports->dest;
	key.addr = ip->saddr;
	entry = bpf_map_lookup_elem(&block_v4, &key);
	return entry && !live(&clock, entry->strict_until) && is_answer(r, sizeof(r->tuple.ipv4));
}

static __always_inline bool answers_ipv6(struct reply *r, struct cursor *c)
{
	struct ipv6hdr *ip = parse_ipv6(c);
	struct cursor transport = *c;
	struct lpm_v6 key = { .prefixlen = 128 };
	const struct verdict *entry;
	struct clock clock = {};
	struct ports *ports;

	if (!ip)
		return false;
	ports = PARSE(struct ports, c);
	if (!ports || (ip->nexthdr == IPPROTO_TCP && asks_only(transport)))
		return false;
	r->proto = ip->nexthdr;
	__builtin_memcpy(r->tuple.ipv6.saddr, &ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(r->tuple.ipv6.daddr, &ip->daddr, sizeof(ip->daddr));
	r->tuple.ipv6.sport = ports->source;
	r->tuple.ipv6.dport = ports->dest;
	__builtin_memcpy(key.addr, &ip->saddr, sizeof(key.addr));
	entry = bpf_map_lookup_elem(&block_v6, &key);
	return entry && !live(&clock, entry->strict_until) && is_answer(r, sizeof(r->tuple.ipv6));
}

/*
 * Returns REASON_REPLY for an answer that the entries of its source let pass, else reason. It is a
 * global function for the same reasons as report_drop().
 */
__attribute__((noinline)) __u32 pass_reply(struct xdp_md *ctx, __u32 l3_offset, __u32 reason)
{
	struct reply r = { .ctx = ctx };
	struct cursor c;
	bool answers;

	c = headers_at(ctx, l3_offset & L3_OFFSET_MASK);
	if (!c.pos || c.pos + 1 > c.end)
		return reason;
	if (*(__u8 *)c.pos >> 4 == 4)
		answers = answers_ipv4(&r, &c);
	else
		answers = answers_ipv6(&r, &c);
	return answers ? REASON_REPLY : reason;
}

/*
 * The same, but cheap for nearly every packet of a flood, for which it makes no call. The
 * cursor is behind the IP header.
 */
static __always_inline enum reason reply_ipv4(const struct packet *p, const struct iphdr *ip, enum reason reason)
{
	struct cursor c = p->c;
	struct ports *ports;

	if ((ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP) || ip->ihl != 5)
		return reason;
	ports = PARSE(struct ports, &c);
	if (!ports || !is_reply_port(ports->dest))
		return reason;
	return pass_reply(p->ctx, p->l3_offset, reason);
}

static __always_inline enum reason reply_ipv6(const struct packet *p, const struct ipv6hdr *ip, enum reason reason)
{
	struct cursor c = p->c;
	struct ports *ports;

	if (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP)
		return reason;
	ports = PARSE(struct ports, &c);
	if (!ports || !is_reply_port(ports->dest))
		return reason;
	return pass_reply(p->ctx, p->l3_offset, reason);
}

#endif
