/*
 * Doorbells: writes that only tell a device's own thread to look, served without the machine lock.
 *
 * A doorbell is one address (of a port or of MMIO), perhaps with a width and a value. A write that
 * matches signals its eventfd and reaches no device; every other access goes the ordinary way. The
 * region beneath must therefore do the same on a write that arrives there. KVM's kernel signals
 * the eventfd itself (ioeventfd); under the software engine, and where the kernel has no room, the
 * table here does, on the vCPU's thread.
 */
#ifndef MACHINE_DOORBELL_H
#define MACHINE_DOORBELL_H

#include "base/types.h"

#include <pthread.h>

struct doorbell {
	/* The owner's; unchanged while attached. */
	uint64_t address;
	bool is_port;
	uint8_t size; /* of the write, bytes; 0: any */
	bool has_value;
	uint64_t value; /* matches only writes of this value; needs a size */
	int fd;         /* eventfd, non-blocking */
	/*
	 * Instead of the write to `fd`, where this process sees the access. Any vCPU's thread,
	 * concurrently; may take no lock that is held while a doorbell is attached or detached.
	 * NULL: the eventfd.
	 */
	void (*ring)(void *context);
	void *context;

	/* The table's. */
	struct doorbell *next;
};

#define DOORBELL_BUCKETS 64

struct doorbell_table {
	pthread_rwlock_t lock;                      /* a leaf; prefers writers */
	struct doorbell *buckets[DOORBELL_BUCKETS]; /* whether one is empty is read without it */
};

void doorbell_table_init(struct doorbell_table *table);
void doorbell_table_finish(struct doorbell_table *table);

/* Under the machine lock. Once detach returns, `ring` neither runs nor will run. */
void doorbell_table_attach(struct doorbell_table *table, struct doorbell *doorbell);
void doorbell_table_detach(struct doorbell_table *table, struct doorbell *doorbell);

/* True if the write was a doorbell's, which has been rung. Any thread. */
bool doorbell_table_write(struct doorbell_table *table, bool is_port, uint64_t address,
	unsigned size, uint64_t value);

#endif
