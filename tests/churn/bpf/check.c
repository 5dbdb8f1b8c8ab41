// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The packet filter as shipped, for the proof under changes: the real source code,
 * run over the maps of the attached program. Every packet gets the next source
 * address, and its verdict is compared with the expected one, so that one call
 * checks millions.
 */
#include "paraxial.c"

#define MAX_SOURCES 1024
#define MAX_WRONGS 64

/* Per run; the test has the same constant. */
#define LOOKUPS 4000

enum class {
	LISTED,	/* always dropped */
	UNLISTED,	/* always passes */
	CHANGING,	/* blocked, unblocked, ... all the time */
	JUDGED_CLASSES,
};

enum settled {
	UNSETTLED = 0,	/* a change is in progress: either verdict is correct */
	PASSES = 1,
	DROPS = 2,
};
#define SETTLED_MASK 3

/* known has enum settled in the low bits, and above them the number of the change that set it. */
struct judged {
	struct in6_addr addr;	/* IPv4 in the first four bytes */
	__u64 known;
	__u64 class;
};

struct tally {
	__u64 right;
	__u64 wrong;
	__u64 unsettled;
};

struct wrong {
	__u64 time;		/* boot time, ns */
	__u64 known;
	__u32 source;
	__u32 action;
};

/* The sources in turn. The test writes, the program reads. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_SOURCES);
	__type(key, __u32);
	__type(value, struct judged);
} sources SEC(".maps");

/* Verdicts by class. The program adds, the test reads. One CPU runs it, so one copy is enough. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, JUDGED_CLASSES);
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps");

/* The first wrong verdicts. The program writes, the test reads. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_WRONGS);
	__type(key, __u32);
	__type(value, struct wrong);
} wrongs SEC(".maps");

/* The range of sources to run. The test writes it between two runs. */
volatile __u32 first_source;
volatile __u32 source_count;

static __u32 position;
static __u32 wrongs_seen;

/* The bpf2go side needs these types, and no map holds the enums. */
const enum class *class_btf __attribute__((unused));
const enum settled *settled_btf __attribute__((unused));

static __always_inline __u32 next_source(void)
{
	if (++position >= source_count)
		position = 0;
	return first_source + position;
}

/* The frame is made by the test: untagged, complete, of the family of all sources. */
static __always_inline bool write_source(struct xdp_md *ctx, const struct judged *source)
{
	struct cursor c = cursor_of(ctx);
	struct ethhdr *eth = parse_eth(&c);
	struct ipv6hdr *ip6;
	struct iphdr *ip;

	if (!eth)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		ip = parse_ipv4(&c);
		if (!ip)
			return false;
		ip->saddr = source->addr.in6_u.u6_addr32[0];
		return true;
	}
	ip6 = parse_ipv6(&c);
	if (!ip6)
		return false;
	ip6->saddr = source->addr;
	return true;
}

static __always_inline void record_wrong(__u32 at, __u64 known, __u32 action)
{
	__u32 key = wrongs_seen;
	struct wrong *wrong = bpf_map_lookup_elem(&wrongs, &key);

	if (!wrong)
		return;
	wrongs_seen++;
	wrong->time = bpf_ktime_get_boot_ns();
	wrong->known = known;
	wrong->source = at;
	wrong->action = action;
}

static __always_inline void judge(const struct judged *source, __u32 at, __u64 known, __u32 action)
{
	__u32 class = source->class;
	struct tally *tally = bpf_map_lookup_elem(&tallies, &class);
	__u32 want = (known & SETTLED_MASK) == DROPS ? XDP_DROP : XDP_PASS;

	if (!tally)
		return;
	if ((known & SETTLED_MASK) == UNSETTLED) {
		tally->unsettled++;
	} else if (action == want) {
		tally->right++;
	} else if (*(volatile __u64 *)&source->known != known) {
		/* A change has begun or ended in the meantime. */
		tally->unsettled++;
	} else {
		tally->wrong++;
		record_wrong(at, known, action);
	}
}

/*
 * Looks up the next source. A global function, so that the verifier checks it once
 * and not for every round of the loop that calls it.
 *
 * It decides and counts as finish() does, but reports nothing: a report needs another
 * function, for which the stack has no room. The attached program is asked as well.
 *
 * The expected verdict of a source is read before the filter runs, and again if the
 * verdict differs. Not every CPU orders these loads with those of the filter. But
 * between a change of the expected verdict and a change of the filter, the test
 * waits for whole requests, and no CPU loads that far ahead.
 */
__attribute__((noinline)) int check_next(struct xdp_md *ctx)
{
	__u32 at = next_source();
	struct judged *source = bpf_map_lookup_elem(&sources, &at);
	struct packet p = { .ctx = ctx };
	enum reason reason;
	__u64 known;

	if (!source || !write_source(ctx, source))
		return -1;
	known = *(volatile __u64 *)&source->known;
	p.c = cursor_of(ctx);
	p.length = frame_length(ctx);
	reason = filter(&p);
	count_packet(reason, p.length);
	judge(source, at, known, reason_drops(reason) ? XDP_DROP : XDP_PASS);
	return 0;
}

/*
 * Many look-ups in one run: it takes the kernel tens of milliseconds to start a
 * repeated run, and the daemon cannot publish an index before a run ends.
 */
SEC("xdp")
int check(struct xdp_md *ctx)
{
	int i;

	for (i = 0; i < LOOKUPS; i++)
		if (check_next(ctx))
			return XDP_ABORTED;
	return XDP_PASS;
}
