/*
 * A PCI function: configuration space, base address registers, interrupts (PCI 3.0, 6; PCI Express
 * Base 4.0, 7). What a device model builds its PCI side from.
 *
 * A device is built in three steps. Before it is plugged: pci_function_init, then pci_add_*, which
 * lay out configuration space; these assert on a layout that is impossible. Then pci_plug
 * (pci/pci_host.h). From then on the guest owns the writable bits, and callbacks tell the device
 * what changed. Addresses, sizes and offsets are bytes.
 *
 * Everything runs under the machine lock unless it says "any thread".
 */
#ifndef PCI_PCI_H
#define PCI_PCI_H

#include "machine/address_space.h"
#include "machine/device.h"
#include "machine/doorbell.h"
#include "pci/pci_regs.h"

#include <pthread.h>
#include <stdatomic.h>

struct pci_host;
struct pci_function;

#define PCI_NR_BARS          6
#define PCI_ROM_BAR          6 /* the expansion ROM, in `bars` behind them */
#define PCI_NR_DECODED       7
#define PCI_MAX_MSIX_VECTORS 128
#define PCI_MAX_MSI_VECTORS  32

/* The address of a BAR that is not decoded: disabled, out of the bus's windows, or shadowed. */
#define PCI_UNMAPPED UINT64_MAX

struct pci_identity {
	uint16_t vendor_id;
	uint16_t device_id;
	uint8_t revision;
	uint32_t class_code; /* class, subclass, interface: 0x010000 */
	uint16_t subsystem_vendor_id;
	uint16_t subsystem_id;
	uint8_t interrupt_pin; /* 1 to 4 for INTA to INTD; 0: no INTx */
};

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEMORY32, PCI_BAR_MEMORY64 };

struct pci_bar {
	enum pci_bar_kind kind; /* PCI_BAR_MEMORY64 takes the next register too */
	bool prefetchable;
	uint64_t size;            /* a power of two: 4 to 256 for I/O, 16 and up for memory */
	const struct io_ops *ops; /* offsets are from the BAR's start */
	/*
	 * Memory (guest_memory_add_movable) of the BAR's size, which a multiple of the page size
	 * then is: RAM that a card brings along, reached without `ops`. It is shown while the BAR
	 * is decoded. With `rom` writes go to `ops`. NULL: registers only.
	 */
	struct ram_region *ram;
	bool rom;
	const char *name; /* for traces: "virtio-blk" */
	/* The bus's. */
	struct pci_function *function;
	gpa_t address; /* where it is decoded now, or PCI_UNMAPPED */
	gpa_t next_address;
};

/* What a device is told. Any may be NULL. */
struct pci_function_ops {
	/* After configuration space went to its reset values: power on, a reset of the machine, a
	 * function level reset by the guest, or before it is taken off the bus. The command
	 * register is 0, all vectors are masked, INTx is low. */
	void (*reset)(void *device);
	/* The function's state was replaced as a whole (restore). */
	void (*restored)(void *device);
	/* Bits of the command register changed: PCI_COMMAND_IO, _MEMORY, _MASTER. */
	void (*command_changed)(void *device, uint16_t command);
	/* A BAR is decoded at another place, or no more (PCI_UNMAPPED). */
	void (*bar_moved)(void *device, unsigned bar, gpa_t address);
	/* The guest is about to read, or has written, bytes of configuration space; for
	 * capabilities with registers that act (virtio's PCI_CFG). The bytes are in `config`. */
	void (*config_reading)(void *device, unsigned offset, unsigned size);
	void (*config_written)(void *device, unsigned offset, unsigned size);
	/*
	 * The guest ejected the slot. The function is off the bus already; the device may be
	 * destroyed, but not before the caller has let go of the machine lock.
	 */
	void (*ejected)(void *device);
};

struct pci_msix_entry {
	uint64_t address;
	uint32_t data;
	uint32_t control; /* PCI_MSIX_ENTRY_MASKED */
};

/* Guest-visible. `lock` of struct pci_function guards the interrupt half. */
struct pci_function_state {
	uint8_t config[PCI_CONFIG_SIZE];
	struct pci_msix_entry msix[PCI_MAX_MSIX_VECTORS];
	uint64_t msix_pending[PCI_MAX_MSIX_VECTORS / 64];
	uint8_t intx; /* the level that the device drives */
	uint8_t reserved[7];
};

/* A doorbell inside a BAR: follows it wherever the guest moves it. */
struct pci_doorbell {
	struct doorbell doorbell; /* all but its address */
	uint8_t bar;
	uint32_t offset;
	struct pci_doorbell *next; /* the function's */
	bool attached;
};

struct pci_function {
	struct pci_function_state state;

	/* Immutable once plugged. */
	const struct pci_function_ops *ops;
	void *device;
	const char *name; /* unique in the machine: "disk0" */
	uint8_t reset_config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE];
	uint16_t next_free;         /* where the next capability goes */
	uint8_t last_capability;    /* offset, 0: none yet */
	uint8_t msi, msix, express; /* offsets of these capabilities, 0: none */
	uint8_t msix_bar;
	uint32_t msix_table_offset, msix_pba_offset;
	uint16_t nr_msix_vectors;

	/* For whoever plugged it, set before: as ops.ejected, and after it. May be NULL. */
	void (*ejected)(void *owner);
	void *owner;

	/* Machine lock. */
	struct pci_host *host; /* NULL: not plugged; written under `lock` too */
	uint8_t number;        /* of its device on bus 0 */
	uint8_t sub_number;    /* of the function in its device, 0 to 7 */
	struct pci_bar bars[PCI_NR_DECODED];
	uint8_t *rom; /* of the expansion ROM's size, padded with ffh; NULL: none */
	struct pci_doorbell *doorbells;

	/* A leaf lock: `state`'s MSI-X table, pending bits and irqfds, for notifies from any
	 * thread. */
	pthread_mutex_t lock;
	bool msix_open; /* enabled, function not masked, bus master: vectors may be sent */
	_Atomic bool msi_enabled, msix_enabled, bus_master; /* written under it */
	int msix_irqfd[PCI_MAX_MSIX_VECTORS];               /* -1: none */
};

extern const struct device_type pci_function_type;

/* `name` must outlive the function. */
void pci_function_init(struct pci_function *function, const char *name,
	const struct pci_identity *identity, const struct pci_function_ops *ops, void *device);
/* Not while plugged. */
void pci_function_finish(struct pci_function *function);

/* A BAR's address, kind and size; `device` of its ops is the function's device. */
void pci_add_bar(struct pci_function *function, unsigned index, const struct pci_bar *bar);

/*
 * An expansion ROM with these bytes, which are copied (PCI 3.0, 6.2.5.2); up to 16 MiB, and not
 * empty. Before the guest runs, plugged or not. Returns 0 or -ENOMEM.
 */
int pci_add_rom(struct pci_function *function, const void *bytes, size_t size);

/* A register of 1, 2 or 4 bytes beyond the standard ones: its reset value, and the bits that the
 * guest may change. */
void pci_add_register(struct pci_function *function, unsigned offset, unsigned size, uint32_t value,
	uint32_t writable);

/*
 * A capability of `size` bytes, its id and next pointer included (they are filled here). `bytes`
 * are its reset values, `writable` the bits that the guest may change (NULL: none). Returns its
 * offset.
 */
unsigned pci_add_capability(struct pci_function *function, uint8_t id, const void *bytes,
	const void *writable, unsigned size);

/* A root complex integrated endpoint that can reset itself (FLR). */
void pci_add_express(struct pci_function *function);

/* Message signalled interrupts with `nr_vectors` (a power of two up to 32), 64-bit, maskable. */
void pci_add_msi(struct pci_function *function, unsigned nr_vectors);

/*
 * MSI-X with its table and pending bits in a memory BAR. Accesses to them are served here; the
 * BAR's own ops see the others. Both must lie on 8 bytes inside the BAR and on no page with the
 * device's registers if the guest may map those to users.
 */
void pci_add_msix(struct pci_function *function, unsigned nr_vectors, unsigned bar,
	uint32_t table_offset, uint32_t pba_offset);

/* Bytes that the table and the pending bits take. */
#define PCI_MSIX_TABLE_SIZE(nr_vectors) ((nr_vectors)*16u)
#define PCI_MSIX_PBA_SIZE(nr_vectors)   (((nr_vectors) + 63) / 64 * 8)

/* Little-endian values of configuration space, as the guest sees them. */
uint32_t pci_config_get(const struct pci_function *function, unsigned offset, unsigned size);
/* The device's own write: no masks, no callbacks. */
void pci_config_set(struct pci_function *function, unsigned offset, unsigned size, uint32_t value);
/* For a register that locks itself or others: which bits of the byte the guest may change from now
 * on. Who locks unlocks, at the function's reset. */
void pci_config_set_writable(struct pci_function *function, unsigned offset, uint8_t writable);

/* An access to a BAR's registers that does not come from an address (virtio's PCI_CFG). Beyond the
 * BAR it floats. */
uint64_t pci_bar_read(struct pci_function *function, unsigned bar, uint64_t offset, unsigned size);
void pci_bar_write(struct pci_function *function, unsigned bar, uint64_t offset, unsigned size,
	uint64_t value);

/* The level of the function's INTx pin. The guest's Interrupt Disable bit is obeyed here. */
void pci_set_intx(struct pci_function *function, bool level);

/* Which kind of interrupt the guest wants. Any thread. */
bool pci_msi_is_enabled(const struct pci_function *function);
bool pci_msix_is_enabled(const struct pci_function *function);

/*
 * Send a vector's message, or leave it pending while it is masked; a vector that does not exist, or
 * of a function that is not plugged, is dropped. Any thread, with or without the machine lock.
 */
void pci_msi_notify(struct pci_function *function, unsigned vector);
void pci_msix_notify(struct pci_function *function, unsigned vector);

/*
 * Lets an eventfd raise a vector without this process (KVM's irqfd); -1 takes it away. Returns 0,
 * or -ENOTSUP where the engine has no such thing: then the caller reads the eventfd and calls
 * pci_msix_notify. The caller owns `fd`, and takes it away before closing it.
 */
int pci_msix_set_irqfd(struct pci_function *function, unsigned vector, int fd);

/* May the device access memory (bus master enable)? Any thread. */
bool pci_is_bus_master(const struct pci_function *function);

/* The caller keeps the memory until it is detached; pci_unplug detaches as well. */
void pci_attach_doorbell(struct pci_function *function, struct pci_doorbell *doorbell);
void pci_detach_doorbell(struct pci_function *function, struct pci_doorbell *doorbell);

#endif
