/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is written for the verifiers of older kernels. */
#ifndef PARAXIAL_VERIFIER_H
#define PARAXIAL_VERIFIER_H

/*
 * x, of which only the bits of the mask can be set. Until about Linux 6.9 the
 * verifier forgets what it knows of a number that is combined with another by
 * anything but +, - and &, and clang makes | of + where no bits overlap. So the
 * mask is applied where clang cannot see that it is of no use.
 */
#define BOUNDED(x, mask)                                      \
	({                                                    \
		typeof(x) bounded = (x);                      \
		asm volatile("" : "+r"(bounded));             \
		bounded & (mask);                             \
	})

#endif
