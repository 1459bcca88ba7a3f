/*
 * The decoder against Zydis: see the list of differences in zydis_oracle.c.
 */
#include "engine/soft/insn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static enum insn_error decode_64(struct insn *insn, const char *bytes, unsigned size)
{
	return insn_decode(insn, (const uint8_t *)bytes, size, INSN_MODE_64, NULL);
}

static void test_fields(void **state)
{
	struct insn insn;
	char name[16];

	(void)state;
	/* lock add dword [r12 + r9*4 - 0x80], 0xffffffff */
	assert_int_equal(decode_64(&insn, "\xf0\x43\x83\x44\x8c\x80\xff", 7), INSN_OK);
	assert_int_equal(insn.length, 7);
	assert_string_equal(insn_mnemonic(&insn, name, sizeof(name)), "add");
	assert_int_equal(insn.base, X86_R12);
	assert_int_equal(insn.index, X86_R9);
	assert_int_equal(insn.scale, 2);
	assert_int_equal(insn.disp, -0x80);
	assert_int_equal(insn.imm, UINT64_MAX);
	assert_int_equal(insn.segment, X86_DS);
	assert_int_equal(insn.operand_bytes, 4);
	assert_int_equal(insn.memory_bytes, 4);
	assert_int_equal(insn.prefixes, PREFIX_LOCK | PREFIX_REX);
	/* mov ah, dh */
	assert_int_equal(decode_64(&insn, "\x88\xf4", 2), INSN_OK);
	assert_int_equal(insn.reg, INSN_HIGH_BYTE + X86_RDX);
	assert_int_equal(insn.rm, INSN_HIGH_BYTE + X86_RAX);
}

static void test_limits(void **state)
{
	static const char nops[] =
		"\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90";
	struct insn insn;

	(void)state;
	assert_int_equal(decode_64(&insn, nops + 1, 15), INSN_OK);
	assert_int_equal(decode_64(&insn, nops, 16), INSN_TOO_LONG);
	assert_int_equal(decode_64(&insn, nops + 2, 13), INSN_TRUNCATED);
	assert_int_equal(decode_64(&insn, "\xf0\x90", 2), INSN_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
