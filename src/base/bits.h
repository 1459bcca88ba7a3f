/*
 * Bits and fields of registers, numbered as the manuals number them.
 */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include <stdbool.h>
#include <stdint.h>

#define BIT(n) (UINT64_C(1) << (n))

/* The mask of bits high..low, both included: BITS(7, 4) == 0xf0. */
#define BITS(high, low) ((~UINT64_C(0) >> (63 - (high))) & (~UINT64_C(0) << (low)))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline uint64_t field_get(uint64_t mask, uint64_t value)
{
	return (value & mask) >> __builtin_ctzll(mask);
}

/* Returns `value` with the field `mask` replaced; excess bits of `field` are dropped. */
static inline uint64_t field_set(uint64_t mask, uint64_t value, uint64_t field)
{
	return (value & ~mask) | ((field << __builtin_ctzll(mask)) & mask);
}

static inline uint64_t align_down(uint64_t value, uint64_t power_of_two)
{
	return value & ~(power_of_two - 1);
}

static inline uint64_t align_up(uint64_t value, uint64_t power_of_two)
{
	return (value + power_of_two - 1) & ~(power_of_two - 1);
}

/* Sign-extends the low `bytes` (1, 2, 4 or 8) bytes of `value`. */
static inline uint64_t sign_extend(uint64_t value, unsigned bytes)
{
	unsigned shift = 64 - 8 * bytes;

	return (uint64_t)((int64_t)(value << shift) >> shift);
}

/* The mask of the low `bytes` (1, 2, 4 or 8) bytes. */
static inline uint64_t byte_mask(unsigned bytes)
{
	return ~UINT64_C(0) >> (64 - 8 * bytes);
}

#endif
