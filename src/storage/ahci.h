/*
 * An AHCI controller, ICH9's, with six ports (AHCI 1.3.1).
 */
#ifndef STORAGE_AHCI_H
#define STORAGE_AHCI_H

#include "pci/pci.h"
#include "storage/ata.h"

#define AHCI_NR_PORTS 6

struct ahci;

/* Returns 0, or fills `err`. `name` outlives it; the caller plugs ahci_function. `interrupt_pin` is
 * 1 to 4. */
int ahci_create(struct ahci **ahci, const char *name, struct machine *machine,
	uint8_t interrupt_pin, struct error *err);
/* Unplugged, and not under the machine lock. The caller closes the images. Takes NULL. */
void ahci_destroy(struct ahci *ahci);

struct pci_function *ahci_function(struct ahci *ahci);

/*
 * A device on a port that has none, before the guest runs. `image` may be NULL for an optical
 * drive. `name` outlives the controller. Returns 0, or fills `err`.
 */
int ahci_attach(struct ahci *ahci, unsigned port, const char *name,
	const struct ata_identity *identity, struct block_device *image, struct error *err);
/* The first port without a device, or -1. */
int ahci_free_port(const struct ahci *ahci);
/* The device of a port, or NULL. */
struct ata_device *ahci_device(struct ahci *ahci, unsigned port);

#endif
