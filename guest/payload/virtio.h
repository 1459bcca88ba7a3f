/*
 * A virtio driver's half of a modern PCI device whose BAR 4 is at BAR_ADDRESS, with split rings:
 * for the hostile drivers.
 */
#ifndef PAYLOAD_VIRTIO_H
#define PAYLOAD_VIRTIO_H

#include "payload.h"

#define ECAM        0xfe000000u
#define BAR4        0x20
#define BAR_ADDRESS 0xe0000000u
#define BAR_BYTES   0x4000u
#define IOAPIC      0xfec00000ull

/* virtio 1.2, 4.1.4.3 */
#define DEVICE_FEATURE_SELECT 0
#define DEVICE_FEATURE        4
#define DRIVER_FEATURE_SELECT 8
#define DRIVER_FEATURE        12
#define NUM_QUEUES            18
#define DEVICE_STATUS         20
#define QUEUE_SELECT          22
#define QUEUE_SIZE            24
#define QUEUE_ENABLE          28
#define QUEUE_DESC            32
#define QUEUE_DRIVER          40
#define QUEUE_DEVICE          48
#define QUEUE_RESET           58
#define NOTIFY                0x3000

#define ACKNOWLEDGE 1
#define DRIVER      2
#define DRIVER_OK   4
#define FEATURES_OK 8
#define NEEDS_RESET 64

/* virtio 1.2, 2.7.5 */
#define NEXT     1
#define WRITE    2
#define INDIRECT 4

#define SIZE  8 /* of each ring */
#define SPINS 2000000u

struct desc {
	u64 address;
	u32 length;
	u16 flags, next;
};

struct ring {
	struct desc desc[SIZE] __attribute__((aligned(16)));
	u16 avail_flags, avail_index, avail[SIZE], used_event;
	u16 used_flags __attribute__((aligned(4)));
	volatile u16 used_index;
	struct {
		u32 id, length;
	} used[SIZE];
	u16 avail_event;
};

static inline u8 get8(word offset)
{
	return *(volatile u8 *)(BAR_ADDRESS + offset);
}

static inline u16 get16(word offset)
{
	return *(volatile u16 *)(BAR_ADDRESS + offset);
}

static inline u32 get32(word offset)
{
	return *(volatile u32 *)(BAR_ADDRESS + offset);
}

static inline void put8(word offset, u8 value)
{
	*(volatile u8 *)(BAR_ADDRESS + offset) = value;
}

static inline void put16(word offset, u16 value)
{
	*(volatile u16 *)(BAR_ADDRESS + offset) = value;
}

static inline void put32(word offset, u32 value)
{
	*(volatile u32 *)(BAR_ADDRESS + offset) = value;
}

static inline void put64(word offset, u64 value)
{
	put32(offset, (u32)value);
	put32(offset + 4, (u32)(value >> 32));
}

static inline bool await_status(u8 mask, u8 value)
{
	for (unsigned i = 0; i < SPINS; i++) {
		if ((get8(DEVICE_STATUS) & mask) == value)
			return true;
	}
	return false;
}

static inline void set_driver_features(u64 features)
{
	for (unsigned half = 0; half < 2; half++) {
		put32(DRIVER_FEATURE_SELECT, half);
		put32(DRIVER_FEATURE, (u32)(features >> (32 * half)));
	}
}

static inline void set_up_queue(unsigned queue, struct ring *ring)
{
	__builtin_memset(ring, 0, sizeof(*ring));
	put16(QUEUE_SELECT, (u16)queue);
	put16(QUEUE_SIZE, SIZE);
	put64(QUEUE_DESC, (word)ring->desc);
	put64(QUEUE_DRIVER, (word)&ring->avail_flags);
	put64(QUEUE_DEVICE, (word)&ring->used_flags);
	put16(QUEUE_ENABLE, 1);
}

static inline void notify(unsigned queue)
{
	asm volatile("" ::: "memory");
	put16(NOTIFY + 4 * queue, (u16)queue);
}

#endif
