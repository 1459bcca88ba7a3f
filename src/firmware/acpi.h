/*
 * ACPI tables (ACPI 6.4, chapter 5) for a PC without firmware: RSDP, XSDT, FADT, FACS, MADT, DSDT,
 * and where the board has PCI an MCFG (PCI Firmware 3.2, 4.1.2) and an SSDT.
 */
#ifndef FIRMWARE_ACPI_H
#define FIRMWARE_ACPI_H

#include "machine/memory.h"

/* An ISA interrupt that does not arrive as an edge at the IOAPIC pin of its own number. */
struct acpi_interrupt_override {
	uint8_t isa_irq;
	uint32_t pin;
	bool level; /* active high, level; else as the ISA bus conforms */
};

#define ACPI_MAX_OVERRIDES 16
#define ACPI_MAX_SSDTS     16

struct acpi_aml {
	const uint8_t *bytes; /* with its header */
	size_t size;
};

/* What the tables say of a board; filled by it. Ports of 0 do not exist. */
struct acpi_config {
	unsigned nr_vcpus; /* APIC ids are 0 to nr_vcpus - 1 */
	gpa_t local_apic_address;
	uint8_t ioapic_id;
	gpa_t ioapic_address;
	struct acpi_interrupt_override overrides[ACPI_MAX_OVERRIDES];
	unsigned nr_overrides;
	uint8_t sci_irq;
	uint16_t pm1_event_port;   /* 4 bytes: status, enable */
	uint16_t pm1_control_port; /* 2 bytes */
	uint16_t pm_timer_port;    /* 4 bytes, 32-bit counter */
	uint16_t gpe0_port;        /* status, then as much enable */
	uint8_t gpe0_length;       /* bytes of both */
	gpa_t ecam_address;        /* of bus 0; 0: none */
	uint8_t ecam_last_bus;
	gpa_t hpet_address;  /* 0: none */
	uint16_t reset_port; /* 1 byte */
	uint8_t reset_value;
	bool has_i8042; /* with a keyboard or mouse that an operating system should look for */
	bool has_vga;
	const uint8_t *dsdt; /* AML with its header */
	size_t dsdt_size;
	struct acpi_aml ssdts[ACPI_MAX_SSDTS];
	unsigned nr_ssdts;
	gpa_t tpm_control_address; /* of a TPM's command response buffer; 0: none */
	/* The page with the machine's generation identifier, with an SSDT of its own. */
	bool has_generation;
	gpa_t generation_address;       /* 0: firmware will choose it */
	const uint8_t *generation_page; /* what acpi_install writes there */
};

/* The DSDT of the board "micro", compiled from micro.asl. */
extern const uint8_t acpi_micro_dsdt[];
extern const size_t acpi_micro_dsdt_size;

/* The SSDT of a PCI host bridge with hotplug on that board, compiled from pci.asl. */
extern const uint8_t acpi_pci_ssdt[];
extern const size_t acpi_pci_ssdt_size;

/* The DSDT of the board "pc", compiled from pc.asl, and its host bridge's SSDTs. */
extern const uint8_t acpi_pc_dsdt[];
extern const size_t acpi_pc_dsdt_size;
extern const uint8_t acpi_q35_ssdt[];
extern const size_t acpi_q35_ssdt_size;
extern const uint8_t acpi_i440fx_ssdt[];
extern const size_t acpi_i440fx_ssdt_size;

/* Serial lines, the parallel port and pvpanic of boards that have them: lines.asl, pvpanic.asl. */
extern const uint8_t acpi_com2_ssdt[], acpi_com3_ssdt[], acpi_com4_ssdt[], acpi_lpt1_ssdt[];
extern const size_t acpi_com2_ssdt_size, acpi_com3_ssdt_size, acpi_com4_ssdt_size,
	acpi_lpt1_ssdt_size;
extern const uint8_t acpi_pvpanic_ssdt[];
extern const size_t acpi_pvpanic_ssdt_size;
/* A floppy controller's with one drive or two, floppy.asl. */
extern const uint8_t acpi_floppy_ssdt[], acpi_floppies_ssdt[];
extern const size_t acpi_floppy_ssdt_size, acpi_floppies_ssdt_size;
/* A TPM's, tpm.asl. */
extern const uint8_t acpi_tpm_ssdt[];
extern const size_t acpi_tpm_ssdt_size;
/* With a marker in place of the page's address. */
extern const uint8_t acpi_generation_ssdt[];
extern const size_t acpi_generation_ssdt_size;

/* Where the tables lie: RAM in the BIOS area, where PCs search for the RSDP. Behind them are the
 * generation's page and what smbios.h describes. */
#define ACPI_BASE            0xe0000
#define ACPI_END             0xef000
#define ACPI_GENERATION_PAGE 0xef000

/* The tables as bytes; `base` is where the first is meant to lie, which is the RSDP. */
#define ACPI_MAX_SIZE (ACPI_END - ACPI_BASE)
struct acpi_image {
	gpa_t base;
	size_t size;
	size_t generation; /* the SSDT with the generation's address, and where that is; 0: none */
	size_t generation_pointer;
	uint8_t bytes[ACPI_MAX_SIZE];
};

/* False: they have no room. */
bool acpi_build(const struct acpi_config *config, gpa_t base, struct acpi_image *image);

/* acpi_loader.c: what firmware does with the tables of an image, whose base is 0: commands for
 * QEMU's table loader, which put it in two files. */
#define ACPI_LOADER_RSDP   "etc/acpi/rsdp"
#define ACPI_LOADER_TABLES "etc/acpi/tables"
#define ACPI_LOADER_SCRIPT "etc/table-loader"
/* A page, whose address firmware writes into the second. */
#define ACPI_LOADER_GENERATION         "etc/vmgenid_guid"
#define ACPI_LOADER_GENERATION_ADDRESS "etc/vmgenid_addr"
#define ACPI_LOADER_COMMAND_SIZE       128
#define ACPI_LOADER_MAX_COMMANDS       64
struct acpi_loader {
	uint8_t commands[ACPI_LOADER_MAX_COMMANDS][ACPI_LOADER_COMMAND_SIZE];
	unsigned nr_commands;
	size_t rsdp_size; /* of the image's beginning; its rest is the tables */
};
/* Clears the checksums that firmware makes. */
void acpi_loader_build(struct acpi_image *image, struct acpi_loader *loader);

/* Writes the tables to guest memory; `*rsdp` is the address of the first. */
int acpi_install(const struct acpi_config *config, struct guest_memory *memory, gpa_t *rsdp,
	struct error *err);

#endif
