/*
 * What every board has of the IBM PC/AT and its successors: interrupt controllers, timers, clock,
 * keyboard controller, ways to reset and to open the A20 gate, ACPI power management and a serial
 * line, wired to each other and to the processors. A board embeds it and adds memory, PCI and what
 * is its own. Everything under the machine lock.
 */
#ifndef BOARD_AT_H
#define BOARD_AT_H

#include "board/board.h"
#include "chip/ioapic.h"
#include "isa/isa_ports.h"

enum at_port {
	AT_PORT_PIC_MASTER = 0x20,
	AT_PORT_PIT = 0x40,
	AT_PORT_KEYBOARD = 0x60,
	AT_PORT_B = 0x61,
	AT_PORT_RTC = 0x70,
	AT_PORT_A = 0x92,
	AT_PORT_PIC_SLAVE = 0xa0,
	AT_PORT_IDE_SECONDARY = 0x170,
	AT_PORT_IDE_PRIMARY = 0x1f0,
	AT_PORT_COM4 = 0x2e8,
	AT_PORT_COM2 = 0x2f8,
	AT_PORT_IDE_SECONDARY_CONTROL = 0x376,
	AT_PORT_LPT1 = 0x378,
	AT_PORT_COM3 = 0x3e8,
	AT_PORT_FDC = 0x3f0,
	AT_PORT_IDE_PRIMARY_CONTROL = 0x3f6, /* in the middle of FDC's eight */
	AT_PORT_COM1 = 0x3f8,
	AT_PORT_ELCR_MASTER = 0x4d0,
	AT_PORT_ELCR_SLAVE = 0x4d1,
	AT_PORT_PVPANIC = 0x505,
	AT_PORT_PCI_CONFIG = 0xcf8,
	AT_PORT_RESET = 0xcf9,
};

enum at_irq {
	AT_IRQ_PIT = 0,
	AT_IRQ_KEYBOARD = 1,
	AT_IRQ_CASCADE = 2,
	AT_IRQ_COM2 = 3, /* and COM4 */
	AT_IRQ_COM1 = 4, /* and COM3 */
	AT_IRQ_FDC = 6,
	AT_IRQ_LPT1 = 7,
	AT_IRQ_RTC = 8,
	AT_IRQ_SCI = 9,
	AT_IRQ_AUX = 12,
	AT_IRQ_IDE_PRIMARY = 14,
	AT_IRQ_IDE_SECONDARY = 15,
};

#define AT_IOAPIC_PIN_PIT 2
#define AT_IOAPIC_ID      0
#define AT_IOAPIC_BASE    UINT64_C(0xfec00000)
#define AT_LAPIC_BASE     UINT64_C(0xfee00000)
#define AT_TPM_BASE       UINT64_C(0xfed40000)

/* The 8259s' inputs that can be made level triggered: not the timer's, the keyboard's, the cascade,
 * the RTC's and the coprocessor's. */
#define AT_ELCR_MASTER 0xf8
#define AT_ELCR_SLAVE  0xde

/* Who may drive the SCI. */
enum at_sci_source { AT_SCI_PM, AT_SCI_GPE };

struct at {
	struct machine *machine;
	struct i8259 pic_master, pic_slave;
	struct ioapic ioapic;
	struct i8254 pit;
	struct mc146818 rtc;
	struct acpi_pm pm; /* its ports are the board's to map */
	struct i8042 keyboard;
	struct system_port system_port;
	struct reset_control reset_control;
	struct ns16550 serials[BOARD_NR_SERIALS];
	struct irq_wired_or serial_irqs[2]; /* of COM1 and COM3, of COM2 and COM4 */
	struct parallel_port parallel;
	struct pvpanic pvpanic;
	struct tpm_crb tpm;
	/* What there is of these. */
	bool has_serial[BOARD_NR_SERIALS], has_parallel, has_pvpanic, has_tpm;
	struct irq_wired_or sci;
	uint16_t isa_levels, pci_levels; /* of the 8259s' inputs, by who drives them */
	uint8_t a20_sources;             /* any of them opens the gate */
	/* Somebody else has the PIT's and the RTC's interrupts; what those two drive meanwhile. */
	bool timers_replaced;
	bool pit_level, rtc_level;
};

/* The board's machine and cpu_bus are there; `at` is zeroed. `soft_off` is the SLP_TYP of S5 in the
 * board's DSDT. */
void at_init(struct at *at, struct machine *machine, const struct board_config *config,
	uint8_t soft_off);

/* An ISA interrupt, at the 8259s and the IOAPIC. One device drives it. */
struct irq_line at_isa_irq(struct at *at, unsigned irq);
/* An input of the 8259s that PCI's interrupts are routed to, apart from ISA's of the same number.
 */
struct irq_line at_pci_irq(struct at *at, unsigned irq);

/* The PIT and the RTC are cut off from their interrupts, or connected again: for a HPET, whose
 * lines are at_isa_irq's of the same numbers. */
void at_replace_timers(struct at *at, bool replace);

/* Sets what the ACPI tables say of these chips, but for the ports of power management; adds their
 * SSDTs. */
void at_describe(const struct at *at, struct acpi_config *acpi);

/* As board_line_receive and the others. */
size_t at_line_receive(struct at *at, enum board_line line, const uint8_t *bytes, size_t size);
void at_line_receive_break(struct at *at, enum board_line line);
void at_line_writable(struct at *at, enum board_line line);

/* Maps the debug exit at the user's port, -1 for none, which must not be another chip's. Last of
 * all. Returns 0, or fills `err`. */
int at_add_debug_exit(struct at *at, const char *board, int port, struct error *err);

#endif
