/* Registers that kernels touch at boot, and what must stay absent (SDM 4; AMD APM 2). */
#include "x86/fixed_msr.h"

#include "base/bits.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_reads(void **state)
{
	static const struct {
		uint32_t msr;
		uint64_t value;
	} rows[] = {
		{ 0xc0010114, 0x10 }, /* VM_CR: SVM disabled */
		{ 0xc0011029, 2 },    /* DE_CFG: LFENCE serialises */
		{ 0xc0010015, BIT(24) }, { 0xc0010010, 0 },
		{ 0xc0010007, 0 },              /* the last of a range */
		{ 0x34, 0 }, { 0x4b564d04, 0 }, /* KVM_PV_EOI_EN */
	};
	uint64_t value = 1;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_true(fixed_msr_read(rows[i].msr, &value));
		assert_int_equal(value, rows[i].value);
	}
}

static void test_writes(void **state)
{
	(void)state;
	assert_true(fixed_msr_write(0xc001001f, BIT(46)));
	assert_true(fixed_msr_write(0x4b564d04, 0x12345001));
	assert_true(fixed_msr_write(0xc0010015, BIT(24)));
	assert_false(fixed_msr_write(0xc0010015, BIT(40)));
	assert_false(fixed_msr_write(0x34, 0)); /* read-only */
}

static void test_absent(void **state)
{
	static const uint32_t absent[] = { 0x2, 0x10, 0xc0000080, 0xc0010008, 0xc0010117,
		0xffffffff };
	uint64_t value;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
		assert_false(fixed_msr_read(absent[i], &value));
		assert_false(fixed_msr_write(absent[i], 0));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_writes),
		cmocka_unit_test(test_absent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
