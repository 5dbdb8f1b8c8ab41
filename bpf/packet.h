/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_PACKET_H
#define PARAXIAL_PACKET_H

#include "parse.h"

/* One packet as far as it has been parsed. Offsets and lengths in bytes from the frame's start. */
struct packet {
	struct xdp_md *ctx;
	struct cursor c;
	__u32 l3_offset;
	__u64 length;
	struct track_control *control;	/* if it is accounted for */
};

#endif
