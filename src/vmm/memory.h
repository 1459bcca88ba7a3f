/*
 * Memory beyond what a machine starts with: what --memory SIZE,max=SIZE lets it grow to
 * (virtio-mem), and files that it has as persistent memory (--pmem).
 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include "board/board.h"
#include "virtio/virtio.h"
#include "virtio/virtio_mem.h"
#include "vmm/vm.h"

/* The room that a board needs for it. Returns 0, or fills `err`. */
int memory_device_bytes(const struct vm_config *config, uint64_t *bytes, struct error *err);

/* Makes the device that grows the memory of `config` to its maximum. Returns 0, or fills `err`. */
int memory_create(struct virtio_mem **mem, const char *name, const struct vm_config *config,
	struct board *board, struct error *err);

/* Makes persistent memory of `value`, what --pmem was given. Returns 0, or fills `err`. */
int memory_create_pmem(struct virtio_device **device, const char *name, const char *value,
	struct board *board, struct error *err);

#endif
