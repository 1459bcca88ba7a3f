/*
 * The table cache: a hash, and a clock hand that picks what makes room. Dirty parts are written in
 * units of 512 bytes, the unit in which a medium keeps or loses a write.
 */
#include "block/qcow2_tables.h"
#include "block/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512

int qcow2_tables_init(struct qcow2_tables *tables, uint32_t nr_slots)
{
	tables->nr_slots = nr_slots;
	tables->nr_buckets = 4;
	while (tables->nr_buckets < nr_slots)
		tables->nr_buckets *= 2;
	tables->slots = calloc(nr_slots, sizeof(*tables->slots));
	tables->buckets = calloc(tables->nr_buckets, sizeof(struct qcow2_table *));
	return tables->slots && tables->buckets ? 0 : -ENOMEM;
}

void qcow2_tables_finish(struct qcow2_tables *tables)
{
	for (uint32_t i = 0; tables->slots && i < tables->nr_slots; i++)
		free(tables->slots[i].bytes);
	free(tables->slots);
	free(tables->buckets);
	*tables = (struct qcow2_tables){ 0 };
}

static struct qcow2_table **bucket_of(struct qcow2_tables *tables, uint64_t offset)
{
	uint64_t hash = offset * UINT64_C(0x9e3779b97f4a7c15) >> 32;

	return &tables->buckets[hash & (tables->nr_buckets - 1)];
}

struct qcow2_table *qcow2_tables_peek(struct qcow2_tables *tables, uint64_t offset)
{
	struct qcow2_table *table = *bucket_of(tables, offset);

	while (table && table->offset != offset)
		table = table->next;
	if (table)
		table->used = true;
	return table;
}

static bool is_dirty(const struct qcow2_table *table)
{
	return table->dirty_from != table->dirty_to;
}

static void drop(struct qcow2_tables *tables, struct qcow2_table *table)
{
	struct qcow2_table **at = bucket_of(tables, table->offset);

	while (*at != table)
		at = &(*at)->next;
	*at = table->next;
	tables->nr_dirty -= is_dirty(table);
	table->offset = 0;
	table->dirty_from = table->dirty_to = 0;
	table->used = false;
}

void qcow2_tables_forget(struct qcow2_tables *tables, uint64_t offset)
{
	struct qcow2_table *table = qcow2_tables_peek(tables, offset);

	if (table)
		drop(tables, table);
}

void qcow2_tables_forget_all(struct qcow2_tables *tables)
{
	for (uint32_t i = 0; i < tables->nr_slots; i++) {
		if (tables->slots[i].offset)
			drop(tables, &tables->slots[i]);
	}
}

void qcow2_tables_mark(
	struct qcow2_tables *tables, struct qcow2_table *table, uint32_t from, uint32_t bytes)
{
	uint32_t to = (uint32_t)align_up(from + bytes, SECTOR);

	from = (uint32_t)align_down(from, SECTOR);
	if (!is_dirty(table)) {
		tables->nr_dirty++;
		table->dirty_from = from;
		table->dirty_to = to;
		return;
	}
	if (from < table->dirty_from)
		table->dirty_from = from;
	if (to > table->dirty_to)
		table->dirty_to = to;
}

static int write_table(struct qcow2 *q, struct qcow2_tables *tables, struct qcow2_table *table)
{
	int result = host_file_pwrite(q->file, table->offset + table->dirty_from,
		table->bytes + table->dirty_from, table->dirty_to - table->dirty_from);

	if (result)
		return result;
	table->dirty_from = table->dirty_to = 0;
	tables->nr_dirty--;
	return 0;
}

int qcow2_tables_write(struct qcow2 *q, struct qcow2_tables *tables)
{
	for (uint32_t i = 0; i < tables->nr_slots && tables->nr_dirty > 0; i++) {
		int result =
			is_dirty(&tables->slots[i]) ? write_table(q, tables, &tables->slots[i]) : 0;

		if (result)
			return result;
	}
	return 0;
}

/* A refcount block may be written at any time; an L2 table only in the order of a write-back. */
static int make_clean(struct qcow2 *q, struct qcow2_tables *tables, struct qcow2_table *table)
{
	if (!is_dirty(table))
		return 0;
	if (tables == &q->l2_tables)
		return qcow2_write_back(q);
	return write_table(q, tables, table);
}

/* A free slot with memory; drops what was not used for longest, roughly. */
static int take_slot(struct qcow2 *q, struct qcow2_tables *tables, struct qcow2_table **taken)
{
	struct qcow2_table *table;
	int result;

	for (;;) {
		table = &tables->slots[tables->hand];
		tables->hand = (tables->hand + 1) % tables->nr_slots;
		if (!table->used)
			break;
		table->used = false;
	}
	if (table->offset) {
		result = make_clean(q, tables, table);
		if (result)
			return result;
		/* Giving up what was freed may have dropped it. */
		if (table->offset)
			drop(tables, table);
	}
	if (!table->bytes)
		table->bytes = host_file_memory(q->cluster_bytes);
	*taken = table;
	return table->bytes ? 0 : -ENOMEM;
}

static void enter(struct qcow2_tables *tables, struct qcow2_table *table, uint64_t offset)
{
	struct qcow2_table **bucket = bucket_of(tables, offset);

	table->offset = offset;
	table->used = true;
	table->next = *bucket;
	*bucket = table;
}

int qcow2_tables_get(
	struct qcow2 *q, struct qcow2_tables *tables, uint64_t offset, struct qcow2_table **table)
{
	int result;

	*table = qcow2_tables_peek(tables, offset);
	if (*table)
		return 0;
	result = take_slot(q, tables, table);
	if (result)
		return result;
	result = host_file_pread(q->file, offset, (*table)->bytes, q->cluster_bytes);
	if (result == 0)
		enter(tables, *table, offset);
	return result;
}

int qcow2_tables_new(
	struct qcow2 *q, struct qcow2_tables *tables, uint64_t offset, struct qcow2_table **table)
{
	int result;

	qcow2_tables_forget(tables, offset);
	result = take_slot(q, tables, table);
	if (result)
		return result;
	memset((*table)->bytes, 0, q->cluster_bytes);
	enter(tables, *table, offset);
	qcow2_tables_mark(tables, *table, 0, (uint32_t)q->cluster_bytes);
	return 0;
}
