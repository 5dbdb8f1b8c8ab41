/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_PACKET_H
#define PARAXIAL_PACKET_H

#include "parse.h"

/* A packet as far as it is parsed. Offsets and lengths are in bytes from the start of the frame. */
struct packet {
	struct xdp_md *ctx;
	struct cursor c;
	__u32 l3_offset;
	__u64 length;
	struct track_control *control;	/* NULL unless it is accounted */
	__u32 inner;	/* what find_inner() returned, 0 if it is in no tunnel */
};

#endif
