/*
 * An NVMe controller with one namespace, a disk image (NVMe 1.4).
 */
#ifndef STORAGE_NVME_H
#define STORAGE_NVME_H

#include "block/block.h"
#include "pci/pci.h"

struct nvme;

struct nvme_config {
	const char *name; /* unique in the machine; must outlive the controller */
	struct machine *machine;
	struct block_device *image; /* the caller's; outlives the controller */
	const char *serial;         /* up to 20 characters */
};

/* Returns 0, or fills `err`. The caller plugs nvme_function. */
int nvme_create(struct nvme **nvme, const struct nvme_config *config, struct error *err);
/* Unplugged, and not under the machine lock. Takes NULL. */
void nvme_destroy(struct nvme *nvme);

struct pci_function *nvme_function(struct nvme *nvme);

/* The image has another size now. Under the machine lock. */
void nvme_resized(struct nvme *nvme);

#endif
