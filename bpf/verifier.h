/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Code for the verifiers of older kernels. */
#ifndef PARAXIAL_VERIFIER_H
#define PARAXIAL_VERIFIER_H

/*
 * x, in which only bits of the mask can be set. Until about Linux 6.9 the verifier
 * forgets the bounds of a number that is combined with another by an operation other
 * than +, - and &. clang turns + into | where no bits overlap. So the mask is applied
 * where clang cannot see that it changes nothing.
 */
#define BOUNDED(x, mask)                                      \
	({                                                    \
		typeof(x) bounded = (x);                      \
		asm volatile("" : "+r"(bounded));             \
		bounded & (mask);                             \
	})

#endif
