/*
 * Split virtqueues: a table of descriptors, a ring of available heads and a ring of used ones
 * (virtio 1.2, 2.7).
 */
#include "virtio/virtqueue_ring.h"

static uint16_t mask(const struct virtq *queue)
{
	return (uint16_t)(queue->state.size - 1);
}

/* Where the rings' last words lie: what the driver wants to be told of, and what we do. */
static uint8_t *used_event(const struct virtq *queue)
{
	return queue->driver_area + VIRTQ_RING_ENTRIES + 2 * (size_t)queue->state.size;
}

static uint8_t *avail_event(const struct virtq *queue)
{
	return queue->device_area + VIRTQ_RING_ENTRIES +
	       sizeof(struct virtq_used_element) * queue->state.size;
}

static bool split_has_more(const struct virtq *queue)
{
	return virtq_load16(queue->driver_area + VIRTQ_RING_INDEX) != queue->state.next_avail;
}

/* Follows a chain from `index` through a table of `count` descriptors. */
static bool follow(struct virtq *queue, struct virtq_request *request, const uint8_t *table,
	unsigned count, unsigned index, bool is_indirect)
{
	for (unsigned steps = 0; steps < count; steps++) {
		struct virtq_split_desc desc;

		virtq_copy(&desc, table + index * sizeof(desc), sizeof(desc));
		if (desc.flags & VIRTQ_DESC_INDIRECT) {
			const uint8_t *inner;
			unsigned inner_count;

			if (is_indirect || (desc.flags & VIRTQ_DESC_NEXT)) {
				virtq_break(queue, "an indirect table inside a table or a chain");
				return false;
			}
			inner = virtq_table(queue, desc.address, desc.length, &inner_count);
			return inner && follow(queue, request, inner, inner_count, 0, true);
		}
		if (!virtq_add_piece(queue, request, desc.address, desc.length,
			    desc.flags & VIRTQ_DESC_WRITE))
			return false;
		if (!(desc.flags & VIRTQ_DESC_NEXT))
			return true;
		index = desc.next;
		if (index >= count) {
			virtq_break(queue, "a chain leaves its table");
			return false;
		}
	}
	virtq_break(queue, "a chain loops");
	return false;
}

static bool split_gather(struct virtq *queue, struct virtq_request *request)
{
	struct virtq_state *state = &queue->state;
	uint16_t index = virtq_load16(queue->driver_area + VIRTQ_RING_INDEX);
	uint16_t head;

	if ((uint16_t)(index - state->next_avail) > state->size) {
		virtq_break(queue, "the available index jumps");
		return false;
	}
	head = virtq_load16(queue->driver_area + VIRTQ_RING_ENTRIES +
			    2 * (size_t)(state->next_avail & mask(queue)));
	if (head >= state->size) {
		virtq_break(queue, "a chain begins outside the table");
		return false;
	}
	request->id = head;
	request->nr_descs = 1;
	if (!follow(queue, request, queue->descriptors, state->size, head, false))
		return false;
	state->next_avail++;
	return true;
}

static void split_unpop(struct virtq *queue, const struct virtq_request *request)
{
	(void)request;
	queue->state.next_avail--;
}

static void split_use(
	struct virtq *queue, const struct virtq_request *request, uint32_t length, bool part)
{
	struct virtq_state *state = &queue->state;
	struct virtq_used_element element = { request->id, length };
	uint8_t *at = queue->device_area + VIRTQ_RING_ENTRIES +
		      sizeof(element) * (size_t)(state->next_used & mask(queue));

	memcpy(at, &element, sizeof(element));
	virtq_announce(queue, at, sizeof(element));
	state->next_used++;
	if (part)
		return;
	virtq_store16(queue->device_area + VIRTQ_RING_INDEX, state->next_used);
	virtq_announce(queue, queue->device_area, VIRTQ_RING_ENTRIES);
}

static void set_used_flags(struct virtq *queue, uint16_t flags)
{
	virtq_store16(queue->device_area + VIRTQ_RING_FLAGS, flags);
	virtq_announce(queue, queue->device_area, VIRTQ_RING_ENTRIES);
}

static void split_disable_notification(struct virtq *queue)
{
	/* With event indexes the one that has passed already says so. */
	if (!queue->event_index)
		set_used_flags(queue, VIRTQ_USED_NO_NOTIFY);
}

static void split_enable_notification(struct virtq *queue)
{
	if (!queue->event_index) {
		set_used_flags(queue, 0);
		return;
	}
	virtq_store16(avail_event(queue), queue->state.next_avail);
	virtq_announce(queue, avail_event(queue), 2);
}

static bool split_await_more(struct virtq *queue)
{
	uint16_t index = virtq_load16(queue->driver_area + VIRTQ_RING_INDEX);
	bool asked = queue->awaits && (!queue->event_index || queue->awaited == index);

	if (asked)
		return false;
	queue->awaited = index;
	if (!queue->event_index) {
		set_used_flags(queue, 0);
		return true;
	}
	virtq_store16(avail_event(queue), index);
	virtq_announce(queue, avail_event(queue), 2);
	return true;
}

static bool split_wants_interrupt(const struct virtq *queue)
{
	uint16_t new = queue->state.next_used;

	if (!queue->event_index)
		return !(virtq_load16(queue->driver_area + VIRTQ_RING_FLAGS) &
			 VIRTQ_AVAIL_NO_INTERRUPT);
	return virtq_passed(
		virtq_load16(used_event(queue)), new, (uint16_t)(new - queue->unsignalled));
}

static bool split_used_is_seen(const struct virtq *queue)
{
	return virtq_load16(used_event(queue)) == queue->state.next_used;
}

const struct virtq_ring_ops virtq_split_ops = {
	.has_more = split_has_more,
	.gather = split_gather,
	.unpop = split_unpop,
	.use = split_use,
	.disable_notification = split_disable_notification,
	.enable_notification = split_enable_notification,
	.await_more = split_await_more,
	.wants_interrupt = split_wants_interrupt,
	.used_is_seen = split_used_is_seen,
};
