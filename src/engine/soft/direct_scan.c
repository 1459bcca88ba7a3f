/*
 * The patterns are looked for at every offset, since code may be entered anywhere. A pattern that
 * is no instruction where the compiler meant it (0Fh as an operand of the one before) is told from
 * a true one by decoding towards it from several places before: x86 code falls into step within a
 * few instructions, so that one of them meets the true boundaries. Code that is entered between
 * those could so execute a forbidden instruction and see the host's identity or clock; it can do no
 * more.
 */
#include "engine/soft/direct_scan.h"

#include "engine/soft/insn.h"

#define PAGE 4096u

/* How far before a pattern decoding begins, and from how many places. */
#define APPROACH        64
#define APPROACH_STARTS 16

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
static bool is_forbidden(uint8_t opcode, uint8_t modrm)
{
	switch (opcode) {
	case 0x01: return is_forbidden_01(modrm);
	case 0x03: /* LSL: Linux keeps the CPU's number in a limit */
	case 0x31: /* RDTSC */
	case 0x34: /* SYSENTER: the host would lose RIP and RSP */
	case 0xa2: /* CPUID */ return true;
	case 0xae: /* XSAVE, XRSTOR, XSAVEOPT: their size depends on XCR0 */
		return !has_register(modrm) && extension(modrm) >= 4 && extension(modrm) <= 6;
	case 0xc7: /* XSAVEC, XRSTORS, XSAVES; RDPID and RDSEED */
		return has_register(modrm) ? extension(modrm) == 7
					   : extension(modrm) >= 3 && extension(modrm) <= 5;
	default: return false;
	}
}

static bool starts_forbidden(const uint8_t *page, unsigned at)
{
	if (page[at] != 0x0f)
		return false;
	if (at + 1 == PAGE)
		return true;
	if (at + 2 == PAGE)
		return page[at + 1] == 0x01 || page[at + 1] == 0xae || page[at + 1] == 0xc7 ||
		       is_forbidden(page[at + 1], 0);
	return is_forbidden(page[at + 1], page[at + 2]);
}

/* Decodes from `start`: does an instruction have its opcode at `at`? */
static bool leads_to(const uint8_t *page, unsigned start, unsigned at)
{
	while (start <= at) {
		struct insn insn;
		unsigned prefixes = start;

		while (prefixes < at && (page[prefixes] == 0x66 || page[prefixes] == 0xf2 ||
						page[prefixes] == 0xf3 || page[prefixes] == 0x67 ||
						(page[prefixes] & 0xf0) == 0x40))
			prefixes++;
		if (prefixes == at)
			return true;
		if (insn_decode(&insn, page + start, PAGE - start, INSN_MODE_64, NULL) != INSN_OK)
			return true;
		start += insn.length;
	}
	return false;
}

static bool may_be_instruction(const uint8_t *page, unsigned at)
{
	unsigned first = at > APPROACH ? at - APPROACH : 0;
	unsigned last = first + APPROACH_STARTS < at ? first + APPROACH_STARTS : at;

	if (at < APPROACH || at + 2 >= PAGE)
		return true;
	for (unsigned start = first; start < last; start++)
		if (leads_to(page, start, at))
			return true;
	return false;
}

bool direct_scan_is_clean(const uint8_t page[4096])
{
	for (unsigned at = 0; at < PAGE; at++)
		if (starts_forbidden(page, at) && may_be_instruction(page, at))
			return false;
	return true;
}
