/*
 * Software SMIs of the ICH9: 316972, 10.7 (APM_CNT), 13.8.3.8 (SMI_EN), 13.1.18 (SMI_LOCK).
 */
#include "chip/chip_fixture.h"
#include "chip/ich9_smi.h"

struct fixture {
	struct ich9_smi chip;
	struct line_probe smi;
};

static struct fixture fixture;

static int set_up(void **context)
{
	ich9_smi_init(&fixture.chip, line_probe_line(&fixture.smi));
	ich9_smi_type.reset(&fixture.chip);
	*context = &fixture;
	return 0;
}

static void test_an_smi_needs_both_enables(void **context)
{
	struct fixture *f = *context;

	ich9_smi_apm_write(&f->chip, ICH9_APM_CONTROL, 0x12);
	assert_int_equal(ich9_smi_read(&f->chip, ICH9_SMI_STS, 4), 0);
	ich9_smi_write(&f->chip, ICH9_SMI_EN, 4, 0x20);
	ich9_smi_apm_write(&f->chip, ICH9_APM_CONTROL, 0x34);
	assert_int_equal(f->smi.rises, 0);
	assert_int_equal(ich9_smi_read(&f->chip, ICH9_SMI_STS, 4), 0x20);
	ich9_smi_write(&f->chip, ICH9_SMI_EN, 1, 0x21);
	ich9_smi_apm_write(&f->chip, ICH9_APM_STATUS, 0x55);
	assert_int_equal(f->smi.rises, 0);
	ich9_smi_apm_write(&f->chip, ICH9_APM_CONTROL, 0x56);
	assert_int_equal(f->smi.rises, 1);
	assert_false(f->smi.level);
	assert_int_equal(ich9_smi_apm_read(&f->chip, ICH9_APM_CONTROL), 0x56);
	assert_int_equal(ich9_smi_apm_read(&f->chip, ICH9_APM_STATUS), 0x55);
	ich9_smi_write(&f->chip, ICH9_SMI_STS, 4, 0x20);
	assert_int_equal(ich9_smi_read(&f->chip, ICH9_SMI_STS, 4), 0);
}

static void test_the_lock_holds_until_reset(void **context)
{
	struct fixture *f = *context;

	ich9_smi_write(&f->chip, ICH9_SMI_EN, 4, 0x21);
	ich9_smi_lock(&f->chip);
	ich9_smi_write(&f->chip, ICH9_SMI_EN, 4, 0x20);
	assert_int_equal(ich9_smi_read(&f->chip, ICH9_SMI_EN, 4), 0x21);
	/* Only that bit. */
	ich9_smi_write(&f->chip, ICH9_SMI_EN, 4, 0x00);
	assert_int_equal(ich9_smi_read(&f->chip, ICH9_SMI_EN, 4), 0x01);
	ich9_smi_type.reset(&f->chip);
	assert_int_equal(ich9_smi_read(&f->chip, ICH9_SMI_EN, 4), 0);
	ich9_smi_write(&f->chip, ICH9_SMI_EN, 4, 0x21);
	ich9_smi_write(&f->chip, ICH9_SMI_EN, 4, 0x20);
	assert_int_equal(ich9_smi_read(&f->chip, ICH9_SMI_EN, 4), 0x20);
}

static void test_reserved_bits_and_parts(void **context)
{
	struct fixture *f = *context;

	ich9_smi_write(&f->chip, ICH9_SMI_EN, 4, 0xffffffff);
	assert_int_equal(ich9_smi_read(&f->chip, ICH9_SMI_EN, 4), 0x0006687f);
	ich9_smi_write(&f->chip, ICH9_SMI_EN + 1, 1, 0);
	assert_int_equal(ich9_smi_read(&f->chip, ICH9_SMI_EN, 4), 0x0006007f);
	assert_int_equal(ich9_smi_read(&f->chip, ICH9_SMI_EN + 2, 2), 0x0006);
}

static void test_state_is_declared_whole(void **context)
{
	struct error err = { 0 };

	(void)context;
	if (!state_covers(ich9_smi_type.state, &err))
		fail_msg("%s", err.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_an_smi_needs_both_enables, set_up),
		cmocka_unit_test_setup(test_the_lock_holds_until_reset, set_up),
		cmocka_unit_test_setup(test_reserved_bits_and_parts, set_up),
		cmocka_unit_test(test_state_is_declared_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
