/*
 * The decoder against Zydis: see the list of differences in zydis_oracle.c.
 */
#include "engine/soft/isa_assemble.h"

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

/* Rows of which another takes a part: hints of the NOP space, and XCHG of rAX with itself. */
static bool is_shadowed(const struct isa_row *row, const struct isa_row *by)
{
	if (strcmp(row->mnemonic, "nop") == 0)
		return by->exec[0] == row->exec[0];
	return strcmp(row->mnemonic, "xchg") == 0 && strcmp(by->mnemonic, "nop") == 0;
}

/* Every row, assembled from random choices, decodes to itself. */
static void test_round_trip(void **state)
{
	uint64_t seed = 1;
	unsigned nr_cases = 0;

	(void)state;
	for (unsigned i = 0; i < 300 * isa_nr_rows; i++) {
		const struct isa_row *row = &isa_rows[i % isa_nr_rows];
		enum insn_mode mode = isa_random(&seed) % 3;
		uint8_t bytes[INSN_MAX_LENGTH];
		struct isa_form form;
		struct insn insn;
		unsigned length;

		isa_form_random(row, mode, &seed, &form);
		if (row->rm_kind == ISA_VSIB) {
			form.reg = 1;
			form.index = 2;
			form.vvvv = 3;
		}
		form.disp = (int32_t)(isa_random(&seed) >> 32);
		length = isa_assemble(row, &form, bytes);
		if (length == 0)
			continue;
		nr_cases++;
		if (insn_decode(&insn, bytes, length, mode, NULL) != INSN_OK ||
			insn.length != length ||
			(insn_row(&insn) != row && !is_shadowed(row, insn_row(&insn))))
			fail_msg("%s %s: mode %d, %u bytes %02x %02x %02x %02x %02x, is %s",
				row->mnemonic, row->syntax, mode, length, bytes[0], bytes[1],
				bytes[2], bytes[3], bytes[4], insn_row(&insn)->mnemonic);
		if (row->operand_size == ISA_OPERAND_V && insn.has_memory &&
			row->memory_size == ISA_SIZE_V)
			assert_int_equal(insn.memory_bytes, insn.operand_bytes);
	}
	assert_true(nr_cases > 200 * isa_nr_rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
