/*
 * The board "pc", for its own files: chips and wires that both chipsets have, and what a chipset
 * is. docs/pc.md tells how a device is attached.
 */
#ifndef BOARD_PC_H
#define BOARD_PC_H

#include "board/at.h"
#include "board/at_dma.h"
#include "board/pc_flash.h"
#include "board/pc_memory.h"
#include "chip/acpi_pm_regs.h"
#include "chip/debug_console.h"
#include "chip/fw_cfg.h"
#include "chip/hpet.h"
#include "chip/ich9_smi.h"
#include "chip/ps2_keyboard.h"
#include "chip/ps2_mouse.h"
#include "pci/pci_host.h"

enum pc_port {
	PC_PORT_APM = 0xb2,
	PC_PORT_DEBUG = 0x402,
	PC_PORT_FW_CFG = 0x510,
	PC_PORT_PM = 0x600, /* where it is put without firmware */
	PC_PORT_PCI_HOTPLUG = 0xae00,
	PC_PORT_GPE = 0xafe0,
};

#define PC_HPET_BASE UINT64_C(0xfed00000)

/* Where a screen is plugged into the PCI bus. */
#define PC_SLOT_VGA 2

/* The SLP_TYP of S5: PIIX4's "soft off", which OVMF writes without a look at any table. */
#define PC_SLEEP_S5 0

#define PC_NR_PIRQS 4

/* What the processors' addresses reach, RAM and PCI's window. OVMF's page tables for it take 4 MiB;
 * for as many bits as the host may have they would take more than there is. */
#define PC_ADDRESS_BITS 40

struct pc;

/* A north and a south bridge. */
struct pc_chipset {
	const char *name;
	uint64_t max_low_ram;   /* where RAM below 4 GiB ends at the latest, */
	uint64_t split_low_ram; /* and where it ends if there is more than that */
	uint64_t pci_window;    /* where PCI's window begins if RAM ends before */
	unsigned first_pci_pin; /* of the IOAPIC, for PIRQ 0 */
	unsigned pin_rotation;  /* INTA of device 0 is PIRQ of this number */
	uint16_t pm_size;       /* ports at PMBASE */
	gpa_t ecam_base;        /* where it is put without firmware; 0: there is none */
	uint64_t ecam_size;
	uint32_t hpet_inputs; /* of the IOAPIC, which nobody else has; 0: no HPET */
	/* Its disk controller. */
	enum board_storage storage;
	unsigned storage_device, storage_function;
	const uint8_t *ssdt; /* AML, of the host bridge */
	const size_t *ssdt_size;

	/* The host bridge, not yet plugged; then the other functions, when there is a bus. */
	void (*init_bridge)(struct pc *pc, struct pci_function *bridge);
	void (*add_functions)(struct pc *pc);
	/* What firmware would have written into the registers. */
	void (*configure)(struct pc *pc);
	/* Registers of the PM block that are not ACPI's; any may be NULL. */
	uint32_t (*pm_read)(struct pc *pc, unsigned offset);
	void (*pm_write)(struct pc *pc, unsigned offset, unsigned size, uint32_t value);
	bool has_smm; /* it can have system management mode */
};

struct pc {
	struct board board;
	const struct pc_chipset *chipset;
	struct pc_memory memory;
	struct pc_flash flash;
	struct at at;
	struct at_dma dma;
	struct i82077 fdc; /* if `has_fdc` */
	bool has_fdc;
	struct acpi_gpe gpe;
	struct hpet hpet; /* if the chipset has one */
	bool has_smm;
	struct ich9_smi smi; /* if `has_smm` */
	struct ps2_keyboard keyboard;
	struct ps2_mouse mouse;
	struct fw_cfg fw_cfg;
	struct debug_console debug_console;
	struct pci_host *pci;
	struct pci_function bridge, isa_bridge, power; /* the last on i440fx only */

	bool has_firmware;
	struct board_boot boot;
	void *vga_bios; /* a copy; NULL: none */
	uint64_t vga_bios_size;
	uint64_t memory_bytes, low_end;
	uint64_t device_memory_bytes;
	uint64_t pci_high;                /* where PCI's window above 4 GiB begins */
	uint8_t pirq_routes[PC_NR_PIRQS]; /* an ISA interrupt, bit 7: none */
	bool pirq_levels[PC_NR_PIRQS];
	uint16_t pm_base; /* where the PM block is mapped, 0: nowhere */
	gpa_t rcrb_base;  /* q35's root complex registers likewise */
};

static inline struct pc *pc_of(struct board *board)
{
	return (struct pc *)board;
}

/* What the chipset's registers decide. */
void pc_move_pm(struct pc *pc, uint16_t base, bool enabled);
void pc_route_pirq(struct pc *pc, unsigned pirq, uint8_t route);

/* pc_floppy.c */
void pc_floppy_add(struct pc *pc);
struct i82077 *pc_floppy_fdc(struct board *board);
/* What a BIOS finds in the RTC's memory: the kinds of the drives, and their number in the byte for
 * equipment. */
uint8_t pc_floppy_kinds(const struct pc *pc);
uint8_t pc_floppy_equipment(const struct pc *pc);
void pc_floppy_describe(const struct pc *pc, struct acpi_config *acpi);

/* pc_smm.c: system management interrupts, if `has_smm`, and what firmware is told of them. */
void pc_smm_add(struct pc *pc);
int pc_smm_fill(struct pc *pc, struct error *err);

/* pc_firmware.c: what is in the RTC's memory, with firmware or without. At each reset, as is... */
void pc_firmware_fill_cmos(struct pc *pc);
/* ...what firmware finds in fw_cfg. */
int pc_firmware_fill(struct pc *pc, struct error *err);
/* As board_type.generation_page. */
gpa_t pc_generation_page(struct board *board);
/* The ACPI tables' numbers. */
void pc_describe(const struct board *board, struct acpi_config *acpi);

extern const struct pc_chipset pc_q35, pc_i440fx;

#endif
