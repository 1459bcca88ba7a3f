/*
 * Reading qcow2 images.
 */
#include "block/qcow2.h"

#include <errno.h>
#include <string.h>

static int find_run_locked(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct qcow2_run *run)
{
	int result;

	pthread_mutex_lock(&q->lock);
	result = qcow2_find_run(q, offset, bytes, false, run);
	pthread_mutex_unlock(&q->lock);
	return result;
}

static int read_run(
	struct qcow2 *q, const struct qcow2_run *run, uint64_t offset, struct buffer buffer)
{
	switch (run->kind) {
	case QCOW2_RUN_DATA: return host_file_read(q->file, run->host, buffer, run->bytes);
	case QCOW2_RUN_ZERO: buffer_clear(buffer, run->bytes); return 0;
	case QCOW2_RUN_COMPRESSED:
		return qcow2_decompress(
			q, run->descriptor, offset & (q->cluster_bytes - 1), buffer, run->bytes);
	case QCOW2_RUN_BACKING: break;
	}
	return image_read_padded(q->image->backing, offset, buffer, run->bytes);
}

int qcow2_read_held(struct qcow2 *q, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	while (bytes > 0) {
		struct qcow2_run run;
		int result = find_run_locked(q, offset, bytes, &run);

		if (result == 0)
			result = read_run(q, &run, offset, buffer);
		if (result)
			return result;
		buffer = buffer_after(buffer, run.bytes);
		offset += run.bytes;
		bytes -= run.bytes;
	}
	return 0;
}

int qcow2_read(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	struct qcow2 *q = image->state;
	struct qcow2_range range = { .first = offset >> q->cluster_bits,
		.last = (offset + bytes - 1) >> q->cluster_bits };
	int result;

	qcow2_range_lock(q, &range);
	result = qcow2_read_held(q, offset, buffer, bytes);
	qcow2_range_unlock(q, &range);
	return result;
}

static bool has_backing(const struct qcow2 *q, uint64_t offset)
{
	return q->image->backing && offset < q->image->backing->size;
}

bool qcow2_reads_as_zeros(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	while (bytes > 0) {
		struct qcow2_run run;

		if (qcow2_find_run(q, offset, bytes, false, &run))
			return false;
		if (run.kind != QCOW2_RUN_ZERO &&
			(run.kind != QCOW2_RUN_BACKING || has_backing(q, offset)))
			return false;
		offset += run.bytes;
		bytes -= run.bytes;
	}
	return true;
}

int qcow2_content(
	struct image *image, uint64_t offset, uint64_t *bytes, enum image_content *content)
{
	struct qcow2 *q = image->state;
	struct qcow2_run run;
	int result = find_run_locked(q, offset, *bytes, &run);

	if (result)
		return result;
	*bytes = run.bytes;
	*content = run.kind == QCOW2_RUN_ZERO      ? IMAGE_ZERO
		   : run.kind == QCOW2_RUN_BACKING ? IMAGE_UNALLOCATED
						   : IMAGE_DATA;
	return 0;
}

_Static_assert(sizeof(struct qcow2_range) <= sizeof(((struct image_pin *)0)->private_),
	"a pin has room for its range");

static struct qcow2_range *range_of(struct image_pin *pin)
{
	return (struct qcow2_range *)pin->private_;
}

/* With the lock. */
static bool find_pin(
	struct qcow2 *q, uint64_t offset, uint64_t bytes, bool is_write, struct image_pin *pin)
{
	struct qcow2_run run;

	if (qcow2_find_run(q, offset, bytes, true, &run) || run.kind != QCOW2_RUN_DATA ||
		run.bytes < bytes)
		return false;
	pin->file = q->file;
	pin->host_offset = run.host;
	if (!is_write)
		return true;
	if (!run.owned || q->broken)
		return false;
	for (uint64_t cluster = run.host >> q->cluster_bits;
		cluster <= (run.host + bytes - 1) >> q->cluster_bits; cluster++) {
		enum qcow2_owner owner = qcow2_owners_get(&q->owners, cluster);

		if (cluster >= q->end || (owner != QCOW2_OWNER_NONE && owner != QCOW2_OWNER_DATA))
			return false;
	}
	return true;
}

bool qcow2_pin(
	struct image *image, uint64_t offset, uint64_t bytes, bool is_write, struct image_pin *pin)
{
	struct qcow2 *q = image->state;
	struct qcow2_range *range = range_of(pin);
	bool found;

	*range = (struct qcow2_range){ .first = offset >> q->cluster_bits,
		.last = (offset + bytes - 1) >> q->cluster_bits };
	if (!qcow2_range_trylock(q, range))
		return false;
	found = pthread_mutex_trylock(&q->lock) == 0;
	if (found) {
		found = find_pin(q, offset, bytes, is_write, pin);
		pthread_mutex_unlock(&q->lock);
	}
	if (!found)
		qcow2_range_unlock(q, range);
	return found;
}

void qcow2_unpin(struct image *image, struct image_pin *pin)
{
	qcow2_range_unlock(image->state, range_of(pin));
}
