/*
 * Bytes that a PS/2 device has for its controller. Guest-visible state of the devices.
 */
#ifndef CHIP_PS2_QUEUE_H
#define CHIP_PS2_QUEUE_H

#include "state/state.h"

#define PS2_QUEUE_SIZE 32

struct ps2_queue {
	uint8_t bytes[PS2_QUEUE_SIZE];
	uint8_t first, count;
};

extern const struct state_table ps2_queue_table;

static inline unsigned ps2_queue_room(const struct ps2_queue *queue)
{
	return PS2_QUEUE_SIZE - queue->count;
}

/* There must be room. */
void ps2_queue_put(struct ps2_queue *queue, uint8_t byte);
/* There must be one. */
uint8_t ps2_queue_take(struct ps2_queue *queue);
void ps2_queue_clear(struct ps2_queue *queue);

#endif
