/*
 * Locks on ranges of guest clusters. There are as many as requests in flight, so a list will do.
 */
#include "block/qcow2.h"

static bool conflicts(const struct qcow2 *q, const struct qcow2_range *range)
{
	for (const struct qcow2_range *other = q->ranges; other; other = other->next) {
		if (other->first <= range->last && range->first <= other->last &&
			(other->exclusive || range->exclusive))
			return true;
	}
	return false;
}

static void insert(struct qcow2 *q, struct qcow2_range *range)
{
	range->next = q->ranges;
	range->link = &q->ranges;
	if (q->ranges)
		q->ranges->link = &range->next;
	q->ranges = range;
}

void qcow2_range_lock(struct qcow2 *q, struct qcow2_range *range)
{
	pthread_mutex_lock(&q->ranges_lock);
	q->nr_range_waiters++;
	while (conflicts(q, range))
		pthread_cond_wait(&q->ranges_freed, &q->ranges_lock);
	q->nr_range_waiters--;
	insert(q, range);
	pthread_mutex_unlock(&q->ranges_lock);
}

bool qcow2_range_trylock(struct qcow2 *q, struct qcow2_range *range)
{
	bool free;

	pthread_mutex_lock(&q->ranges_lock);
	free = !conflicts(q, range);
	if (free)
		insert(q, range);
	pthread_mutex_unlock(&q->ranges_lock);
	return free;
}

void qcow2_range_unlock(struct qcow2 *q, struct qcow2_range *range)
{
	pthread_mutex_lock(&q->ranges_lock);
	*range->link = range->next;
	if (range->next)
		range->next->link = range->link;
	if (q->nr_range_waiters > 0)
		pthread_cond_broadcast(&q->ranges_freed);
	pthread_mutex_unlock(&q->ranges_lock);
}
