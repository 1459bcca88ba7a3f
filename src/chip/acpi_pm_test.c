/*
 * ACPI fixed hardware: status and enable bits, the SCI, power button, soft off, the timer.
 */
#include "chip/acpi_pm.h"
#include "chip/acpi_pm_regs.h"
#include "chip/chip_fixture.h"

struct fixture {
	struct fake_clock fake;
	struct line_probe sci, power_off;
	struct acpi_pm pm;
};

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_clock_init(&f->fake);
	acpi_pm_init(&f->pm, &f->fake.clock, line_probe_line(&f->sci),
		line_probe_line(&f->power_off), 5);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

/* "SCI_EN is set": the machine is in ACPI mode from the start. */
static void test_acpi_mode(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(acpi_pm_read(&f->pm, ACPI_PM_CONTROL, 2), 1);
	acpi_pm_write(&f->pm, ACPI_PM_CONTROL, 2, 0);
	assert_int_equal(acpi_pm_read(&f->pm, ACPI_PM_CONTROL, 2), 1);
}

static void test_power_button(void **context)
{
	struct fixture *f = *context;

	acpi_pm_press_power_button(&f->pm);
	assert_false(f->sci.level);
	assert_int_equal(acpi_pm_read(&f->pm, ACPI_PM_STATUS, 2), 0x100);
	acpi_pm_write(&f->pm, ACPI_PM_ENABLE, 2, 0x100);
	assert_true(f->sci.level);
	acpi_pm_write(&f->pm, ACPI_PM_STATUS, 2, 0x001);
	assert_true(f->sci.level);
	acpi_pm_write(&f->pm, ACPI_PM_STATUS, 2, 0x100);
	assert_false(f->sci.level);
	assert_int_equal(acpi_pm_read(&f->pm, ACPI_PM_STATUS, 4), 0x01000000);
	/* By bytes. */
	acpi_pm_press_power_button(&f->pm);
	acpi_pm_write(&f->pm, ACPI_PM_STATUS + 1, 1, 0x01);
	assert_false(f->sci.level);
}

static void test_rtc_alarm(void **context)
{
	struct fixture *f = *context;

	acpi_pm_write(&f->pm, ACPI_PM_ENABLE, 2, 0x400);
	assert_int_equal(acpi_pm_read(&f->pm, ACPI_PM_ENABLE, 2), 0x400);
	acpi_pm_rtc_alarm(&f->pm);
	assert_true(f->sci.level);
	acpi_pm_write(&f->pm, ACPI_PM_STATUS, 2, 0x400);
	assert_false(f->sci.level);
}

static void test_soft_off(void **context)
{
	struct fixture *f = *context;

	acpi_pm_write(&f->pm, ACPI_PM_CONTROL, 2, 5 << 10); /* no SLP_EN */
	assert_int_equal(acpi_pm_read(&f->pm, ACPI_PM_CONTROL, 2), 5 << 10 | 1);
	acpi_pm_write(&f->pm, ACPI_PM_CONTROL, 2, 3 << 10 | 1 << 13); /* S3 does not exist */
	assert_int_equal(f->power_off.rises, 0);
	acpi_pm_write(&f->pm, ACPI_PM_CONTROL, 2, 5 << 10 | 1 << 13);
	assert_int_equal(f->power_off.rises, 1);
	assert_int_equal(acpi_pm_read(&f->pm, ACPI_PM_CONTROL, 2), 5 << 10 | 1);
}

static void test_timer(void **context)
{
	struct fixture *f = *context;

	fake_clock_run_to(&f->fake, NS_PER_S);
	assert_int_equal(acpi_pm_read(&f->pm, ACPI_PM_TIMER, 4), 3579545);
	fake_clock_run_to(&f->fake, 1200 * NS_PER_S); /* 2^32 ticks are 1199.86 s */
	assert_int_equal(
		acpi_pm_read(&f->pm, ACPI_PM_TIMER, 4), (uint32_t)(UINT64_C(1200) * 3579545));
	acpi_pm_type.reset(&f->pm);
	assert_int_equal(
		acpi_pm_read(&f->pm, ACPI_PM_TIMER, 4), (uint32_t)(UINT64_C(1200) * 3579545));
}

/* TMR_STS is set when the most significant bit changes, either way. */
static void test_timer_status(void **context)
{
	struct fixture *f = *context;
	ns_t half_ns = ticks_to_ns(UINT64_C(1) << 31, ACPI_PM_TIMER_HZ);

	acpi_pm_write(&f->pm, ACPI_PM_ENABLE, 2, 0x001);
	for (unsigned i = 1; i <= 3; i++) {
		fake_clock_run_to(&f->fake, i * half_ns - NS_PER_MS);
		assert_false(f->sci.level);
		fake_clock_run_to(&f->fake, i * half_ns);
		assert_true(f->sci.level);
		acpi_pm_write(&f->pm, ACPI_PM_STATUS, 2, 0x001);
		assert_false(f->sci.level);
	}
}

#define pm_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		pm_test(test_acpi_mode),
		pm_test(test_power_button),
		pm_test(test_rtc_alarm),
		pm_test(test_soft_off),
		pm_test(test_timer),
		pm_test(test_timer_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
