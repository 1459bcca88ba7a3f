/*
 * Boards: which chips a machine has, at which addresses, on which interrupts. Nothing outside
 * src/board knows a port number.
 */
#ifndef BOARD_BOARD_H
#define BOARD_BOARD_H

#include "board/generation.h"
#include "chip/char_line.h"
#include "chip/i8042.h"
#include "firmware/acpi.h"
#include "firmware/smbios.h"
#include "machine/machine.h"
#include "pci/pci_host.h"
#include "storage/i82077.h"
#include "tpm/tpm_crb.h"

/* What the processors start in, instead of a kernel; copied, but for the variables. */
struct board_firmware {
	const void *code; /* ends at 4 GiB; NULL: none */
	uint64_t code_size;
	/* Flash memory below the code, NULL: none. These bytes, of whole blocks of 4 KiB, stay the
	 * caller's and outlive the board; they get what the guest writes, under the machine lock.
	 */
	uint8_t *variables;
	uint64_t variables_size;
	/* It needs system management mode, in which alone the variables can be written. */
	bool smm;
	const void *vga_bios; /* of the screen, for firmware that looks for one; NULL: none */
	uint64_t vga_bios_size;
};

/* The ends of cables: serial lines, and a parallel port. */
enum board_line {
	BOARD_COM1,
	BOARD_COM2,
	BOARD_COM3,
	BOARD_COM4,
	BOARD_NR_SERIALS,
	BOARD_PARALLEL = BOARD_NR_SERIALS,
	BOARD_NR_LINES
};

/* What is at the other end of one; a port that is not present is not there at all. */
struct board_line_config {
	bool present;
	struct char_line line;
};

struct board_config {
	const char *name;    /* "micro", "pc" */
	const char *chipset; /* of the board pc: "q35", "i440fx"; NULL: its first */
	uint64_t memory_bytes;
	uint64_t device_memory_bytes; /* room for memory of devices, above RAM */
	unsigned nr_vcpus;
	int debug_exit_port;   /* isa-debug-exit, or -1 */
	bool has_pci;          /* a PCI bus, for functions plugged into board_pci */
	struct char_line com1; /* the other end of COM1's cable */
	struct board_line_config lines[BOARD_NR_LINES]; /* of the others */
	/* pvpanic, and who hears of the guest's crash, under the machine lock. */
	bool has_pvpanic;
	void (*panicked)(void *context, uint8_t events);
	void *panic_context;
	struct tpm_backend tpm;      /* who is the TPM; `start` NULL: there is none */
	bool has_generation;         /* an identifier of the machine's generation */
	bool has_floppies;           /* a floppy disk controller; see board_fdc */
	struct smbios_config smbios; /* all but the memory */
	struct board_firmware firmware;
	/* Takes the lines of firmware's debug console, under the machine lock; may be NULL. */
	void (*firmware_line)(void *context, const char *line);
	void *firmware_line_context;
	ns_t wall_clock_ns; /* UTC since 1970 at the machine's time 0, for the RTC */
};

struct board;
struct at;

/*
 * Adds memory, chips and wiring to `machine`, which is initialised and empty, and fills nr_vcpus
 * and the board's half of cpu_bus. An engine is created after this. Returns 0, or fills `err`.
 */
int board_create(struct board **board, const struct board_config *config, struct machine *machine,
	struct error *err);

/* After the machine's last access; takes NULL. */
void board_destroy(struct board *board);

/* After each reset of every device, before the vCPUs run: gets the machine ready for its firmware,
 * or into the state in which firmware would leave it. Not under the machine lock. */
int board_start(struct board *board, struct error *err);

/* What the firmware's tables say of the board. */
void board_describe(const struct board *board, struct acpi_config *acpi);

/* The board's PCI bus, or NULL. Functions are plugged after board_create and before the engine is
 * created, or while the guest runs. */
struct pci_host *board_pci(struct board *board);

/* The disk controller of the board's chipset, which need not be there. */
enum board_storage { BOARD_STORAGE_NONE, BOARD_STORAGE_IDE, BOARD_STORAGE_AHCI };
struct board_storage_place {
	enum board_storage kind;
	unsigned device, sub_number; /* for pci_plug_built_in */
	uint8_t interrupt_pin;       /* of AHCI */
	/* Of IDE's two channels: 8 ports, 1 port, an interrupt. */
	uint16_t command_port[2], control_port[2];
	struct irq_line irq[2];
};
void board_storage_place(struct board *board, struct board_storage_place *place);

/* What firmware tries, in which order. */
struct board_boot {
	const char *order; /* Open Firmware's paths, a line each; NULL: as firmware likes */
	bool menu;         /* it offers a choice, */
	uint16_t wait_ms;  /* for so long */
};
/* Before the guest runs; the text outlives the board. A board without firmware ignores it. */
void board_set_boot(struct board *board, const struct board_boot *boot);

/* The board's PS/2 controller, which may have nothing plugged in, or NULL. */
struct i8042 *board_i8042(struct board *board);

/* The board's floppy disk controller, for drives to be plugged in before the guest runs; NULL:
 * there is none. */
struct i82077 *board_fdc(struct board *board);
/* The number of the PCI device that is the bridge to ISA; 0: there is none. */
unsigned board_isa_bridge(struct board *board);

/*
 * An address for memory of a device (guest_memory_add_device), a multiple of 128 MiB, as Linux
 * adds memory. Before the engine is created. 0, and `err`, if the room that the board was asked
 * for does not suffice.
 */
gpa_t board_take_device_memory(struct board *board, uint64_t bytes, struct error *err);
#define BOARD_DEVICE_MEMORY_ALIGNMENT (UINT64_C(128) << 20)

/* These run under the machine lock. */

/* The machine is not the one that it was: it was restored, or copied. Returns 0, -errno, or
 * -ENOTSUP if the guest has no such identifier. */
int board_renew_generation(struct board *board);

/* The answer to the command that the TPM was given; see tpm_crb_respond. */
void board_tpm_respond(struct board *board, const uint8_t *response, size_t size);

/* The user presses the power button: an ACPI event that asks the guest to power off. */
void board_power_button(struct board *board);

/*
 * Input for a serial line: takes what the chip has room for and returns how many bytes that was; if
 * fewer than offered, char_line.room is called when there is room again.
 */
size_t board_line_receive(
	struct board *board, enum board_line line, const uint8_t *bytes, size_t size);
void board_line_receive_break(struct board *board, enum board_line line);

/* char_line.write took fewer bytes than it was given, and now can take more. */
void board_line_writable(struct board *board, enum board_line line);

/* What a board is made of; `boards` ends with a NULL. */
struct board_type {
	const char *name;
	const char *summary; /* for --help */
	int (*create)(struct board **board, const struct board_config *config,
		struct machine *machine, struct error *err);
	void (*destroy)(struct board *board);
	int (*start)(struct board *board, struct error *err); /* NULL: nothing to do */
	void (*describe)(const struct board *board, struct acpi_config *acpi);
	void (*power_button)(struct board *board);
	struct at *(*at)(struct board *board);
	struct pci_host *(*pci)(struct board *board);
	/* The page with the generation's identifier; 0: the guest has not told it yet. */
	gpa_t (*generation_page)(struct board *board);
	struct i8042 *(*i8042)(struct board *board); /* NULL: it has none */
	struct i82077 *(*fdc)(struct board *board);  /* likewise */
	void (*storage_place)(
		struct board *board, struct board_storage_place *place);      /* likewise */
	void (*set_boot)(struct board *board, const struct board_boot *boot); /* likewise */
	/* What the screen is if nobody says otherwise, "vga", and its slot; NULL: there is none. */
	const char *display_device;
	unsigned vga_slot;
	unsigned (*isa_bridge)(struct board *board); /* NULL: there is none */
	/* Of the processors' physical addresses; 0: as many as the host's have. */
	unsigned address_bits;
};

/* For boards: the identifier, and the event that tells of another. Returns 0, or fills `err`. */
int board_add_generation(struct board *board, struct irq_line event, struct error *err);

/* First member of each board's own struct. */
struct board {
	const struct board_type *type;
	struct machine *machine;
	gpa_t device_memory, device_memory_end; /* room that is left; both 0: none */
	struct smbios_config smbios;            /* whole */
	bool has_generation;
	struct generation generation;
};

extern const struct board_type micro_board_type, pc_board_type;
extern const struct board_type *const boards[];

#endif
