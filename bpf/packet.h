/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_PACKET_H
#define PARAXIAL_PACKET_H

#include "parse.h"

/* One packet as far as it has been parsed. Offsets and lengths in bytes from the frame's start. */
struct packet {
	struct cursor c;
	__u32 l3_offset;
	__u32 version;		/* 4 or 6 */
	const void *source;	/* the address, once there is a verdict on it */
	__u64 length;
};

#endif
