/*
 * A cache of tables that are one cluster each: L2 tables, or refcount blocks. The caller holds the
 * image's lock; a table stays where it is until the next call that may load another.
 */
#ifndef BLOCK_QCOW2_TABLES_H
#define BLOCK_QCOW2_TABLES_H

#include <stdbool.h>
#include <stdint.h>

struct qcow2;

struct qcow2_table {
	uint64_t offset; /* in the image file; 0: the slot is free */
	uint8_t *bytes;
	uint32_t dirty_from, dirty_to; /* bytes; equal: clean */
	bool used;                     /* since the hand passed */
	struct qcow2_table *next;      /* of the bucket */
};

struct qcow2_tables {
	struct qcow2_table *slots, **buckets;
	uint32_t nr_slots, nr_buckets; /* nr_buckets: a power of two */
	uint32_t hand;
	uint32_t nr_dirty;
};

int qcow2_tables_init(struct qcow2_tables *tables, uint32_t nr_slots);
void qcow2_tables_finish(struct qcow2_tables *tables);

/* The cached table at `offset`, or NULL. */
struct qcow2_table *qcow2_tables_peek(struct qcow2_tables *tables, uint64_t offset);
/* Loads it if need be; 0 or -errno. */
int qcow2_tables_get(
	struct qcow2 *q, struct qcow2_tables *tables, uint64_t offset, struct qcow2_table **table);
/* A table of zeros, all dirty, without reading the image. */
int qcow2_tables_new(
	struct qcow2 *q, struct qcow2_tables *tables, uint64_t offset, struct qcow2_table **table);
void qcow2_tables_mark(
	struct qcow2_tables *tables, struct qcow2_table *table, uint32_t from, uint32_t bytes);
/* Drops it, dirty or not. */
void qcow2_tables_forget(struct qcow2_tables *tables, uint64_t offset);
void qcow2_tables_forget_all(struct qcow2_tables *tables);
/* Writes all dirty parts; does not flush. */
int qcow2_tables_write(struct qcow2 *q, struct qcow2_tables *tables);

#endif
