#include "engine/soft/native_vector.h"

#include "engine/soft/vector_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define X87_EXCEPTIONS BITS(5, 0)

static uint64_t below(struct native_random *random, uint64_t limit)
{
	return (native_random(random) >> 16) % limit;
}

static uint64_t corner_double(struct native_random *random)
{
	static const uint64_t corners[] = {
		0x0000000000000000,
		0x8000000000000000, /* zeros */
		0x7ff0000000000000,
		0xfff0000000000000, /* infinities */
		0x7ff8000000000000,
		0x7ff4000000000000, /* a quiet and a signalling NaN */
		0x0000000000000001,
		0x000fffffffffffff, /* denormals */
		0x0010000000000000,
		0x7fefffffffffffff, /* the least and the greatest normal */
		0x3ff0000000000000,
		0xbff8000000000000,
		0x4000000000000000,
		0x43e0000000000000,
	};

	return corners[below(random, ARRAY_SIZE(corners))];
}

static uint32_t corner_single(struct native_random *random)
{
	static const uint32_t corners[] = {
		0x00000000,
		0x80000000,
		0x7f800000,
		0xff800000,
		0x7fc00000,
		0x7fa00000,
		0x00000001,
		0x007fffff,
		0x00800000,
		0x7f7fffff,
		0x3f800000,
		0xbfc00000,
		0x40000000,
		0x4f000000,
	};

	return corners[below(random, ARRAY_SIZE(corners))];
}

static uint64_t plain_double(struct native_random *random)
{
	double value = (double)(int32_t)native_random(random) / (double)BIT(below(random, 40));
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static uint32_t plain_single(struct native_random *random)
{
	float value = (float)(int16_t)native_random(random) / (float)BIT(below(random, 20));
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

uint64_t native_vector_value(struct native_random *random)
{
	switch (below(random, 6)) {
	case 0: return corner_double(random);
	case 1: return corner_single(random) | (uint64_t)corner_single(random) << 32;
	case 2: return plain_double(random);
	case 3: return plain_single(random) | (uint64_t)plain_single(random) << 32;
	case 4: return native_random(random) & 0x00ff00ff00ff00ff;
	default: return native_random(random);
	}
}

/* Sign and exponent of an x87 register. */
static uint16_t x87_exponent(struct native_random *random)
{
	uint16_t sign = (uint16_t)(below(random, 2) << 15);

	switch (below(random, 6)) {
	case 0: return sign;
	case 1: return sign | 0x7fff;
	case 2: return (uint16_t)native_random(random);
	default: return (uint16_t)(sign | (0x3fff - 20 + below(random, 84)));
	}
}

static void x87_registers(struct cpu_xsave *xsave, struct native_random *random)
{
	for (unsigned i = 0; i < ARRAY_SIZE(xsave->st); i++) {
		uint64_t significand = native_vector_value(random);
		uint16_t exponent = x87_exponent(random);

		/* Without the integer bit it is a denormal, or not a number at all. */
		if (below(random, 5))
			significand |= BIT(63);
		memcpy(xsave->st[i], &significand, 8);
		memcpy(xsave->st[i] + 8, &exponent, 2);
	}
	xsave->ftw = below(random, 3) ? 0xff : (uint8_t)native_random(random);
}

static void control_words(struct cpu_xsave *xsave, struct native_random *random)
{
	uint64_t bits = native_random(random);

	xsave->fcw = (uint16_t)(X87_FCW_RESET ^ (bits & BITS(11, 8)));
	xsave->mxcsr = MXCSR_RESET | (bits & (BITS(15, 13) | BIT(6) | X87_EXCEPTIONS));
	if (below(random, 3) == 0) {
		xsave->fcw ^= bits >> 16 & X87_EXCEPTIONS;
		xsave->mxcsr ^= bits >> 24 & BITS(12, 7);
	}
	xsave->fsw = (uint16_t)(bits >> 40 & (BITS(14, 8) | X87_EXCEPTIONS));
	if (below(random, 4))
		xsave->fsw &= (uint16_t) ~(X87_EXCEPTIONS & ~(uint64_t)xsave->fcw);
	xsave->fsw = x87_normal_fsw(xsave->fsw, xsave->fcw);
}

void native_vector_state(struct cpu_xsave *xsave, struct native_random *random)
{
	memset(xsave, 0, sizeof(*xsave));
	control_words(xsave, random);
	x87_registers(xsave, random);
	for (unsigned i = 0; i < ARRAY_SIZE(xsave->xmm); i++) {
		uint64_t low[2] = { native_vector_value(random), native_vector_value(random) };
		uint64_t high[2] = { native_vector_value(random), native_vector_value(random) };

		memcpy(xsave->xmm[i], low, 16);
		memcpy(xsave->ymm_high[i], high, 16);
	}
	xsave->xstate_bv = XCR0_X87 | XCR0_SSE | XCR0_AVX;
}

bool native_vector_same(const struct cpu_xsave *a, const struct cpu_xsave *b)
{
	return a->fcw == b->fcw && a->fsw == b->fsw && a->ftw == b->ftw && a->mxcsr == b->mxcsr &&
	       memcmp(a->st, b->st, sizeof(a->st)) == 0 &&
	       memcmp(a->xmm, b->xmm, sizeof(a->xmm)) == 0 &&
	       memcmp(a->ymm_high, b->ymm_high, sizeof(a->ymm_high)) == 0;
}

static void print_bytes(const char *name, const uint8_t *bytes, unsigned size)
{
	printf("    %s", name);
	while (size-- > 0)
		printf("%s%02x", size % 8 == 7 ? " " : "", bytes[size]);
	printf("\n");
}

static void print_register(const char *name, unsigned n, const uint8_t *before, const uint8_t *host,
	const uint8_t *engine)
{
	if (memcmp(host, engine, 16) == 0)
		return;
	printf("  %s%u\n", name, n);
	print_bytes("before", before, 16);
	print_bytes("host  ", host, 16);
	print_bytes("engine", engine, 16);
}

static void print_word(const char *name, uint32_t before, uint32_t host, uint32_t engine)
{
	printf("  %s %04" PRIx32, name, before);
	if (host != engine)
		printf(" host %04" PRIx32 " engine %04" PRIx32, host, engine);
	printf("\n");
}

void native_vector_print(const struct cpu_xsave *before, const struct cpu_xsave *host,
	const struct cpu_xsave *engine)
{
	print_word("mxcsr", before->mxcsr, host->mxcsr, engine->mxcsr);
	print_word("fcw", before->fcw, host->fcw, engine->fcw);
	print_word("fsw", before->fsw, host->fsw, engine->fsw);
	print_word("ftw", before->ftw, host->ftw, engine->ftw);
	for (unsigned i = 0; i < ARRAY_SIZE(before->st); i++)
		print_register("st", i, before->st[i], host->st[i], engine->st[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(before->xmm); i++)
		print_register("xmm", i, before->xmm[i], host->xmm[i], engine->xmm[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(before->ymm_high); i++)
		print_register("ymm high ", i, before->ymm_high[i], host->ymm_high[i],
			engine->ymm_high[i]);
}
