/*
 * General-purpose events: ACPI 6.4, 4.8.4.1.
 */
#include "chip/acpi_gpe.h"
#include "chip/chip_fixture.h"

static void test_an_enabled_event_holds_the_line(void **context)
{
	struct line_probe sci = { 0 };
	struct acpi_gpe chip;
	struct irq_line one, nine;

	(void)context;
	acpi_gpe_init(&chip, (struct irq_line){ .set = line_probe_set, .context = &sci });
	one = acpi_gpe_input(&chip, 1);
	nine = acpi_gpe_input(&chip, 9);
	irq_line_pulse(&one);
	assert_int_equal(acpi_gpe_read(&chip, 0, 2), 0x0002);
	assert_false(sci.level);
	acpi_gpe_write(&chip, 2, 1, 0x02);
	assert_true(sci.level);
	irq_line_pulse(&nine);
	assert_int_equal(acpi_gpe_read(&chip, 0, 4), 0x00020202);

	/* Status bits are cleared by ones, and only by ones. */
	acpi_gpe_write(&chip, 0, 1, 0xfd);
	assert_true(sci.level);
	acpi_gpe_write(&chip, 0, 1, 0x02);
	assert_false(sci.level);
	assert_int_equal(acpi_gpe_read(&chip, 1, 1), 0x02);
	acpi_gpe_write(&chip, 3, 1, 0x02);
	assert_true(sci.level);
	acpi_gpe_type.reset(&chip);
	assert_false(sci.level);
	assert_int_equal(acpi_gpe_read(&chip, 0, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_enabled_event_holds_the_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
