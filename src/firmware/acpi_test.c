#include "firmware/acpi.h"

#include "firmware/boot_fixture.h"

/* Offsets are those of ACPI 6.4, chapter 5. */

static const struct acpi_config config = {
	.nr_vcpus = 3,
	.local_apic_address = 0xfee00000,
	.ioapic_id = 3,
	.ioapic_address = 0xfec00000,
	.overrides = { { 0, 2, false }, { 9, 9, true } },
	.nr_overrides = 2,
	.sci_irq = 9,
	.pm1_event_port = 0x600,
	.pm1_control_port = 0x604,
	.pm_timer_port = 0x608,
	.reset_port = 0xcf9,
	.reset_value = 6,
	.dsdt = acpi_micro_dsdt,
};

static uint8_t sum(const uint8_t *bytes, size_t size)
{
	uint8_t total = 0;

	while (size > 0)
		total += bytes[--size];
	return total;
}

static void install(struct fixture *f, gpa_t *rsdp)
{
	struct acpi_config filled = config;

	fixture_start(f, 2 * MIB);
	filled.dsdt_size = acpi_micro_dsdt_size;
	assert_int_equal(acpi_install(&filled, &f->memory, rsdp, &f->err), 0);
}

/* Follows the XSDT as an operating system does; checks every sum on the way. */
static gpa_t find_table(const struct fixture *f, gpa_t rsdp, const char *signature)
{
	gpa_t xsdt = fixture_get64(f, rsdp + 24);
	uint32_t length = fixture_get32(f, xsdt + 4);

	assert_memory_equal(fixture_at(f, rsdp, 8), "RSD PTR ", 8);
	assert_int_equal(sum(fixture_at(f, rsdp, 20), 20), 0);
	assert_int_equal(sum(fixture_at(f, rsdp, 36), 36), 0);
	assert_memory_equal(fixture_at(f, xsdt, 4), "XSDT", 4);
	assert_int_equal(sum(fixture_at(f, xsdt, length), length), 0);
	for (uint32_t at = 36; at + 8 <= length; at += 8) {
		gpa_t table = fixture_get64(f, xsdt + at);
		uint32_t size = fixture_get32(f, table + 4);

		assert_int_equal(sum(fixture_at(f, table, size), size), 0);
		if (memcmp(fixture_at(f, table, 4), signature, 4) == 0)
			return table;
	}
	fail_msg("no table %s", signature);
	return 0;
}

static void describes_power_management(void **state)
{
	struct fixture f;
	gpa_t rsdp, fadt, dsdt, facs;
	uint32_t size;

	(void)state;
	install(&f, &rsdp);
	fadt = find_table(&f, rsdp, "FACP");
	assert_int_equal(fixture_get32(&f, fadt + 4), 276);
	assert_int_equal(fixture_get32(&f, fadt + 46) & 0xffff, 9); /* SCI_INT, then SMI_CMD */
	assert_int_equal(fixture_get32(&f, fadt + 48), 0);
	assert_int_equal(fixture_get32(&f, fadt + 56), 0x600);
	assert_int_equal(fixture_get32(&f, fadt + 64), 0x604);
	assert_int_equal(fixture_get32(&f, fadt + 76), 0x608);
	assert_memory_equal(fixture_at(&f, fadt + 88, 4), "\4\2\0\4", 4);
	/* Boot flags: ISA devices, no 8042 to look for, no VGA. */
	assert_int_equal(fixture_get32(&f, fadt + 109) & 0xffff, 5);
	/* Flags: a fixed power button (bit 4 clear), 32-bit timer, reset register. */
	assert_int_equal(fixture_get32(&f, fadt + 112) & (BIT(4) | BIT(8) | BIT(10) | BIT(20)),
		BIT(8) | BIT(10));
	assert_memory_equal(fixture_at(&f, fadt + 116, 4), "\1\10\0\1", 4);
	assert_int_equal(fixture_get64(&f, fadt + 120), 0xcf9);
	assert_int_equal(*fixture_at(&f, fadt + 128, 1), 6);
	assert_int_equal(fixture_get64(&f, fadt + 148 + 4), 0x600);
	assert_int_equal(fixture_get64(&f, fadt + 208 + 4), 0x608);

	dsdt = fixture_get64(&f, fadt + 140);
	assert_int_equal(fixture_get32(&f, fadt + 40), dsdt);
	size = fixture_get32(&f, dsdt + 4);
	assert_memory_equal(fixture_at(&f, dsdt, 4), "DSDT", 4);
	assert_int_equal(sum(fixture_at(&f, dsdt, size), size), 0);
	facs = fixture_get32(&f, fadt + 36);
	assert_int_equal(facs % 64, 0);
	assert_memory_equal(fixture_at(&f, facs, 4), "FACS", 4);
	assert_int_equal(fixture_get32(&f, facs + 4), 64);
	fixture_stop(&f);
}

static void describes_interrupts(void **state)
{
	static const uint8_t expected[] = {
		0, 8, 0, 0, 1, 0, 0, 0,                    /* local APICs */
		0, 8, 1, 1, 1, 0, 0, 0,                    /**/
		0, 8, 2, 2, 1, 0, 0, 0,                    /**/
		1, 12, 3, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0, /* IOAPIC */
		2, 10, 0, 0, 2, 0, 0, 0, 0, 0,             /* IRQ 0 at pin 2 */
		2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0,          /* SCI: active high, level */
		4, 6, 0xff, 0, 0, 1,                       /* NMI at LINT1 */
	};
	struct fixture f;
	gpa_t rsdp, madt;

	(void)state;
	install(&f, &rsdp);
	madt = find_table(&f, rsdp, "APIC");
	assert_int_equal(fixture_get32(&f, madt + 36), 0xfee00000);
	assert_int_equal(fixture_get32(&f, madt + 40), 1);
	assert_int_equal(fixture_get32(&f, madt + 4), 44 + sizeof(expected));
	assert_memory_equal(
		fixture_at(&f, madt + 44, sizeof(expected)), expected, sizeof(expected));
	fixture_stop(&f);
}

static void install_with_pci(struct fixture *f, gpa_t *rsdp)
{
	struct acpi_config filled = config;

	fixture_start(f, 2 * MIB);
	filled.dsdt_size = acpi_micro_dsdt_size;
	filled.gpe0_port = 0x610;
	filled.gpe0_length = 4;
	filled.ecam_address = 0xfe000000;
	filled.ssdts[0] = (struct acpi_aml){ acpi_pci_ssdt, acpi_pci_ssdt_size };
	filled.nr_ssdts = 1;
	assert_int_equal(acpi_install(&filled, &f->memory, rsdp, &f->err), 0);
}

/* ACPI 6.4, table 5.9; PCI Firmware 3.2, 4.1.2. */
static void describes_pci(void **state)
{
	struct fixture f;
	gpa_t rsdp, fadt, mcfg;

	(void)state;
	install_with_pci(&f, &rsdp);
	fadt = find_table(&f, rsdp, "FACP");
	assert_int_equal(fixture_get32(&f, fadt + 80), 0x610);
	assert_int_equal(*fixture_at(&f, fadt + 92, 1), 4);
	assert_memory_equal(fixture_at(&f, fadt + 220, 4), "\1\40\0\1", 4);
	assert_int_equal(fixture_get64(&f, fadt + 224), 0x610);
	mcfg = find_table(&f, rsdp, "MCFG");
	assert_int_equal(fixture_get32(&f, mcfg + 4), 60);
	assert_int_equal(fixture_get64(&f, mcfg + 44), 0xfe000000);
	assert_int_equal(fixture_get64(&f, mcfg + 52), 0); /* segment 0, buses 0 to 0 */
	assert_int_equal(fixture_get32(&f, find_table(&f, rsdp, "SSDT") + 4), acpi_pci_ssdt_size);
	fixture_stop(&f);
}

/* iasl, ACPICA's own reader, finds nothing wrong with the tables. */
static void iasl_accepts(void **state)
{
	static const char *const signatures[] = { "FACP", "APIC", "MCFG" };
	struct fixture f;
	gpa_t rsdp;

	(void)state;
	if (system("iasl -v >/dev/null 2>&1") != 0) {
		print_message("no iasl\n");
		skip();
	}
	install_with_pci(&f, &rsdp);
	for (unsigned i = 0; i < ARRAY_SIZE(signatures); i++) {
		gpa_t table = find_table(&f, rsdp, signatures[i]);
		uint32_t size = fixture_get32(&f, table + 4);
		char *path = fixture_file(fixture_at(&f, table, size), size);
		char command[400];

		/* Disassembled and compiled again: the compiler checks every field. */
		snprintf(command, sizeof(command),
			"cd /tmp && iasl -p %s -d %s >%s.log 2>&1 && iasl -p %s %s.dsl >>%s.log "
			"2>&1 && grep -q '0 Errors, 0 Warnings' %s.log && "
			"! grep -Eq 'Incorrect|Invalid' %s.log; status=$?; rm -f %s.*; "
			"exit $status",
			path, path, path, path, path, path, path, path, path);
		assert_int_equal(system(command), 0);
		unlink(path);
		free(path);
	}
	fixture_stop(&f);
}

static void holds_the_largest_machine(void **state)
{
	struct fixture f;
	struct acpi_config largest = config;
	gpa_t rsdp, madt;

	(void)state;
	fixture_start(&f, 2 * MIB);
	largest.nr_vcpus = MACHINE_MAX_VCPUS;
	largest.dsdt_size = acpi_micro_dsdt_size;
	assert_int_equal(acpi_install(&largest, &f.memory, &rsdp, &f.err), 0);
	madt = find_table(&f, rsdp, "APIC");
	assert_int_equal(fixture_get32(&f, madt + 4), 44 + 8 * MACHINE_MAX_VCPUS + 12 + 20 + 6);
	fixture_stop(&f);
}

static void needs_memory(void **state)
{
	struct fixture f;
	struct acpi_config filled = config;
	gpa_t rsdp;

	(void)state;
	fixture_start(&f, 0x80000);
	filled.dsdt_size = acpi_micro_dsdt_size;
	assert_true(acpi_install(&filled, &f.memory, &rsdp, &f.err) < 0);
	assert_int_equal(f.err.exit_code, EXIT_CODE_CONFIG);
	fixture_stop(&f);
}

/* EDK2's QemuFwCfgAcpi stores 0x100 minus the sum, which includes the byte that it overwrites. */
static void leaves_checksums_to_firmware(void **state)
{
	struct acpi_image *image = calloc(1, sizeof(*image));
	struct acpi_config filled = config;
	struct acpi_loader loader;
	unsigned sums = 0;

	(void)state;
	filled.dsdt_size = acpi_micro_dsdt_size;
	assert_true(acpi_build(&filled, 0, image));
	acpi_loader_build(image, &loader);
	for (unsigned i = 0; i < loader.nr_commands; i++) {
		const uint8_t *command = loader.commands[i];
		uint32_t offset = boot_get32(command + 60), start = boot_get32(command + 64),
			 length = boot_get32(command + 68);

		if (boot_get32(command) != 3)
			continue;
		sums++;
		assert_int_equal(image->bytes[offset], 0);
		image->bytes[offset] = (uint8_t)-sum(image->bytes + start, length);
		assert_int_equal(sum(image->bytes + start, length), 0);
	}
	/* The FADT's, the RSDT's, the XSDT's, and two of the RSDP. */
	assert_int_equal(sums, 5);
	free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(describes_power_management),
		cmocka_unit_test(describes_interrupts),
		cmocka_unit_test(describes_pci),
		cmocka_unit_test(iasl_accepts),
		cmocka_unit_test(holds_the_largest_machine),
		cmocka_unit_test(needs_memory),
		cmocka_unit_test(leaves_checksums_to_firmware),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
