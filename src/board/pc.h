/*
 * The board "pc", for its own files: chips and wires that both chipsets have, and what a chipset
 * is. docs/pc.md tells how a device is attached.
 */
#ifndef BOARD_PC_H
#define BOARD_PC_H

#include "board/board.h"
#include "board/pc_memory.h"
#include "chip/acpi_pm_regs.h"
#include "chip/debug_console.h"
#include "chip/fw_cfg.h"
#include "chip/ioapic.h"
#include "chip/ps2_keyboard.h"
#include "chip/ps2_mouse.h"
#include "isa/isa_ports.h"
#include "pci/pci_host.h"

#define PC_NR_ISA_IRQS 16

enum pc_port {
	PC_PORT_PIC_MASTER = 0x20,
	PC_PORT_PIT = 0x40,
	PC_PORT_KEYBOARD = 0x60,
	PC_PORT_B = 0x61,
	PC_PORT_RTC = 0x70,
	PC_PORT_A = 0x92,
	PC_PORT_PIC_SLAVE = 0xa0,
	PC_PORT_COM1 = 0x3f8,
	PC_PORT_DEBUG = 0x402,
	PC_PORT_ELCR_MASTER = 0x4d0,
	PC_PORT_ELCR_SLAVE = 0x4d1,
	PC_PORT_FW_CFG = 0x510,
	PC_PORT_PM = 0x600, /* where it is put without firmware */
	PC_PORT_PCI_CONFIG = 0xcf8,
	PC_PORT_RESET = 0xcf9,
	PC_PORT_PCI_HOTPLUG = 0xae00,
	PC_PORT_GPE = 0xafe0,
};

/* Where a screen is plugged into the PCI bus. */
#define PC_SLOT_VGA 2

enum pc_irq {
	PC_IRQ_PIT = 0,
	PC_IRQ_KEYBOARD = 1,
	PC_IRQ_CASCADE = 2,
	PC_IRQ_COM1 = 4,
	PC_IRQ_RTC = 8,
	PC_IRQ_SCI = 9,
	PC_IRQ_AUX = 12,
};

#define PC_IOAPIC_BASE UINT64_C(0xfec00000)
#define PC_LAPIC_BASE  UINT64_C(0xfee00000)
#define PC_NR_PIRQS    4

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
	const uint8_t *ssdt; /* AML, of the host bridge */
	const size_t *ssdt_size;

	/* The host bridge, not yet plugged; then the other functions, when there is a bus. */
	void (*init_bridge)(struct pc *pc, struct pci_function *bridge);
	void (*add_functions)(struct pc *pc);
	/* What firmware would have written into the registers. */
	void (*configure)(struct pc *pc);
	/* Registers of the PM block that are not ACPI's; any may be NULL. */
	uint32_t (*pm_read)(struct pc *pc, unsigned offset);
};

struct pc {
	struct board board;
	const struct pc_chipset *chipset;
	struct pc_memory memory;
	struct i8259 pic_master, pic_slave;
	struct ioapic ioapic;
	struct i8254 pit;
	struct mc146818 rtc;
	struct acpi_pm pm;
	struct acpi_gpe gpe;
	struct i8042 keyboard;
	struct ps2_keyboard ps2_keyboard;
	struct ps2_mouse ps2_mouse;
	struct system_port system_port;
	struct reset_control reset_control;
	struct ns16550 com1;
	struct fw_cfg fw_cfg;
	struct debug_console debug_console;
	struct irq_wired_or sci;
	struct pci_host *pci;
	struct pci_function bridge, isa_bridge, power; /* the last on i440fx only */

	bool has_firmware;
	void *vga_bios; /* a copy; NULL: none */
	uint64_t vga_bios_size;
	uint64_t memory_bytes, low_end;
	uint8_t a20_sources;
	uint16_t isa_levels;              /* of the ISA interrupts, by their devices */
	uint8_t pirq_routes[PC_NR_PIRQS]; /* an ISA interrupt, bit 7: none */
	bool pirq_levels[PC_NR_PIRQS];
	uint16_t pm_base; /* where the PM block is mapped, 0: nowhere */
	gpa_t rcrb_base;  /* q35's root complex registers likewise */
};

static inline struct pc *pc_of(struct board *board)
{
	return (struct pc *)board;
}

/* An ISA interrupt, at the 8259s and the IOAPIC. One device drives it. */
struct irq_line pc_isa_irq(struct pc *pc, unsigned irq);
/* A line whose rising edge is a request to whoever runs the machine. */
struct irq_line pc_request(struct pc *pc, enum machine_request request);

/* What the chipset's registers decide. */
void pc_move_pm(struct pc *pc, uint16_t base, bool enabled);
void pc_route_pirq(struct pc *pc, unsigned pirq, uint8_t route);

/* pc_firmware.c: what firmware finds in fw_cfg and in the RTC's memory. At each reset. */
int pc_firmware_fill(struct pc *pc, struct error *err);
/* The ACPI tables' numbers. */
void pc_describe(const struct board *board, struct acpi_config *acpi);

extern const struct pc_chipset pc_q35, pc_i440fx;

#endif
