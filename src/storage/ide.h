/*
 * The IDE function of PIIX3 (Intel 82371SB): two channels with two devices each, bus master DMA.
 */
#ifndef STORAGE_IDE_H
#define STORAGE_IDE_H

#include "pci/pci.h"
#include "storage/ata.h"

#define IDE_NR_CHANNELS 2
#define IDE_NR_UNITS    4 /* primary master, primary slave, secondary master, secondary slave */

struct ide;

/* Where a legacy channel is, if it is not in native mode: the board's business. */
struct ide_legacy {
	uint16_t command_port[IDE_NR_CHANNELS]; /* 8 ports: 0x1f0, 0x170 */
	uint16_t control_port[IDE_NR_CHANNELS]; /* 1 port: 0x3f6, 0x376 */
	struct irq_line irq[IDE_NR_CHANNELS];   /* 14, 15 */
};

/*
 * Returns 0, or fills `err`. `name` outlives it; the caller plugs ide_function. `legacy` (NULL: a
 * function in native mode, whose channels are in BARs 0 to 3) puts the channels on their ports.
 */
int ide_create(struct ide **ide, const char *name, struct machine *machine,
	const struct ide_legacy *legacy, struct error *err);
/* Unplugged, and not under the machine lock. The caller closes the images. Takes NULL. */
void ide_destroy(struct ide *ide);

struct pci_function *ide_function(struct ide *ide);

/* A device on a unit that has none, before the guest runs; as ahci_attach. */
int ide_attach(struct ide *ide, unsigned unit, const char *name,
	const struct ata_identity *identity, struct block_device *image, struct error *err);
/* The first unit without a device, or -1. */
int ide_free_unit(const struct ide *ide);
struct ata_device *ide_device(struct ide *ide, unsigned unit);

#endif
