/*
 * What the translator thinks that instructions write to, against Zydis: a register that changes
 * unnoticed would be followed as if it had not.
 */
#include "engine/soft/isa_assemble.h"
#include "engine/soft/translator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>

#define FORMS_OF_A_ROW 64
#define MIN_CASES      20000

static uint32_t written_by_zydis(const uint8_t *bytes, unsigned length)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction insn;
	ZydisDecoder decoder;
	uint32_t written = 0;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, length, &insn, operands)))
		return 0;
	for (unsigned i = 0; i < insn.operand_count; i++) {
		ZydisRegister whole;

		if (operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER ||
			!(operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		whole = ZydisRegisterGetLargestEnclosing(
			ZYDIS_MACHINE_MODE_LONG_64, operands[i].reg.value);
		if (whole >= ZYDIS_REGISTER_RAX && whole <= ZYDIS_REGISTER_R15)
			written |= 1u << (whole - ZYDIS_REGISTER_RAX);
	}
	return written;
}

static void no_write_goes_unnoticed(void **state)
{
	uint64_t seed = 0x41746f6c6c;
	const struct code_mode mode = { .insn = INSN_MODE_64, .set = TLB_SUPERVISOR };
	unsigned cases = 0;

	(void)state;
	translate_kinds_init();
	for (unsigned row = 0; row < isa_nr_rows; row++) {
		for (unsigned i = 0; i < FORMS_OF_A_ROW; i++) {
			uint8_t bytes[INSN_MAX_LENGTH];
			struct isa_form form;
			struct insn insn;
			unsigned length;
			uint32_t missed;

			isa_form_random(&isa_rows[row], INSN_MODE_64, &seed, &form);
			length = isa_assemble(&isa_rows[row], &form, bytes);
			if (!length ||
				insn_decode(&insn, bytes, length, INSN_MODE_64, NULL) != INSN_OK ||
				translate_kind(&insn, &mode) != KIND_PLAIN)
				continue;
			missed = written_by_zydis(bytes, insn.length) &
				 ~translate_gprs_written(&insn);
			if (missed)
				fail_msg("%s %s: writes %x too", insn_row(&insn)->mnemonic,
					insn_row(&insn)->operands, missed);
			cases++;
		}
	}
	print_message("%u cases\n", cases);
	assert_true(cases >= MIN_CASES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_write_goes_unnoticed),
	};

	return cmocka_run_group_tests_name("translate_group", tests, NULL, NULL);
}
