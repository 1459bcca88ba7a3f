#include "chip/ps2_queue.h"

void ps2_queue_put(struct ps2_queue *queue, uint8_t byte)
{
	queue->bytes[(queue->first + queue->count++) % PS2_QUEUE_SIZE] = byte;
}

uint8_t ps2_queue_take(struct ps2_queue *queue)
{
	uint8_t byte = queue->bytes[queue->first];

	queue->first = (queue->first + 1) % PS2_QUEUE_SIZE;
	queue->count--;
	return byte;
}

void ps2_queue_clear(struct ps2_queue *queue)
{
	queue->first = queue->count = 0;
}

static const struct state_field ps2_queue_fields[] = {
	STATE_ARRAY(struct ps2_queue, bytes),
	STATE_MAX(struct ps2_queue, first, PS2_QUEUE_SIZE - 1),
	STATE_MAX(struct ps2_queue, count, PS2_QUEUE_SIZE),
};

const struct state_table ps2_queue_table =
	STATE_TABLE_OF(struct ps2_queue, "ps2-queue", ps2_queue_fields, NULL);
