/*
 * ACPI tables, written once before the guest starts. The guest may change them later; nobody here
 * reads them again.
 *
 * Processors are in the MADT only: without processor objects an operating system idles with HLT,
 * which is what a guest should do. ACPI mode is always on (SMI_CMD is 0).
 */
#include "firmware/acpi.h"

#include "firmware/acpi_tables.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FACS_ALIGNMENT  64
#define TABLE_ALIGNMENT 16
#define CENTURY         0x32 /* the RTC register */
#define NO_C_STATE      0xffff
#define ALL_PROCESSORS  0xff
#define LINT1           1
#define MADT_MAX        4096
#define PROFILE_DESKTOP 1

struct writer {
	struct acpi_image *image;
	gpa_t next;
};

static uint8_t checksum(const void *bytes, size_t size)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += ((const uint8_t *)bytes)[i];
	return (uint8_t)-sum;
}

static struct acpi_header make_header(const char *signature, uint8_t revision, size_t length)
{
	struct acpi_header header = {
		.length = (uint32_t)length,
		.revision = revision,
		.oem_revision = 1,
		.creator_revision = 1,
	};

	memcpy(header.signature, signature, sizeof(header.signature));
	memcpy(header.oem_id, "ATOLL ", sizeof(header.oem_id));
	memcpy(header.oem_table_id, "ATOLL   ", sizeof(header.oem_table_id));
	memcpy(header.creator_id, "ATOL", sizeof(header.creator_id));
	return header;
}

/* Returns where the table went, or 0 if the area is full or no RAM. */
static gpa_t put(struct writer *writer, const void *table, size_t size, uint64_t alignment)
{
	struct acpi_image *image = writer->image;
	gpa_t address = align_up(writer->next, alignment);
	size_t at = address - image->base;

	if (at > sizeof(image->bytes) || size > sizeof(image->bytes) - at)
		return 0;
	memcpy(image->bytes + at, table, size);
	image->size = at + size;
	writer->next = address + size;
	return address;
}

static gpa_t put_table(struct writer *writer, struct acpi_header *table)
{
	table->checksum = checksum(table, table->length);
	return put(writer, table, table->length, TABLE_ALIGNMENT);
}

static gpa_t put_facs(struct writer *writer)
{
	struct acpi_facs facs = { .signature = "FACS", .length = sizeof(facs), .version = 2 };

	return put(writer, &facs, sizeof(facs), FACS_ALIGNMENT);
}

/* A register block of `bytes` bytes that is accessed in pieces of `access` bytes. */
static struct acpi_address io_address(uint16_t port, unsigned bytes, unsigned access)
{
	return (struct acpi_address){
		.space = ACPI_SPACE_IO,
		.bit_width = (uint8_t)(8 * bytes),
		.access_size = (uint8_t)(__builtin_ctz(access) + 1),
		.address = port,
	};
}

static gpa_t put_fadt(
	struct writer *writer, const struct acpi_config *config, gpa_t facs, gpa_t dsdt)
{
	struct acpi_fadt fadt = {
		.header = make_header("FACP", 6, sizeof(fadt)),
		.facs = (uint32_t)facs,
		.dsdt = (uint32_t)dsdt,
		.preferred_profile = PROFILE_DESKTOP,
		.sci_interrupt = config->sci_irq,
		.pm1a_event = config->pm1_event_port,
		.pm1a_control = config->pm1_control_port,
		.pm_timer = config->pm_timer_port,
		.pm1_event_length = 4,
		.pm1_control_length = 2,
		.pm_timer_length = config->pm_timer_port ? 4 : 0,
		.c2_latency = NO_C_STATE,
		.c3_latency = NO_C_STATE,
		.century = CENTURY,
		.boot_architecture = ACPI_BOOT_LEGACY_DEVICES,
		.flags = ACPI_FADT_WBINVD | ACPI_FADT_PROC_C1 | ACPI_FADT_SLEEP_BUTTON |
			 ACPI_FADT_FIX_RTC | ACPI_FADT_TIMER_32,
		.minor_version = 4,
		.x_dsdt = dsdt,
		.x_pm1a_event = io_address(config->pm1_event_port, 4, 2),
		.x_pm1a_control = io_address(config->pm1_control_port, 2, 2),
	};

	if (config->pm_timer_port)
		fadt.x_pm_timer = io_address(config->pm_timer_port, 4, 4);
	if (config->gpe0_port) {
		fadt.gpe0 = config->gpe0_port;
		fadt.gpe0_length = config->gpe0_length;
		fadt.x_gpe0 = io_address(config->gpe0_port, config->gpe0_length, 1);
	}
	if (config->has_i8042)
		fadt.boot_architecture |= ACPI_BOOT_8042;
	if (!config->has_vga)
		fadt.boot_architecture |= ACPI_BOOT_NO_VGA;
	if (config->reset_port) {
		fadt.flags |= ACPI_FADT_RESET;
		fadt.reset_register = io_address(config->reset_port, 1, 1);
		fadt.reset_value = config->reset_value;
	}
	return put_table(writer, &fadt.header);
}

struct madt_builder {
	uint8_t bytes[MADT_MAX] __attribute__((aligned(16)));
	size_t size;
	bool full;
};

static void madt_append(struct madt_builder *madt, const void *entry, size_t size)
{
	if (size > sizeof(madt->bytes) - madt->size) {
		madt->full = true;
		return;
	}
	memcpy(madt->bytes + madt->size, entry, size);
	madt->size += size;
}

#define MADT_APPEND(madt, type_, entry_type, ...)                                                  \
	madt_append(madt,                                                                          \
		&(entry_type){ .type = (type_), .length = sizeof(entry_type), __VA_ARGS__ },       \
		sizeof(entry_type))

static gpa_t put_madt(struct writer *writer, const struct acpi_config *config)
{
	struct madt_builder madt = { .size = sizeof(struct acpi_madt) };
	struct acpi_madt *head = (struct acpi_madt *)madt.bytes;

	for (unsigned i = 0; i < config->nr_vcpus; i++)
		MADT_APPEND(&madt, ACPI_MADT_LOCAL_APIC, struct acpi_madt_local_apic,
			.processor = (uint8_t)i, .apic_id = (uint8_t)i,
			.flags = ACPI_LOCAL_APIC_ENABLED);
	MADT_APPEND(&madt, ACPI_MADT_IO_APIC, struct acpi_madt_io_apic, .id = config->ioapic_id,
		.address = (uint32_t)config->ioapic_address);
	for (unsigned i = 0; i < config->nr_overrides; i++) {
		const struct acpi_interrupt_override *override = &config->overrides[i];

		MADT_APPEND(&madt, ACPI_MADT_OVERRIDE, struct acpi_madt_override,
			.source = override->isa_irq, .interrupt = override->pin,
			.flags = override->level ? ACPI_INTERRUPT_ACTIVE_HIGH | ACPI_INTERRUPT_LEVEL
						 : 0);
	}
	MADT_APPEND(&madt, ACPI_MADT_LOCAL_NMI, struct acpi_madt_local_nmi,
		.processor = ALL_PROCESSORS, .lint = LINT1);
	if (madt.full)
		return 0;
	*head = (struct acpi_madt){
		.header = make_header("APIC", 5, madt.size),
		.local_apic = (uint32_t)config->local_apic_address,
		.flags = ACPI_MADT_PCAT_COMPAT,
	};
	return put_table(writer, &head->header);
}

static gpa_t put_mcfg(struct writer *writer, const struct acpi_config *config)
{
	struct acpi_mcfg mcfg = {
		.header = make_header("MCFG", 1, sizeof(mcfg)),
		.address = config->ecam_address,
		.last_bus = config->ecam_last_bus,
	};

	return put_table(writer, &mcfg.header);
}

static gpa_t put_hpet(struct writer *writer, gpa_t address)
{
	struct acpi_hpet hpet = {
		.header = make_header("HPET", 1, sizeof(hpet)),
		.event_timer_block = ACPI_HPET_BLOCK,
		.address = { .space = ACPI_SPACE_MEMORY, .address = address },
	};

	return put_table(writer, &hpet.header);
}

static gpa_t put_tpm2(struct writer *writer, gpa_t control)
{
	struct acpi_tpm2 tpm2 = {
		.header = make_header("TPM2", 4, sizeof(tpm2)),
		.control_address = control,
		.start_method = ACPI_TPM2_CRB,
	};

	return put_table(writer, &tpm2.header);
}

#define GENERATION_MARKER 0x56474941

/* With the page's address in place. */
static gpa_t put_generation(struct writer *writer, gpa_t page)
{
	struct acpi_image *image = writer->image;
	gpa_t address =
		put(writer, acpi_generation_ssdt, acpi_generation_ssdt_size, TABLE_ALIGNMENT);
	uint32_t marker = GENERATION_MARKER, value = (uint32_t)page;
	struct acpi_header *header;
	uint8_t *at;

	if (!address)
		return 0;
	image->generation = address - image->base;
	header = (struct acpi_header *)(image->bytes + image->generation);
	at = memmem(header, acpi_generation_ssdt_size, &marker, sizeof(marker));
	assert(at);
	image->generation_pointer = (size_t)(at - image->bytes);
	memcpy(at, &value, sizeof(value));
	header->checksum = 0;
	header->checksum = checksum(header, acpi_generation_ssdt_size);
	return address;
}

/* What the root tables list. */
#define MAX_TABLES (6 + ACPI_MAX_SSDTS)
struct table_list {
	gpa_t addresses[MAX_TABLES];
	unsigned nr;
	bool incomplete;
};

static void list(struct table_list *tables, gpa_t address)
{
	tables->addresses[tables->nr++] = address;
	tables->incomplete |= !address;
}

static gpa_t put_xsdt(struct writer *writer, const struct table_list *tables)
{
	struct {
		struct acpi_header header;
		uint64_t tables[MAX_TABLES];
	} __attribute__((packed))
	xsdt = { make_header("XSDT", 1, sizeof(xsdt.header) + 8 * (size_t)tables->nr), { 0 } };

	for (unsigned i = 0; i < tables->nr; i++)
		xsdt.tables[i] = tables->addresses[i];
	return put_table(writer, &xsdt.header);
}

/* For systems that know no XSDT. */
static gpa_t put_rsdt(struct writer *writer, const struct table_list *tables)
{
	struct {
		struct acpi_header header;
		uint32_t tables[MAX_TABLES];
	} __attribute__((packed))
	rsdt = { make_header("RSDT", 1, sizeof(rsdt.header) + 4 * (size_t)tables->nr), { 0 } };

	for (unsigned i = 0; i < tables->nr; i++)
		rsdt.tables[i] = (uint32_t)tables->addresses[i];
	return put_table(writer, &rsdt.header);
}

static void put_rsdp(struct acpi_image *image, gpa_t rsdt, gpa_t xsdt)
{
	struct acpi_rsdp rsdp = {
		.revision = 2,
		.rsdt = (uint32_t)rsdt,
		.length = sizeof(rsdp),
		.xsdt = xsdt,
	};

	memcpy(rsdp.signature, "RSD PTR ", sizeof(rsdp.signature));
	memcpy(rsdp.oem_id, "ATOLL ", sizeof(rsdp.oem_id));
	rsdp.checksum = checksum(&rsdp, offsetof(struct acpi_rsdp, length));
	rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
	memcpy(image->bytes, &rsdp, sizeof(rsdp));
}

bool acpi_build(const struct acpi_config *config, gpa_t base, struct acpi_image *image)
{
	struct writer writer = { image, base + sizeof(struct acpi_rsdp) };
	struct table_list tables = { .nr = 0 };
	gpa_t dsdt, facs, rsdt, xsdt;

	memset(image, 0, sizeof(*image));
	image->base = base;
	dsdt = put(&writer, config->dsdt, config->dsdt_size, TABLE_ALIGNMENT);
	facs = put_facs(&writer);
	list(&tables, put_fadt(&writer, config, facs, dsdt));
	list(&tables, put_madt(&writer, config));
	if (config->hpet_address)
		list(&tables, put_hpet(&writer, config->hpet_address));
	if (config->ecam_address)
		list(&tables, put_mcfg(&writer, config));
	for (unsigned i = 0; i < config->nr_ssdts; i++)
		list(&tables, put(&writer, config->ssdts[i].bytes, config->ssdts[i].size,
				      TABLE_ALIGNMENT));
	if (config->tpm_control_address)
		list(&tables, put_tpm2(&writer, config->tpm_control_address));
	if (config->has_generation)
		list(&tables, put_generation(&writer, config->generation_address));
	rsdt = put_rsdt(&writer, &tables);
	xsdt = put_xsdt(&writer, &tables);
	put_rsdp(image, rsdt, xsdt);
	return dsdt && facs && !tables.incomplete && rsdt && xsdt;
}

int acpi_install(const struct acpi_config *config, struct guest_memory *memory, gpa_t *rsdp,
	struct error *err)
{
	struct acpi_image *image = malloc(sizeof(*image));
	bool fits;

	if (!image)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for ACPI tables");
	fits = acpi_build(config, ACPI_BASE, image) &&
	       guest_memory_write(memory, ACPI_BASE, image->bytes, image->size) == 0;
	if (fits && config->has_generation)
		fits = guest_memory_write(memory, config->generation_address,
			       config->generation_page, GUEST_PAGE_SIZE) == 0;
	free(image);
	if (!fits)
		return error_set(err, EXIT_CODE_CONFIG,
			"the guest has no room for ACPI tables below 1 MiB: give it --memory 1M or "
			"more");
	*rsdp = ACPI_BASE;
	return 0;
}
