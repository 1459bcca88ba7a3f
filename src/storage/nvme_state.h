/*
 * What the files of the NVMe controller share. Under the machine lock.
 */
#ifndef STORAGE_NVME_STATE_H
#define STORAGE_NVME_STATE_H

#include "storage/drive.h"
#include "storage/nvme.h"
#include "storage/nvme_regs.h"

#define NVME_NR_QUEUES   33 /* the admin queue and 32 more, of each kind */
#define NVME_MAX_ENTRIES 1024
#define NVME_PAGE        4096
#define NVME_MDTS        7 /* log2 of pages in one transfer */
#define NVME_MAX_BYTES   ((uint64_t)NVME_PAGE << NVME_MDTS)
#define NVME_MAX_EVENTS  4   /* requests for asynchronous events that may wait */
#define NVME_MAX_RUNNING 256 /* commands that are fetched and not completed */
#define NVME_MAX_RANGES  256

struct nvme_sq_state {
	uint64_t base;
	uint32_t size; /* entries; 0: there is no such queue */
	uint32_t head, tail;
	uint32_t cq;
};

struct nvme_cq_state {
	uint64_t base;
	uint32_t size;
	uint32_t head, tail;
	uint16_t vector;
	bool interrupts;
	bool phase;
};

struct nvme_state {
	uint32_t cc, csts, aqa, intms;
	uint64_t asq, acq;
	uint32_t features[NVME_NR_FEATURES];
	uint16_t events[NVME_MAX_EVENTS]; /* command identifiers */
	uint32_t nr_events;
	uint32_t pending_event; /* that no request was there for; 0: none */
	bool namespace_changed; /* told, and the log page not read since */
	uint8_t reserved[7];
	struct nvme_sq_state sqs[NVME_NR_QUEUES];
	struct nvme_cq_state cqs[NVME_NR_QUEUES];
};

struct nvme_range {
	uint32_t attributes;
	uint32_t nr_blocks;
	uint64_t lba;
};

struct nvme_command {
	struct nvme *nvme;
	struct nvme_sqe sqe;
	uint16_t sq;
	bool is_write;
	struct scatter scatter;
	struct drive_transfer transfer;
	struct nvme_range *ranges;
	unsigned nr_ranges, next_range;
	struct nvme_command *next; /* free ones */
};

struct nvme {
	struct nvme_state state;
	struct pci_function function;
	struct machine *machine;
	struct drive drive;
	char serial[21];
	uint32_t running[NVME_NR_QUEUES];  /* commands of a submission queue */
	uint32_t reserved[NVME_NR_QUEUES]; /* entries of a completion queue that will be needed */
	unsigned nr_running;
	struct nvme_command *free;
	bool serving;
};

/* Ends a fetched command, and frees it. */
void nvme_complete(struct nvme_command *command, enum nvme_status status, uint32_t result);
/* Frees it without an end: it is kept elsewhere. */
void nvme_release(struct nvme_command *command);
/* Serves submission queues as far as there is room. */
void nvme_serve(struct nvme *nvme);
/* Tells the guest of an event. */
void nvme_event(struct nvme *nvme, uint32_t event);
void nvme_update_interrupt(struct nvme *nvme);

/* nvme_io.c */
void nvme_io_command(struct nvme_command *command);
/* Collects the command's PRPs. */
enum nvme_status nvme_collect(struct nvme_command *command, uint64_t bytes, bool writable);
uint32_t nvme_block_bytes(const struct nvme *nvme);
uint64_t nvme_nr_blocks(const struct nvme *nvme);

/* nvme_admin.c */
void nvme_admin_command(struct nvme_command *command);
void nvme_reset_features(struct nvme *nvme);

#endif
