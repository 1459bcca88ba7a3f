#include "machine/doorbell.h"

#include "base/bits.h"

#include <string.h>
#include <unistd.h>

void doorbell_table_init(struct doorbell_table *table)
{
	pthread_rwlockattr_t attributes;

	memset(table, 0, sizeof(*table));
	pthread_rwlockattr_init(&attributes);
	/* Guests that ring without a pause must not keep a detach out. */
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&table->lock, &attributes);
	pthread_rwlockattr_destroy(&attributes);
}

void doorbell_table_finish(struct doorbell_table *table)
{
	pthread_rwlock_destroy(&table->lock);
}

/* Queues' doorbells are four bytes apart, functions' a page. */
static struct doorbell **doorbell_bucket(struct doorbell_table *table, uint64_t address)
{
	return &table->buckets[(address >> 2 ^ address >> 12) % DOORBELL_BUCKETS];
}

void doorbell_table_attach(struct doorbell_table *table, struct doorbell *doorbell)
{
	struct doorbell **bucket = doorbell_bucket(table, doorbell->address);

	pthread_rwlock_wrlock(&table->lock);
	doorbell->next = *bucket;
	__atomic_store_n(bucket, doorbell, __ATOMIC_RELAXED);
	pthread_rwlock_unlock(&table->lock);
}

void doorbell_table_detach(struct doorbell_table *table, struct doorbell *doorbell)
{
	struct doorbell **link = doorbell_bucket(table, doorbell->address);

	pthread_rwlock_wrlock(&table->lock);
	while (*link && *link != doorbell)
		link = &(*link)->next;
	if (*link)
		__atomic_store_n(link, doorbell->next, __ATOMIC_RELAXED);
	pthread_rwlock_unlock(&table->lock);
}

static bool doorbell_matches(const struct doorbell *doorbell, bool is_port, uint64_t address,
	unsigned size, uint64_t value)
{
	return doorbell->address == address && doorbell->is_port == is_port &&
	       (!doorbell->size || doorbell->size == size) &&
	       (!doorbell->has_value || ((doorbell->value ^ value) & byte_mask(size)) == 0);
}

static void doorbell_ring(const struct doorbell *doorbell)
{
	const uint64_t one = 1;

	if (doorbell->ring)
		doorbell->ring(doorbell->context);
	else if (write(doorbell->fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: whoever reads it is awake already */
}

bool doorbell_table_write(
	struct doorbell_table *table, bool is_port, uint64_t address, unsigned size, uint64_t value)
{
	struct doorbell **bucket = doorbell_bucket(table, address);
	const struct doorbell *at;

	/* Most writes are for devices: they need not touch the lock. */
	if (!__atomic_load_n(bucket, __ATOMIC_RELAXED))
		return false;
	pthread_rwlock_rdlock(&table->lock);
	at = *bucket;
	while (at && !doorbell_matches(at, is_port, address, size, value))
		at = at->next;
	if (at)
		doorbell_ring(at);
	pthread_rwlock_unlock(&table->lock);
	return at;
}
