/*
 * The patterns are looked for at every offset, since code may be entered anywhere. A pattern that
 * is no instruction where the compiler meant it (0Fh as an operand of the one before) is told from
 * a true one by decoding towards it from several places before: x86 code falls into step within a
 * few instructions, so that one of them meets the true boundaries. Code that is entered between
 * those could so execute a forbidden instruction and see the host's identity; it can do no more.
 *
 * Linux's vDSO has LSL, RDTSCP and RDPID in the page that every clock_gettime needs. They are
 * trapped, in a copy: only there, and only where all approaches agree that they are instructions,
 * since INT3 in an operand would be found by nobody.
 */
#include "engine/soft/direct_scan.h"

#include "engine/soft/insn.h"

#include <string.h>

#define PAGE 4096u

/* How far before a pattern decoding begins, and from how many places; so many times as many of
 * these must pass the pattern by as meet it. The vDSO has data between its few functions. */
#define APPROACH        128
#define VDSO_APPROACH   64
#define APPROACH_STARTS 16
#define DOUBT           4

static bool has_register(uint8_t modrm)
{
	return modrm >> 6 == 3;
}

static unsigned extension(uint8_t modrm)
{
	return modrm >> 3 & 7;
}

/* 0F 01 with a register is an opcode of its own for each ModRM byte. */
static bool is_forbidden_01(uint8_t modrm)
{
	switch (modrm) {
	case 0xd0: /* XGETBV: XCR0 */
	case 0xee: /* RDPKRU */
	case 0xf9: /* RDTSCP */
	case 0xfd: /* RDPRU */ return true;
	default: return false;
	}
}

/* What follows 0F. */
static bool is_forbidden(uint8_t opcode, uint8_t modrm, bool host_tsc)
{
	switch (opcode) {
	case 0x01: return is_forbidden_01(modrm);
	case 0x03: return true;      /* LSL: Linux keeps the CPU's number in a limit */
	case 0x31: return !host_tsc; /* RDTSC */
	case 0x34:                   /* SYSENTER: the host would lose RIP and RSP */
	case 0xa2: /* CPUID */ return true;
	case 0xae: /* XSAVE, XRSTOR, XSAVEOPT: their size depends on XCR0 */
		return !has_register(modrm) && extension(modrm) >= 4 && extension(modrm) <= 6;
	case 0xc7: /* XSAVEC, XRSTORS, XSAVES; RDPID and RDSEED */
		return has_register(modrm) ? extension(modrm) == 7
					   : extension(modrm) >= 3 && extension(modrm) <= 5;
	default: return false;
	}
}

/* A page and, if it is known, what follows. */
struct text {
	const uint8_t *page, *next;
	bool host_tsc;
};

static uint8_t byte_at(const struct text *text, unsigned at)
{
	return at < PAGE ? text->page[at] : text->next[at - PAGE];
}

static bool starts_forbidden(const struct text *text, unsigned at)
{
	const uint8_t *page = text->page;

	if (page[at] != 0x0f)
		return false;
	if (at + 2 < PAGE || text->next)
		return is_forbidden(byte_at(text, at + 1), byte_at(text, at + 2), text->host_tsc);
	return at + 1 == PAGE || page[at + 1] == 0x01 || page[at + 1] == 0xae ||
	       page[at + 1] == 0xc7 || is_forbidden(page[at + 1], 0, text->host_tsc);
}

#define LEADS_NOWHERE (-1)
#define LEADS_PAST    (-2)

/* Decodes from `start`: the beginning of the instruction that has its opcode at `at`. */
static int leads_to(const uint8_t *page, unsigned start, unsigned at)
{
	while (start <= at) {
		struct insn insn;
		unsigned prefixes = start;

		while (prefixes < at && (page[prefixes] == 0x66 || page[prefixes] == 0xf2 ||
						page[prefixes] == 0xf3 || page[prefixes] == 0x67 ||
						(page[prefixes] & 0xf0) == 0x40))
			prefixes++;
		if (prefixes == at)
			return (int)start;
		if (insn_decode(&insn, page + start, PAGE - start, INSN_MODE_64, NULL) != INSN_OK)
			return LEADS_NOWHERE;
		start += insn.length;
	}
	return LEADS_PAST;
}

/* Where the instruction begins that has its opcode at `at`, as several places before see it. */
struct approach {
	bool possible, sure;
	unsigned start;
};

static struct approach approach(const uint8_t *page, unsigned at, unsigned distance)
{
	struct approach seen = { .sure = true };
	unsigned meet = 0, pass = 0;

	if (at < distance)
		return (struct approach){ .possible = true };
	for (unsigned i = 0; i < APPROACH_STARTS; i++) {
		int begin = leads_to(page, at - distance + i, at);

		if (begin == LEADS_NOWHERE)
			continue;
		if (begin == LEADS_PAST) {
			pass++;
			continue;
		}
		meet++;
		seen.sure &= !seen.start || seen.start == (unsigned)begin;
		seen.start = (unsigned)begin;
	}
	seen.sure &= seen.start != 0 && pass == 0;
	seen.possible = meet * DOUBT >= pass;
	return seen;
}

/* Linux's vDSO: its first page holds all of it but data. */
static bool is_vdso(const uint8_t *page)
{
	static const char magic[] = "\177ELF\2\1", name[] = "linux-vdso.so.1";

	return memcmp(page, magic, sizeof(magic) - 1) == 0 &&
	       memmem(page, PAGE, name, sizeof(name)) != NULL;
}

/* What the vDSO has of such instructions. */
static bool is_of_vdso(const uint8_t *page, unsigned at)
{
	if (at + 2 >= PAGE)
		return false;
	return page[at + 1] == 0x03 || page[at + 1] == 0x31 ||
	       (page[at + 1] == 0x01 && page[at + 2] == 0xf9) ||
	       (page[at + 1] == 0xc7 && has_register(page[at + 2]));
}

enum direct_scan direct_scan(const uint8_t page[4096], const uint8_t next[DIRECT_SCAN_NEXT],
	bool host_tsc, struct direct_traps *traps)
{
	const struct text text = { page, next, host_tsc };
	bool vdso = is_vdso(page);

	traps->count = 0;
	for (unsigned at = 0; at < PAGE; at++) {
		struct approach seen;

		if (!starts_forbidden(&text, at))
			continue;
		seen = approach(page, at, vdso ? VDSO_APPROACH : APPROACH);
		if (!seen.possible)
			continue;
		if (!vdso || traps->count == DIRECT_MAX_TRAPS || !seen.sure ||
			!is_of_vdso(page, at))
			return DIRECT_SCAN_UNFIT;
		traps->at[traps->count++] = (uint16_t)seen.start;
	}
	return traps->count ? DIRECT_SCAN_TRAPPED : DIRECT_SCAN_CLEAN;
}

bool direct_scan_needs_next(const uint8_t page[4096])
{
	return page[PAGE - 1] == 0x0f || page[PAGE - 2] == 0x0f;
}
