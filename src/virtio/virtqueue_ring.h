/*
 * What the two ring formats share with virtqueue.c. Ring memory is the driver's to change at any
 * moment: everything is read once, into a copy.
 */
#ifndef VIRTIO_VIRTQUEUE_RING_H
#define VIRTIO_VIRTQUEUE_RING_H

#include "virtio/virtio_regs.h"
#include "virtio/virtqueue.h"

#include <string.h>

struct virtq_ring_ops {
	bool (*has_more)(const struct virtq *queue);
	/* Fills a request from the next chain; false if it broke the queue. Something is there. */
	bool (*gather)(struct virtq *queue, struct virtq_request *request);
	void (*unpop)(struct virtq *queue, const struct virtq_request *request);
	/* `part`: the driver must not see it before the next. */
	void (*use)(struct virtq *queue, const struct virtq_request *request, uint32_t length,
		bool part);
	void (*disable_notification)(struct virtq *queue);
	void (*enable_notification)(struct virtq *queue);
	bool (*await_more)(struct virtq *queue); /* virtq_await_more; sets `awaited` */
	bool (*wants_interrupt)(const struct virtq *queue);
	/* With event indexes. */
	bool (*used_is_seen)(const struct virtq *queue);
};

extern const struct virtq_ring_ops virtq_split_ops, virtq_packed_ops;

/*
 * Adds what a descriptor points to. False, and the queue is broken, if it is not RAM, is read-only
 * memory to be written, comes in the wrong order, or is too much.
 */
bool virtq_add_piece(struct virtq *queue, struct virtq_request *request, uint64_t address,
	uint32_t length, bool writable);

/* The host address of an indirect table and how many entries it has; NULL breaks the queue. */
const uint8_t *virtq_table(struct virtq *queue, uint64_t address, uint32_t length, unsigned *count);

/* Announces a write to guest memory at a host address inside it. */
void virtq_announce(const struct virtq *queue, const void *host, uint64_t bytes);

static inline uint16_t virtq_load16(const uint8_t *at)
{
	return __atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

static inline void virtq_store16(uint8_t *at, uint16_t value)
{
	__atomic_store_n((uint16_t *)(void *)at, value, __ATOMIC_RELEASE);
}

/* Reads once: the compiler may not look at the source again. */
static inline void virtq_copy(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
	__asm__ volatile("" : : : "memory");
}

/* Did an index that went from `old` to `new` pass `event` (2.7.10)? */
static inline bool virtq_passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

#endif
