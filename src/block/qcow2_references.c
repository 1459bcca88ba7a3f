/*
 * Walking all tables of an image that may hold anything.
 */
#include "block/qcow2_references.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CLUSTERS (UINT64_C(1) << 28) /* counted in 1 GiB of memory that is touched as used */
#define MAX_REPORTS  100

void qcow2_report(struct qcow2_references *references, const char *format, ...)
{
	struct qcow2_check *check = references->check;
	char sentence[256];
	va_list arguments;

	if (!check->report || check->corruptions + check->leaks > MAX_REPORTS)
		return;
	va_start(arguments, format);
	vsnprintf(sentence, sizeof(sentence), format, arguments);
	va_end(arguments);
	check->report(check->context, sentence);
}

bool qcow2_references_add(
	struct qcow2_references *references, uint64_t offset, uint64_t bytes, const char *what)
{
	struct qcow2 *q = references->q;
	uint64_t first = offset >> q->cluster_bits;

	if (bytes == 0)
		return true;
	if (offset > INT64_MAX - bytes ||
		(offset + bytes - 1) >> q->cluster_bits >= references->nr_clusters) {
		references->check->corruptions++;
		qcow2_report(references, "%s at offset %#llx lies outside of the file", what,
			(unsigned long long)offset);
		return false;
	}
	for (uint64_t i = first; i <= (offset + bytes - 1) >> q->cluster_bits; i++) {
		if (references->counts[i] < UINT32_MAX)
			references->counts[i]++;
	}
	return true;
}

static bool bad_entry(struct qcow2_references *references, const char *what, uint64_t entry)
{
	references->check->corruptions++;
	qcow2_report(references, "%s entry %#llx is not possible", what, (unsigned long long)entry);
	return false;
}

/* Returns false if the entry refers to something it cannot. */
static bool count_cluster(
	struct qcow2_references *references, uint64_t entry, uint64_t bitmap, bool is_active)
{
	struct qcow2 *q = references->q;
	struct qcow2_cluster cluster;
	uint64_t offset, bytes;

	if (qcow2_cluster_decode(q, entry, bitmap, &cluster))
		return bad_entry(references, "L2", entry);
	if (cluster.compressed) {
		qcow2_compressed_extent(q, cluster.descriptor, &offset, &bytes);
		/* The last sector of the file may be counted whole but end before that. */
		if (offset < q->file->size && offset + bytes > q->file->size)
			bytes = q->file->size - offset;
		references->check->compressed_clusters += is_active;
		references->check->allocated_clusters += is_active;
		return qcow2_references_add(references, offset, bytes, "a compressed cluster");
	}
	if (cluster.host == 0)
		return true;
	references->check->allocated_clusters += is_active;
	return qcow2_references_add(references, cluster.host, q->cluster_bytes, "a cluster");
}

static int count_l2(
	struct qcow2_references *references, uint64_t offset, uint8_t *table, bool is_active)
{
	struct qcow2 *q = references->q;
	bool changed = false;
	int result = host_file_pread(q->file, offset, table, q->cluster_bytes);

	for (uint64_t at = 0; at < q->cluster_bytes && result == 0; at += q->entry_bytes) {
		uint64_t bitmap = q->entry_bytes == 16 ? be64_load(table + at + 8) : 0;

		if (count_cluster(references, be64_load(table + at), bitmap, is_active))
			continue;
		memset(table + at, 0, q->entry_bytes);
		changed = true;
	}
	if (result == 0 && changed && references->mend)
		result = host_file_pwrite(q->file, offset, table, q->cluster_bytes);
	return result;
}

/* Returns 1 if entries were dropped. */
static int count_l1(
	struct qcow2_references *references, uint64_t *l1, uint32_t entries, bool is_active)
{
	struct qcow2 *q = references->q;
	uint8_t *table = host_file_memory(q->cluster_bytes);
	int result = table ? 0 : -ENOMEM, changed = 0;

	for (uint32_t i = 0; i < entries && result == 0; i++) {
		uint64_t offset = l1[i] & QCOW2_ENTRY_OFFSET;

		if (offset == 0)
			continue;
		if ((offset & (q->cluster_bytes - 1) ? bad_entry(references, "L1", l1[i])
						     : qcow2_references_add(references, offset,
							       q->cluster_bytes, "an L2 table"))) {
			result = count_l2(references, offset, table, is_active);
			continue;
		}
		l1[i] = 0;
		changed = 1;
	}
	free(table);
	return result ? result : changed;
}

static int count_active(struct qcow2_references *references)
{
	struct qcow2 *q = references->q;
	int result;

	qcow2_references_add(references, q->header.l1_offset, (uint64_t)q->header.l1_entries * 8,
		"the active L1 table");
	result = count_l1(references, q->l1, q->header.l1_entries, true);
	if (result == 1 && references->mend)
		result = qcow2_write_table(
			q, q->header.l1_offset, q->l1, q->header.l1_entries, q->header.l1_entries);
	return result < 0 ? result : 0;
}

static int count_snapshot(
	struct qcow2_references *references, const struct qcow2_snapshot *snapshot)
{
	struct qcow2 *q = references->q;
	uint64_t *l1 = calloc(snapshot->l1_entries + UINT64_C(1), sizeof(*l1));
	int result = -ENOMEM;

	if (!l1)
		return result;
	result = 0;
	if (qcow2_references_add(references, snapshot->l1_offset,
		    (uint64_t)snapshot->l1_entries * 8, "a snapshot's L1 table")) {
		result = qcow2_read_table(q, snapshot->l1_offset, l1, snapshot->l1_entries);
		if (result == 0)
			result = count_l1(references, l1, snapshot->l1_entries, false);
		if (result == 1 && references->mend)
			result = qcow2_write_table(q, snapshot->l1_offset, l1, snapshot->l1_entries,
				snapshot->l1_entries);
	}
	free(l1);
	return result < 0 ? result : 0;
}

static uint64_t snapshot_table_bytes(const struct qcow2 *q)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < q->nr_snapshots; i++)
		bytes += align_up(q->snapshots[i].entry_bytes, 8);
	return bytes;
}

static int count_bitmap(struct qcow2_references *references, uint64_t offset, uint32_t entries)
{
	struct qcow2 *q = references->q;
	uint64_t *table;
	int result;

	if ((uint64_t)entries * 8 > QCOW2_MAX_L1_BYTES || offset & (q->cluster_bytes - 1)) {
		bad_entry(references, "bitmap directory", offset);
		return 0;
	}
	if (!qcow2_references_add(references, offset, (uint64_t)entries * 8, "a bitmap table"))
		return 0;
	table = malloc((entries + UINT64_C(1)) * 8);
	if (!table)
		return -ENOMEM;
	result = qcow2_read_table(q, offset, table, entries);
	for (uint32_t i = 0; i < entries && result == 0; i++) {
		if (table[i] & QCOW2_ENTRY_OFFSET)
			qcow2_references_add(references, table[i] & QCOW2_ENTRY_OFFSET,
				q->cluster_bytes, "a bitmap");
	}
	free(table);
	return result;
}

/* Bitmaps that the autoclear bit does not vouch for are leaks. */
static int count_bitmaps(struct qcow2_references *references)
{
	enum { TABLE_ENTRIES = 8, NAME_BYTES = 18, EXTRA_BYTES = 20, FIXED_BYTES = 24 };
	struct qcow2 *q = references->q;
	uint64_t bytes = 0, offset = 0;
	uint8_t *directory;
	int result;

	for (uint32_t i = 0; i < q->nr_extensions; i++) {
		if (q->extensions[i].type == QCOW2_EXTENSION_BITMAPS &&
			q->extensions[i].bytes >= 24) {
			bytes = be64_load(q->extensions[i].data + 8);
			offset = be64_load(q->extensions[i].data + 16);
		}
	}
	if (!(q->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS) || bytes == 0 ||
		bytes > QCOW2_MAX_BITMAP_DIRECTORY ||
		!qcow2_references_add(references, offset, bytes, "the bitmap directory"))
		return 0;
	directory = malloc(bytes);
	if (!directory)
		return -ENOMEM;
	result = host_file_pread(q->file, offset, directory, bytes);
	for (uint64_t at = 0; at + FIXED_BYTES <= bytes && result == 0;) {
		const uint8_t *entry = directory + at;

		result = count_bitmap(
			references, be64_load(entry), be32_load(entry + TABLE_ENTRIES));
		at = align_up(at + FIXED_BYTES + be16_load(entry + NAME_BYTES) +
				      (uint64_t)be32_load(entry + EXTRA_BYTES),
			8);
	}
	free(directory);
	return result;
}

int qcow2_references_count(struct qcow2_references *references, struct error *err)
{
	struct qcow2 *q = references->q;
	int result;

	references->nr_clusters = qcow2_clusters(q, q->file->size);
	if (references->nr_clusters > MAX_CLUSTERS)
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"'%s' has more than %llu clusters, too many to count; convert it to larger "
			"ones",
			q->image->path, (unsigned long long)MAX_CLUSTERS);
	references->counts = calloc(references->nr_clusters + 1, sizeof(uint32_t));
	if (!references->counts)
		return -ENOMEM;
	qcow2_references_add(references, 0, q->cluster_bytes, "the header");
	qcow2_references_add(references, q->header.snapshots_offset, snapshot_table_bytes(q),
		"the snapshot table");
	result = count_active(references);
	for (uint32_t i = 0; i < q->nr_snapshots && result == 0; i++)
		result = count_snapshot(references, &q->snapshots[i]);
	return result ? result : count_bitmaps(references);
}

/* Looks at one flag; true if it is to change. */
static bool check_flag(struct qcow2_references *references, uint64_t entry, const char *what)
{
	struct qcow2 *q = references->q;
	uint64_t cluster = (entry & QCOW2_ENTRY_OFFSET) >> q->cluster_bits;
	bool is_copied = entry & QCOW2_ENTRY_COPIED;

	if ((entry & QCOW2_ENTRY_OFFSET) == 0 || entry & QCOW2_ENTRY_COMPRESSED ||
		cluster >= references->nr_clusters ||
		is_copied == (references->counts[cluster] == 1))
		return false;
	if (!is_copied) {
		references->check->stale_flags++;
		return true;
	}
	references->check->corruptions++;
	qcow2_report(references, "%s at offset %#llx is shared but marked as not shared", what,
		(unsigned long long)(entry & QCOW2_ENTRY_OFFSET));
	return true;
}

static int check_l2_flags(struct qcow2_references *references, uint64_t offset, uint8_t *table)
{
	struct qcow2 *q = references->q;
	bool changed = false;
	int result = host_file_pread(q->file, offset, table, q->cluster_bytes);

	for (uint64_t at = 0; at < q->cluster_bytes && result == 0; at += q->entry_bytes) {
		uint64_t entry = be64_load(table + at);

		if (check_flag(references, entry, "the cluster")) {
			be64_store(table + at, entry ^ QCOW2_ENTRY_COPIED);
			changed = true;
		}
	}
	if (result == 0 && changed && references->mend)
		result = host_file_pwrite(q->file, offset, table, q->cluster_bytes);
	return result;
}

int qcow2_references_flags(struct qcow2_references *references)
{
	struct qcow2 *q = references->q;
	uint8_t *table = host_file_memory(q->cluster_bytes);
	bool changed = false;
	int result = table ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < q->header.l1_entries && result == 0; i++) {
		uint64_t offset = q->l1[i] & QCOW2_ENTRY_OFFSET;

		if (check_flag(references, q->l1[i], "the L2 table")) {
			if (references->mend)
				q->l1[i] ^= QCOW2_ENTRY_COPIED;
			changed = true;
		}
		if (offset && (offset & (q->cluster_bytes - 1)) == 0 &&
			offset >> q->cluster_bits < references->nr_clusters)
			result = check_l2_flags(references, offset, table);
	}
	free(table);
	if (result == 0 && changed && references->mend)
		result = qcow2_write_table(
			q, q->header.l1_offset, q->l1, q->header.l1_entries, q->header.l1_entries);
	return result;
}

void qcow2_references_finish(struct qcow2_references *references)
{
	free(references->counts);
	references->counts = NULL;
}
