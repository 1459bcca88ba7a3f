/*
 * The controllers that disks and optical drives share: AHCI and IDE. They come with the first drive
 * that asks for them, and stay. The first of the kind that the board's chipset has is the
 * chipset's, the others are cards. Event loop's thread.
 */
#ifndef VMM_CONTROLLERS_H
#define VMM_CONTROLLERS_H

#include "board/board.h"
#include "storage/ata.h"
#include "vmm/usb.h"

enum disk_bus {
	DISK_BUS_VIRTIO,
	DISK_BUS_NVME,
	DISK_BUS_AHCI,
	DISK_BUS_IDE,
	DISK_BUS_USB,
	DISK_BUS_CHIPSET, /* the chipset's controller; AHCI if it has none */
};

#define CONTROLLERS_MAX 4

struct controller {
	char name[16]; /* "ahci0" */
	enum disk_bus bus;
	struct pci_function *function; /* NULL: this entry is free */
	void *object;
};

struct controllers {
	struct controller items[CONTROLLERS_MAX];
	struct usb usb;
};

/*
 * Attaches a drive to the next free port of a controller of that bus; makes one if there is none
 * with room. `image` may be NULL for an optical drive. Before the guest runs. Returns 0, or fills
 * `err`. `*port` is that of AHCI, or IDE's unit.
 */
int controllers_attach(struct controllers *controllers, struct board *board, enum disk_bus bus,
	const char *name, const struct ata_identity *identity, struct block_device *image,
	struct ata_device **device, const struct controller **controller, unsigned *port,
	struct error *err);
/* What DISK_BUS_CHIPSET means on this board; another bus is what it is. */
enum disk_bus controllers_bus(struct board *board, enum disk_bus bus);
/* No vCPU runs. Destroys the drives too. */
void controllers_destroy(struct controllers *controllers, struct machine *machine);

#endif
