/*
 * Internal snapshots (qcow2, "Snapshots"): copies of the L1 table, which share L2 tables and data.
 * All of this runs with the whole disk held and the lock taken.
 *
 * Order: "copied" flags are cleared before refcounts rise above one, and set after they have fallen
 * to one; references are counted before the header can lead to them, and given up after it cannot.
 */
#include "block/qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void free_snapshot(struct qcow2_snapshot *snapshot)
{
	free(snapshot->id);
	free(snapshot->name);
	free(snapshot->extra);
	*snapshot = (struct qcow2_snapshot){ 0 };
}

void qcow2_snapshots_free(struct qcow2 *q)
{
	for (uint32_t i = 0; i < q->nr_snapshots; i++)
		free_snapshot(&q->snapshots[i]);
	free(q->snapshots);
	q->snapshots = NULL;
	q->nr_snapshots = 0;
}

static char *read_string(struct qcow2 *q, uint64_t offset, uint32_t bytes)
{
	char *text = calloc(1, bytes + 1);

	if (text && host_file_pread(q->file, offset, text, bytes)) {
		free(text);
		return NULL;
	}
	return text;
}

static int bad_snapshots(struct qcow2 *q, struct error *err)
{
	return error_set(err, EXIT_CODE_BAD_FILE,
		"the snapshot table of '%s' is damaged; restore the image from a copy",
		q->image->path);
}

/* Reads one entry; `*offset` moves behind it. */
static int read_snapshot(
	struct qcow2 *q, uint64_t *offset, struct qcow2_snapshot *snapshot, struct error *err)
{
	uint8_t entry[QCOW2_SNAPSHOT_EXTRA + QCOW2_SNAPSHOT_OUR_EXTRA] = { 0 };
	uint32_t id_bytes, name_bytes, extra_bytes;
	int result = host_file_pread(q->file, *offset, entry, sizeof(entry));

	if (result)
		return result;
	extra_bytes = be32_load(entry + QCOW2_SNAPSHOT_EXTRA_BYTES);
	id_bytes = be16_load(entry + QCOW2_SNAPSHOT_ID_BYTES);
	name_bytes = be16_load(entry + QCOW2_SNAPSHOT_NAME_BYTES);
	*snapshot = (struct qcow2_snapshot){
		.l1_offset = be64_load(entry + QCOW2_SNAPSHOT_L1_OFFSET),
		.l1_entries = be32_load(entry + QCOW2_SNAPSHOT_L1_ENTRIES),
		.seconds = be32_load(entry + QCOW2_SNAPSHOT_SECONDS),
		.nanoseconds = be32_load(entry + QCOW2_SNAPSHOT_NANOSECONDS),
		.vm_clock_ns = be64_load(entry + QCOW2_SNAPSHOT_VM_CLOCK),
		.vm_state_bytes = be32_load(entry + QCOW2_SNAPSHOT_VM_STATE),
		.size = q->header.size,
	};
	if (extra_bytes > QCOW2_MAX_SNAPSHOT_EXTRA ||
		(uint64_t)snapshot->l1_entries * 8 > QCOW2_MAX_L1_BYTES ||
		snapshot->l1_offset & (q->cluster_bytes - 1) ||
		snapshot->l1_offset >= QCOW2_MAX_HOST_OFFSET)
		return bad_snapshots(q, err);
	if (extra_bytes >= 8)
		snapshot->vm_state_bytes = be64_load(entry + QCOW2_SNAPSHOT_EXTRA_STATE);
	if (extra_bytes >= 16)
		snapshot->size = be64_load(entry + QCOW2_SNAPSHOT_EXTRA_SIZE);
	if (extra_bytes > QCOW2_SNAPSHOT_OUR_EXTRA) {
		snapshot->extra_bytes = extra_bytes - QCOW2_SNAPSHOT_OUR_EXTRA;
		snapshot->extra =
			(uint8_t *)read_string(q, *offset + sizeof(entry), snapshot->extra_bytes);
		if (!snapshot->extra)
			return -ENOMEM;
	}
	*offset += QCOW2_SNAPSHOT_EXTRA + extra_bytes;
	snapshot->id = read_string(q, *offset, id_bytes);
	snapshot->name = read_string(q, *offset + id_bytes, name_bytes);
	snapshot->entry_bytes = QCOW2_SNAPSHOT_EXTRA + extra_bytes + id_bytes + name_bytes;
	*offset = align_up(*offset + id_bytes + name_bytes, 8);
	return snapshot->id && snapshot->name ? 0 : -ENOMEM;
}

/* The snapshots' L1 tables may not make us hold more than this. */
#define MAX_TOTAL_L1_BYTES (64u << 20)

int qcow2_snapshots_read(struct qcow2 *q, struct error *err)
{
	uint64_t offset = q->header.snapshots_offset, l1_bytes = 0;
	int result = 0;

	qcow2_snapshots_free(q);
	if (q->header.nr_snapshots == 0)
		return 0;
	q->snapshots = calloc(q->header.nr_snapshots, sizeof(*q->snapshots));
	if (!q->snapshots)
		return -ENOMEM;
	while (q->nr_snapshots < q->header.nr_snapshots && result == 0) {
		struct qcow2_snapshot *snapshot = &q->snapshots[q->nr_snapshots++];

		result = read_snapshot(q, &offset, snapshot, err);
		l1_bytes += (uint64_t)snapshot->l1_entries * 8;
		if (result == 0 &&
			(offset - q->header.snapshots_offset > QCOW2_MAX_SNAPSHOT_BYTES ||
				l1_bytes > MAX_TOTAL_L1_BYTES))
			result = bad_snapshots(q, err);
	}
	if (result)
		qcow2_snapshots_free(q);
	return result;
}

static uint64_t entry_bytes(const struct qcow2_snapshot *snapshot)
{
	return QCOW2_SNAPSHOT_EXTRA + QCOW2_SNAPSHOT_OUR_EXTRA + snapshot->extra_bytes +
	       strlen(snapshot->id) + strlen(snapshot->name);
}

static void put_entry(const struct qcow2_snapshot *snapshot, uint8_t *entry)
{
	size_t id_bytes = strlen(snapshot->id), name_bytes = strlen(snapshot->name);
	uint8_t *at = entry + QCOW2_SNAPSHOT_EXTRA + QCOW2_SNAPSHOT_OUR_EXTRA;

	be64_store(entry + QCOW2_SNAPSHOT_L1_OFFSET, snapshot->l1_offset);
	be32_store(entry + QCOW2_SNAPSHOT_L1_ENTRIES, snapshot->l1_entries);
	be16_store(entry + QCOW2_SNAPSHOT_ID_BYTES, (uint16_t)id_bytes);
	be16_store(entry + QCOW2_SNAPSHOT_NAME_BYTES, (uint16_t)name_bytes);
	be32_store(entry + QCOW2_SNAPSHOT_SECONDS, snapshot->seconds);
	be32_store(entry + QCOW2_SNAPSHOT_NANOSECONDS, snapshot->nanoseconds);
	be64_store(entry + QCOW2_SNAPSHOT_VM_CLOCK, snapshot->vm_clock_ns);
	be32_store(entry + QCOW2_SNAPSHOT_VM_STATE,
		snapshot->vm_state_bytes > UINT32_MAX ? 0 : (uint32_t)snapshot->vm_state_bytes);
	be32_store(entry + QCOW2_SNAPSHOT_EXTRA_BYTES,
		QCOW2_SNAPSHOT_OUR_EXTRA + snapshot->extra_bytes);
	be64_store(entry + QCOW2_SNAPSHOT_EXTRA_STATE, snapshot->vm_state_bytes);
	be64_store(entry + QCOW2_SNAPSHOT_EXTRA_SIZE, snapshot->size);
	if (snapshot->extra_bytes)
		memcpy(at, snapshot->extra, snapshot->extra_bytes);
	memcpy(at + snapshot->extra_bytes, snapshot->id, id_bytes);
	memcpy(at + snapshot->extra_bytes + id_bytes, snapshot->name, name_bytes);
}

/* Of the table as it is on disk. */
static uint64_t table_bytes(const struct qcow2 *q)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < q->nr_snapshots; i++)
		bytes += align_up(q->snapshots[i].entry_bytes, 8);
	return bytes;
}

/* Writes the table anew and makes the header point to it; `old_bytes`: of the table it replaces. */
static int write_snapshots(struct qcow2 *q, uint64_t old_bytes)
{
	const struct qcow2_header old = q->header;
	uint64_t bytes, offset = 0, got, at = 0;
	uint8_t *table;
	bool fresh;
	int result;

	for (uint32_t i = 0; i < q->nr_snapshots; i++)
		q->snapshots[i].entry_bytes = (uint32_t)entry_bytes(&q->snapshots[i]);
	bytes = table_bytes(q);
	if (bytes > QCOW2_MAX_SNAPSHOT_BYTES)
		return -EFBIG;
	if (bytes > 0) {
		table = calloc(1, bytes);
		if (!table)
			return -ENOMEM;
		for (uint32_t i = 0; i < q->nr_snapshots; i++) {
			put_entry(&q->snapshots[i], table + at);
			at += align_up(q->snapshots[i].entry_bytes, 8);
		}
		result = qcow2_allocate(q, qcow2_clusters(q, bytes), true, QCOW2_OWNER_SNAPSHOTS,
			&offset, &got, &fresh);
		if (result == 0)
			result = host_file_pwrite(q->file, offset, table, bytes);
		free(table);
		if (result)
			return result;
	}
	result = qcow2_tables_write(q, &q->refblocks);
	if (result == 0)
		result = host_file_flush(q->file);
	if (result)
		return result;
	q->header.nr_snapshots = q->nr_snapshots;
	q->header.snapshots_offset = offset;
	result = qcow2_header_write(q);
	if (result == 0)
		result = host_file_flush(q->file);
	if (result) {
		q->header = old;
		q->broken = true;
		return result;
	}
	if (old_bytes == 0)
		return 0;
	return qcow2_refcount_add(
		q, old.snapshots_offset >> q->cluster_bits, qcow2_clusters(q, old_bytes), -1);
}

/* A walk over all clusters a table refers to: each reference gets `change`. */
struct walk {
	int change;
	uint64_t nr_done; /* references changed */
	uint64_t most;    /* stops after as many */
};

static int change_references(struct qcow2 *q, struct walk *walk, uint64_t cluster, uint64_t count)
{
	int result = 0;

	for (uint64_t i = 0; i < count && walk->nr_done < walk->most && result == 0; i++) {
		result = qcow2_refcount_add(q, cluster + i, 1, walk->change);
		walk->nr_done += result == 0;
	}
	return result;
}

static int walk_cluster(struct qcow2 *q, struct walk *walk, const uint8_t *entry)
{
	struct qcow2_cluster cluster;
	uint64_t offset, bytes, first;
	int result = qcow2_cluster_decode(
		q, be64_load(entry), q->entry_bytes == 16 ? be64_load(entry + 8) : 0, &cluster);

	if (result)
		return qcow2_mark_broken(q, "a cluster", be64_load(entry) & QCOW2_ENTRY_OFFSET);
	if (!cluster.compressed)
		return cluster.host ? change_references(q, walk, cluster.host >> q->cluster_bits, 1)
				    : 0;
	qcow2_compressed_extent(q, cluster.descriptor, &offset, &bytes);
	first = offset >> q->cluster_bits;
	return change_references(
		q, walk, first, ((offset + bytes - 1) >> q->cluster_bits) - first + 1);
}

/* Data first, then the L2 table itself. */
static int walk_table(struct qcow2 *q, struct walk *walk, const uint64_t *l1, uint32_t entries)
{
	uint8_t *table = host_file_memory(q->cluster_bytes);
	int result = table ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < entries && result == 0; i++) {
		uint64_t offset = l1[i] & QCOW2_ENTRY_OFFSET;

		if (offset == 0)
			continue;
		if (offset & (q->cluster_bytes - 1)) {
			result = qcow2_mark_broken(q, "an L2 table", offset);
			break;
		}
		result = host_file_pread(q->file, offset, table, q->cluster_bytes);
		for (uint64_t at = 0; at < q->cluster_bytes && result == 0; at += q->entry_bytes)
			result = walk_cluster(q, walk, table + at);
		if (result == 0)
			result = change_references(q, walk, offset >> q->cluster_bits, 1);
	}
	free(table);
	return result;
}

static int drop_references(struct qcow2 *q, const uint64_t *l1, uint32_t entries)
{
	struct walk walk = { .change = -1, .most = UINT64_MAX };

	return walk_table(q, &walk, l1, entries);
}

/* All or none: a refcount may be too narrow for another. */
static int add_references(struct qcow2 *q, const uint64_t *l1, uint32_t entries)
{
	struct walk walk = { .change = 1, .most = UINT64_MAX }, undo = { .change = -1 };
	int result = walk_table(q, &walk, l1, entries);

	if (result == 0)
		return 0;
	undo.most = walk.nr_done;
	walk_table(q, &undo, l1, entries);
	return result;
}

/* The entry with its "copied" flag as the refcount has it. */
static int with_flag(struct qcow2 *q, uint64_t entry, uint64_t *flagged)
{
	uint64_t offset = entry & QCOW2_ENTRY_OFFSET, refcount = 0;
	int result = 0;

	*flagged = entry;
	if (entry & QCOW2_ENTRY_COMPRESSED || offset == 0)
		return 0;
	result = qcow2_refcount_get(q, offset >> q->cluster_bits, &refcount);
	*flagged = (entry & ~QCOW2_ENTRY_COPIED) | (refcount == 1 ? QCOW2_ENTRY_COPIED : 0);
	return result;
}

static int flag_l2(struct qcow2 *q, uint64_t offset, bool clear)
{
	struct qcow2_table *table;
	int result = qcow2_tables_get(q, &q->l2_tables, offset, &table);

	for (uint64_t at = 0; at < q->cluster_bytes && result == 0; at += q->entry_bytes) {
		uint64_t entry = be64_load(table->bytes + at);
		uint64_t flagged = entry & ~QCOW2_ENTRY_COPIED;

		if (!clear)
			result = with_flag(q, entry, &flagged);
		if (flagged == entry || entry & QCOW2_ENTRY_COMPRESSED)
			continue;
		be64_store(table->bytes + at, flagged);
		qcow2_tables_mark(&q->l2_tables, table, (uint32_t)at, 8);
	}
	return result;
}

/*
 * Sets the flags of `l1` and of the L2 tables it refers to, from the refcounts, or clears them all.
 * L2 tables are changed in place even if snapshots share them: there the flags mean nothing.
 */
static int flag_all(struct qcow2 *q, uint64_t *l1, uint32_t entries, bool clear)
{
	int result = 0;

	for (uint32_t i = 0; i < entries && result == 0; i++) {
		uint64_t offset = l1[i] & QCOW2_ENTRY_OFFSET;

		if (offset == 0)
			continue;
		result = flag_l2(q, offset, clear);
		if (clear)
			l1[i] &= ~QCOW2_ENTRY_COPIED;
		else if (result == 0)
			result = with_flag(q, l1[i], &l1[i]);
	}
	if (l1 == q->l1 && entries > 0) {
		q->l1_dirty_from = 0;
		q->l1_dirty_to = entries;
	}
	return result;
}

static int settle(struct qcow2 *q)
{
	int result = qcow2_write_back(q);

	if (result == 0)
		result = qcow2_tables_write(q, &q->refblocks);
	return result ? result : host_file_flush(q->file);
}

static struct qcow2_snapshot *find_snapshot(struct qcow2 *q, const char *name)
{
	for (uint32_t i = 0; i < q->nr_snapshots; i++) {
		if (strcmp(q->snapshots[i].name, name) == 0)
			return &q->snapshots[i];
	}
	for (uint32_t i = 0; i < q->nr_snapshots; i++) {
		if (strcmp(q->snapshots[i].id, name) == 0)
			return &q->snapshots[i];
	}
	return NULL;
}

static struct qcow2_snapshot *must_find(struct qcow2 *q, const char *name, struct error *err)
{
	struct qcow2_snapshot *snapshot = find_snapshot(q, name);

	if (!snapshot)
		error_set(err, EXIT_CODE_USAGE,
			"'%s' has no snapshot '%s'; 'atoll disk snapshot list' shows which it has",
			q->image->path, name);
	return snapshot;
}

/* Entries that the snapshot's disk needs, which may be more than it has. */
static uint64_t needed_l1(const struct qcow2 *q, const struct qcow2_snapshot *snapshot)
{
	uint64_t per_l1 = q->cluster_bytes << q->l2_bits;
	uint64_t needed = snapshot->size / per_l1 + 1;

	return needed > snapshot->l1_entries ? needed : snapshot->l1_entries;
}

static int load_l1(struct qcow2 *q, const struct qcow2_snapshot *snapshot, uint64_t **l1)
{
	uint64_t entries = needed_l1(q, snapshot);

	*l1 = NULL;
	if (snapshot->size > INT64_MAX || entries * 8 > QCOW2_MAX_L1_BYTES)
		return -EFBIG;
	*l1 = calloc(entries, sizeof(**l1));
	return *l1 ? qcow2_read_table(q, snapshot->l1_offset, *l1, snapshot->l1_entries) : -ENOMEM;
}

static int append_snapshot(struct qcow2 *q, const char *name, uint64_t l1_offset)
{
	struct qcow2_snapshot *larger =
		realloc(q->snapshots, (q->nr_snapshots + 1) * sizeof(*larger));
	unsigned long id = 0;
	struct timespec now;
	char text[24];

	if (!larger)
		return -ENOMEM;
	q->snapshots = larger;
	for (uint32_t i = 0; i < q->nr_snapshots; i++) {
		unsigned long other = strtoul(larger[i].id, NULL, 10);

		if (other > id && other < UINT32_MAX)
			id = other;
	}
	snprintf(text, sizeof(text), "%lu", id + 1);
	clock_gettime(CLOCK_REALTIME, &now);
	larger[q->nr_snapshots] = (struct qcow2_snapshot){
		.l1_offset = l1_offset,
		.l1_entries = q->header.l1_entries,
		.id = strdup(text),
		.name = strdup(name),
		.seconds = (uint32_t)now.tv_sec,
		.nanoseconds = (uint32_t)now.tv_nsec,
		.size = q->header.size,
	};
	if (!larger[q->nr_snapshots].id || !larger[q->nr_snapshots].name) {
		free_snapshot(&larger[q->nr_snapshots]);
		return -ENOMEM;
	}
	q->nr_snapshots++;
	return 0;
}

static int create_snapshot(struct qcow2 *q, const char *name)
{
	uint64_t clusters = qcow2_clusters(q, (uint64_t)q->header.l1_entries * 8);
	uint64_t old_bytes = table_bytes(q), offset, got;
	bool fresh;
	int result = settle(q);

	if (result == 0)
		result = flag_all(q, q->l1, q->header.l1_entries, true);
	if (result == 0)
		result = settle(q);
	if (result == 0) {
		result = add_references(q, q->l1, q->header.l1_entries);
		if (result)
			flag_all(q, q->l1, q->header.l1_entries, false);
	}
	if (result == 0)
		result = qcow2_allocate(
			q, clusters ? clusters : 1, true, QCOW2_OWNER_L1, &offset, &got, &fresh);
	if (result == 0)
		result = qcow2_write_table(q, offset, q->l1, q->header.l1_entries,
			(clusters ? clusters : 1) << q->cluster_bits >> 3);
	if (result == 0)
		result = append_snapshot(q, name, offset);
	return result ? result : write_snapshots(q, old_bytes);
}

/* The disk becomes what it was: `l1`, of the snapshot, becomes the active table. */
static int apply_snapshot(struct qcow2 *q, const struct qcow2_snapshot *snapshot, uint64_t *l1)
{
	uint32_t old_entries = q->header.l1_entries;
	uint64_t *old_l1 = NULL;
	int result = settle(q);

	if (result == 0)
		result = flag_all(q, l1, snapshot->l1_entries, true);
	if (result == 0)
		result = settle(q);
	if (result == 0)
		result = add_references(q, l1, snapshot->l1_entries);
	if (result)
		return result;
	old_l1 = q->l1;
	q->l1 = l1;
	result = qcow2_replace_l1(q, (uint32_t)needed_l1(q, snapshot), snapshot->size);
	if (result) {
		q->l1 = old_l1;
		return result;
	}
	qcow2_tables_forget_all(&q->l2_tables);
	result = drop_references(q, old_l1, old_entries);
	free(old_l1);
	return result;
}

static int delete_snapshot(struct qcow2 *q, struct qcow2_snapshot *snapshot, const uint64_t *l1)
{
	struct qcow2_snapshot gone = *snapshot;
	uint64_t old_bytes = table_bytes(q);
	uint32_t index = (uint32_t)(snapshot - q->snapshots);
	int result = settle(q);

	if (result)
		return result;
	memmove(snapshot, snapshot + 1, (q->nr_snapshots - index - 1) * sizeof(*snapshot));
	q->nr_snapshots--;
	result = write_snapshots(q, old_bytes);
	if (result == 0)
		result = drop_references(q, l1, gone.l1_entries);
	if (result == 0)
		result = qcow2_refcount_add(q, gone.l1_offset >> q->cluster_bits,
			qcow2_clusters(q, gone.l1_entries ? (uint64_t)gone.l1_entries * 8 : 1), -1);
	if (result == 0)
		result = settle(q);
	if (result == 0)
		result = flag_all(q, q->l1, q->header.l1_entries, false);
	free_snapshot(&gone);
	return result;
}

static void take_disk(struct qcow2 *q, struct qcow2_range *range)
{
	*range = (struct qcow2_range){ .last = UINT64_MAX, .exclusive = true };
	qcow2_range_lock(q, range);
	pthread_mutex_lock(&q->lock);
}

static void give_disk(struct qcow2 *q, struct qcow2_range *range)
{
	pthread_mutex_unlock(&q->lock);
	qcow2_range_unlock(q, range);
}

static int end(struct qcow2 *q, int result, const char *verb, const char *name, struct error *err)
{
	if (result == 0)
		result = settle(q);
	if (result == -E2BIG)
		return error_set(err, EXIT_CODE_CONFIG,
			"the %u-bit refcounts of '%s' cannot count another snapshot; convert it to "
			"wider refcounts",
			q->refcount_bits, q->image->path);
	if (result)
		error_set_errno(err, EXIT_CODE_HOST, -result, "cannot %s the snapshot '%s' of '%s'",
			verb, name, q->image->path);
	return result;
}

int qcow2_snapshot_create(struct image *image, const char *name, struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_range range;
	int result;

	if (image->read_only || q->broken)
		return -EROFS;
	if (name[0] == 0 || strlen(name) > 255 || find_snapshot(q, name))
		return error_set(err, EXIT_CODE_USAGE,
			"'%s' cannot have another snapshot '%s'; use a new name of at most 255 "
			"bytes",
			image->path, name);
	if (q->nr_snapshots >= QCOW2_MAX_SNAPSHOTS)
		return error_set(err, EXIT_CODE_CONFIG,
			"'%s' has %u snapshots, and cannot have more; delete some", image->path,
			q->nr_snapshots);
	take_disk(q, &range);
	result = end(q, create_snapshot(q, name), "create", name, err);
	give_disk(q, &range);
	return result;
}

int qcow2_snapshot_apply(struct image *image, const char *name, struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_snapshot *snapshot = must_find(q, name, err);
	struct qcow2_range range;
	uint64_t *l1 = NULL;
	int result;

	if (!snapshot)
		return -ENOENT;
	if (image->read_only || q->broken)
		return -EROFS;
	take_disk(q, &range);
	result = load_l1(q, snapshot, &l1);
	if (result == 0)
		result = apply_snapshot(q, snapshot, l1);
	/* It is the active table now, unless that failed. */
	if (q->l1 != l1)
		free(l1);
	result = end(q, result, "apply", name, err);
	give_disk(q, &range);
	return result;
}

int qcow2_snapshot_delete(struct image *image, const char *name, struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_snapshot *snapshot = must_find(q, name, err);
	struct qcow2_range range;
	uint64_t *l1 = NULL;
	int result;

	if (!snapshot)
		return -ENOENT;
	if (image->read_only || q->broken)
		return -EROFS;
	take_disk(q, &range);
	result = load_l1(q, snapshot, &l1);
	if (result == 0)
		result = delete_snapshot(q, snapshot, l1);
	free(l1);
	result = end(q, result, "delete", name, err);
	give_disk(q, &range);
	return result;
}
