/*
 * A driver for virtqueue tests, written from the driver's half of virtio 1.2, 2.7 and 2.8. It
 * lives in guest memory of one megabyte: the rings in front, buffers behind them.
 */
#ifndef VIRTIO_VIRTQUEUE_FIXTURE_H
#define VIRTIO_VIRTQUEUE_FIXTURE_H

#include "virtio/virtio_regs.h"
#include "virtio/virtqueue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DRIVER_MEMORY      (1u << 20)
#define DRIVER_DESCRIPTORS 0x1000u
#define DRIVER_AREA        0x6000u
#define DRIVER_DEVICE_AREA 0x8000u
#define DRIVER_TABLES      0x10000u
#define DRIVER_BUFFERS     0x40000u

struct piece {
	uint64_t address;
	uint32_t length;
	uint16_t flags; /* VIRTQ_DESC_WRITE, or what a hostile driver adds */
};

struct driver {
	struct guest_memory memory;
	struct virtq queue;
	uint8_t *ram;
	bool packed, event_index;
	uint16_t size;
	/* Split: free-running indexes. Packed: positions and wrap counters. */
	uint16_t avail, used, next_desc, next_id;
	bool avail_wrap, used_wrap;
	uint16_t chain_descs[VIRTQ_MAX_SIZE]; /* packed: by buffer id */
	unsigned announced;                   /* calls of guest_memory.written */
};

static inline void driver_written(void *context, gpa_t address, uint64_t size)
{
	(void)address;
	(void)size;
	((struct driver *)context)->announced++;
}

static inline void put16(struct driver *d, uint64_t at, uint16_t value)
{
	memcpy(d->ram + at, &value, sizeof(value));
}

static inline uint16_t get16(const struct driver *d, uint64_t at)
{
	uint16_t value;

	memcpy(&value, d->ram + at, sizeof(value));
	return value;
}

static inline void driver_start(struct driver *d, uint16_t size, uint64_t features)
{
	struct virtq_state *state = &d->queue.state;

	d->packed = features & VIRTIO_F_RING_PACKED;
	d->event_index = features & VIRTIO_F_EVENT_IDX;
	d->size = size;
	d->avail = d->used = d->next_desc = d->next_id = 0;
	d->avail_wrap = d->used_wrap = true;
	memset(d->ram, 0, DRIVER_TABLES);
	state->descriptors = DRIVER_DESCRIPTORS;
	state->driver_area = DRIVER_AREA;
	state->device_area = DRIVER_DEVICE_AREA;
	state->size = size;
	virtq_enable(&d->queue, features);
	d->queue.budget = UINT32_MAX;
}

static inline void driver_init(struct driver *d, uint16_t size, uint64_t features)
{
	memset(d, 0, sizeof(*d));
	assert_int_equal(guest_memory_add(&d->memory, 0, DRIVER_MEMORY, false, NULL), 0);
	d->ram = d->memory.regions[0].host;
	d->memory.written = driver_written;
	d->memory.written_context = d;
	virtq_init(
		&d->queue, &d->memory, "test queue", VIRTQ_MAX_SIZE, sizeof(struct virtq_request));
	driver_start(d, size, features);
}

static inline void driver_finish(struct driver *d)
{
	virtq_finish(&d->queue);
	guest_memory_finish(&d->memory);
}

static inline void put_split(
	struct driver *d, uint64_t at, const struct piece *piece, uint16_t flags, uint16_t next)
{
	struct virtq_split_desc desc = { piece->address, piece->length,
		(uint16_t)(piece->flags | flags), next };

	memcpy(d->ram + at, &desc, sizeof(desc));
}

static inline void put_packed(
	struct driver *d, uint64_t at, const struct piece *piece, uint16_t flags, uint16_t id)
{
	struct virtq_packed_desc desc = { piece->address, piece->length, id,
		(uint16_t)(piece->flags | flags) };

	memcpy(d->ram + at, &desc, sizeof(desc));
}

/* Makes a chain available; returns its id. Descriptors are used round robin. */
static inline uint16_t driver_add(struct driver *d, const struct piece *pieces, unsigned count)
{
	uint16_t id = d->packed ? d->next_id++ % d->size : d->next_desc % d->size;

	for (unsigned i = 0; i < count; i++) {
		uint16_t next = i + 1 < count ? VIRTQ_DESC_NEXT : 0;

		if (d->packed) {
			uint16_t mark = d->avail_wrap ? VIRTQ_DESC_AVAIL : VIRTQ_DESC_USED;

			put_packed(d, DRIVER_DESCRIPTORS + 16u * d->avail, &pieces[i],
				(uint16_t)(next | mark), id);
			if (++d->avail == d->size) {
				d->avail = 0;
				d->avail_wrap = !d->avail_wrap;
			}
		} else {
			uint16_t at = d->next_desc++ % d->size;

			put_split(d, DRIVER_DESCRIPTORS + 16u * at, &pieces[i], next,
				(uint16_t)(d->next_desc % d->size));
		}
	}
	if (d->packed) {
		d->chain_descs[id] = (uint16_t)count;
	} else {
		put16(d, DRIVER_AREA + 4 + 2u * (d->avail % d->size), id);
		put16(d, DRIVER_AREA + 2, ++d->avail);
	}
	return id;
}

/* Takes back a used chain; false if there is none. */
static inline bool driver_take(struct driver *d, uint16_t *id, uint32_t *length)
{
	if (!d->packed) {
		struct virtq_used_element element;

		if (get16(d, DRIVER_DEVICE_AREA + 2) == d->used)
			return false;
		memcpy(&element, d->ram + DRIVER_DEVICE_AREA + 4 + 8u * (d->used % d->size),
			sizeof(element));
		d->used++;
		*id = (uint16_t)element.id;
		*length = element.length;
		return true;
	}
	struct virtq_packed_desc desc;

	memcpy(&desc, d->ram + DRIVER_DESCRIPTORS + 16u * d->used, sizeof(desc));
	if (!!(desc.flags & VIRTQ_DESC_USED) != d->used_wrap ||
		!!(desc.flags & VIRTQ_DESC_AVAIL) != d->used_wrap)
		return false;
	*id = desc.id;
	*length = desc.length;
	d->used = (uint16_t)(d->used + d->chain_descs[desc.id]);
	if (d->used >= d->size) {
		d->used = (uint16_t)(d->used - d->size);
		d->used_wrap = !d->used_wrap;
	}
	return true;
}

/* Asks for an interrupt once `count` more entries have been used. */
static inline void driver_want_interrupt_after(struct driver *d, uint16_t count)
{
	if (!d->packed) {
		put16(d, DRIVER_AREA + 4 + 2u * d->size, (uint16_t)(d->used + count - 1));
		return;
	}
	unsigned position = d->used + count - 1u;
	bool wrap = d->used_wrap;

	if (position >= d->size) {
		position -= d->size;
		wrap = !wrap;
	}
	put16(d, DRIVER_AREA, (uint16_t)(position | (wrap ? VIRTQ_EVENT_WRAP : 0)));
	put16(d, DRIVER_AREA + 2, VIRTQ_EVENT_DESC);
}

static inline void driver_want_no_interrupt(struct driver *d)
{
	if (d->packed)
		put16(d, DRIVER_AREA + 2, VIRTQ_EVENT_DISABLE);
	else
		put16(d, DRIVER_AREA, VIRTQ_AVAIL_NO_INTERRUPT);
}

#endif
