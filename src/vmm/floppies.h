/*
 * The floppy drives of a virtual machine, as `--floppy FILE` describes them: on the board's
 * controller, from the start to the end of the machine. Event loop's thread.
 */
#ifndef VMM_FLOPPIES_H
#define VMM_FLOPPIES_H

#include "vmm/disk.h"
#include "vmm/vm.h"

struct floppies_item {
	char name[16]; /* "floppy0" */
	struct disk_options options;
	struct block_device *image; /* NULL: the drive is empty */
};

struct floppies {
	struct board *board;
	struct block_events events;
	struct floppies_item items[VM_MAX_FLOPPIES];
	unsigned count;
};

/* Before the guest runs; `stopped` as block_events have it. Returns 0, or fills `err`;
 * floppies_destroy in either case. */
int floppies_create(struct floppies *floppies, const struct vm_config *config, struct board *board,
	void (*stopped)(void *context, const struct error *why), void *context, struct error *err);
/* Before the board, and when no vCPU runs. A zeroed one is fine. */
void floppies_destroy(struct floppies *floppies);

/* The drive of this name, or -1. */
int floppies_find(const struct floppies *floppies, const char *name);

/* Takes out what is in the drive, and puts `text` in, as --floppy has it, or nothing (NULL).
 * Returns 0, or fills `err`, with the old disk still in. */
int floppies_change_medium(
	struct floppies *floppies, unsigned drive, const char *text, struct error *err);

#endif
