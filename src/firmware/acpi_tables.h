/*
 * Layout of ACPI tables: ACPI 6.4, 5.2.5 (RSDP), 5.2.6 (header), 5.2.9 (FADT), 5.2.10 (FACS),
 * 5.2.12 (MADT); PCI Firmware 3.2, 4.1.2 (MCFG).
 */
#ifndef FIRMWARE_ACPI_TABLES_H
#define FIRMWARE_ACPI_TABLES_H

#include "base/bits.h"

struct acpi_rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct acpi_address {
	uint8_t space;
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size;
	uint64_t address;
} __attribute__((packed));

#define ACPI_SPACE_MEMORY 0
#define ACPI_SPACE_IO     1

struct acpi_fadt {
	struct acpi_header header;
	uint32_t facs;
	uint32_t dsdt;
	uint8_t reserved0;
	uint8_t preferred_profile;
	uint16_t sci_interrupt;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios_request, pstate_control;
	uint32_t pm1a_event, pm1b_event;
	uint32_t pm1a_control, pm1b_control;
	uint32_t pm2_control;
	uint32_t pm_timer;
	uint32_t gpe0, gpe1;
	uint8_t pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length;
	uint8_t gpe0_length, gpe1_length, gpe1_base;
	uint8_t cst_control;
	uint16_t c2_latency, c3_latency;
	uint16_t flush_size, flush_stride;
	uint8_t duty_offset, duty_width;
	uint8_t day_alarm, month_alarm, century;
	uint16_t boot_architecture;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_address reset_register;
	uint8_t reset_value;
	uint16_t arm_boot_architecture;
	uint8_t minor_version;
	uint64_t x_facs, x_dsdt;
	struct acpi_address x_pm1a_event, x_pm1b_event;
	struct acpi_address x_pm1a_control, x_pm1b_control;
	struct acpi_address x_pm2_control;
	struct acpi_address x_pm_timer;
	struct acpi_address x_gpe0, x_gpe1;
	struct acpi_address sleep_control, sleep_status;
	uint64_t hypervisor_vendor;
} __attribute__((packed));

#define ACPI_FADT_WBINVD       BIT(0)
#define ACPI_FADT_PROC_C1      BIT(2)
#define ACPI_FADT_SLEEP_BUTTON BIT(5) /* set: there is no fixed one */
#define ACPI_FADT_FIX_RTC      BIT(6) /* set: RTC wake-up is not in the fixed registers */
#define ACPI_FADT_TIMER_32     BIT(8)
#define ACPI_FADT_RESET        BIT(10)

#define ACPI_BOOT_LEGACY_DEVICES BIT(0)
#define ACPI_BOOT_8042           BIT(1)
#define ACPI_BOOT_NO_VGA         BIT(2)

struct acpi_facs {
	char signature[4];
	uint32_t length;
	uint32_t hardware_signature;
	uint32_t waking_vector;
	uint32_t global_lock;
	uint32_t flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved0[3];
	uint32_t ospm_flags;
	uint8_t reserved1[24];
} __attribute__((packed));

struct acpi_madt {
	struct acpi_header header;
	uint32_t local_apic;
	uint32_t flags;
} __attribute__((packed));

#define ACPI_MADT_PCAT_COMPAT BIT(0) /* there are 8259s too */

struct acpi_madt_local_apic {
	uint8_t type, length;
	uint8_t processor;
	uint8_t apic_id;
	uint32_t flags;
} __attribute__((packed));

struct acpi_madt_io_apic {
	uint8_t type, length;
	uint8_t id;
	uint8_t reserved;
	uint32_t address;
	uint32_t first_interrupt;
} __attribute__((packed));

struct acpi_madt_override {
	uint8_t type, length;
	uint8_t bus;
	uint8_t source;
	uint32_t interrupt;
	uint16_t flags;
} __attribute__((packed));

struct acpi_madt_local_nmi {
	uint8_t type, length;
	uint8_t processor;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

struct acpi_mcfg {
	struct acpi_header header;
	uint8_t reserved0[8];
	/* One allocation. */
	uint64_t address;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint8_t reserved1[4];
} __attribute__((packed));

/* TCG ACPI Specification 1.3, 8.3 (TPM2), without a log. */
struct acpi_tpm2 {
	struct acpi_header header;
	uint16_t platform_class, reserved;
	uint64_t control_address;
	uint32_t start_method;
	uint8_t parameters[12];
	uint32_t log_length;
	uint64_t log_address;
} __attribute__((packed));

#define ACPI_TPM2_CRB 7 /* a start method */

/* IA-PC HPET 1.0a, 3.2.4. */
struct acpi_hpet {
	struct acpi_header header;
	uint32_t event_timer_block;
	struct acpi_address address;
	uint8_t number;
	uint16_t minimum_tick;
	uint8_t page_protection;
} __attribute__((packed));

/* The capabilities' upper half: vendor, legacy routing, 64 bits, three comparators, revision 1. */
#define ACPI_HPET_BLOCK 0x8086a201

enum acpi_madt_type {
	ACPI_MADT_LOCAL_APIC = 0,
	ACPI_MADT_IO_APIC = 1,
	ACPI_MADT_OVERRIDE = 2,
	ACPI_MADT_LOCAL_NMI = 4,
};

#define ACPI_LOCAL_APIC_ENABLED BIT(0)

/* MPS INTI flags, ACPI 6.4, 5.2.12.5; 0 conforms to the bus. */
#define ACPI_INTERRUPT_ACTIVE_HIGH BIT(0)
#define ACPI_INTERRUPT_LEVEL       BITS(3, 2)

#endif
