/*
 * Packed virtqueues: one ring of descriptors that both sides write (virtio 1.2, 2.8). A wrap
 * counter on each side tells this round's marks from the last one's.
 */
#include "virtio/virtqueue_ring.h"

#define DESC_FLAGS offsetof(struct virtq_packed_desc, flags)

static uint8_t *desc_at(const struct virtq *queue, unsigned position)
{
	return queue->descriptors + position * sizeof(struct virtq_packed_desc);
}

/* 2.8.1: available if the flags differ, and AVAIL is the driver's wrap counter. */
static bool is_available(uint16_t flags, bool wrap)
{
	return !!(flags & VIRTQ_DESC_AVAIL) == wrap && !!(flags & VIRTQ_DESC_USED) != wrap;
}

static bool packed_has_more(const struct virtq *queue)
{
	const struct virtq_state *state = &queue->state;

	return is_available(
		virtq_load16(desc_at(queue, state->next_avail) + DESC_FLAGS), state->avail_wrap);
}

static void advance(const struct virtq *queue, uint16_t *position, bool *wrap, unsigned count)
{
	unsigned next = *position + count;

	if (next >= queue->state.size) {
		next -= queue->state.size;
		*wrap = !*wrap;
	}
	*position = (uint16_t)next;
}

/* In a table only WRITE counts, and its descriptors are used in order (2.8.7). */
static bool gather_table(
	struct virtq *queue, struct virtq_request *request, const struct virtq_packed_desc *outer)
{
	unsigned count;
	const uint8_t *table = virtq_table(queue, outer->address, outer->length, &count);

	for (unsigned i = 0; table && i < count; i++) {
		struct virtq_packed_desc desc;

		virtq_copy(&desc, table + i * sizeof(desc), sizeof(desc));
		if (desc.flags & VIRTQ_DESC_INDIRECT) {
			virtq_break(queue, "an indirect table inside a table or a chain");
			return false;
		}
		if (!virtq_add_piece(queue, request, desc.address, desc.length,
			    desc.flags & VIRTQ_DESC_WRITE))
			return false;
	}
	return table;
}

static bool packed_gather(struct virtq *queue, struct virtq_request *request)
{
	struct virtq_state *state = &queue->state;
	uint16_t position = state->next_avail;
	bool wrap = state->avail_wrap;

	for (unsigned count = 1; count <= state->size; count++) {
		struct virtq_packed_desc desc;

		virtq_copy(&desc, desc_at(queue, position), sizeof(desc));
		advance(queue, &position, &wrap, 1);
		if (desc.flags & VIRTQ_DESC_INDIRECT) {
			if (count > 1 || (desc.flags & VIRTQ_DESC_NEXT)) {
				virtq_break(queue, "an indirect table inside a table or a chain");
				return false;
			}
			if (!gather_table(queue, request, &desc))
				return false;
		} else if (!virtq_add_piece(queue, request, desc.address, desc.length,
				   desc.flags & VIRTQ_DESC_WRITE)) {
			return false;
		}
		if (!(desc.flags & VIRTQ_DESC_NEXT)) {
			request->id = desc.id; /* of the chain's last (2.8.6) */
			request->nr_descs = (uint16_t)count;
			state->next_avail = position;
			state->avail_wrap = wrap;
			return true;
		}
	}
	virtq_break(queue, "a chain loops");
	return false;
}

static void packed_unpop(struct virtq *queue, const struct virtq_request *request)
{
	struct virtq_state *state = &queue->state;

	if (request->nr_descs > state->next_avail) {
		state->next_avail = (uint16_t)(state->next_avail + state->size);
		state->avail_wrap = !state->avail_wrap;
	}
	state->next_avail = (uint16_t)(state->next_avail - request->nr_descs);
}

static void set_flags(struct virtq *queue, uint8_t *at, uint16_t flags)
{
	virtq_store16(at + DESC_FLAGS, flags);
	virtq_announce(queue, at, sizeof(struct virtq_packed_desc));
}

static void packed_use(
	struct virtq *queue, const struct virtq_request *request, uint32_t length, bool part)
{
	struct virtq_state *state = &queue->state;
	uint8_t *at = desc_at(queue, state->next_used);
	uint16_t flags = state->used_wrap ? VIRTQ_DESC_AVAIL | VIRTQ_DESC_USED : 0;

	if (length > 0)
		flags |= VIRTQ_DESC_WRITE;
	memcpy(at + offsetof(struct virtq_packed_desc, id), &request->id, sizeof(request->id));
	memcpy(at + offsetof(struct virtq_packed_desc, length), &length, sizeof(length));
	/* The driver looks at the first of them first: it is used last. */
	if (part && !queue->withheld) {
		queue->withheld = at;
		queue->withheld_flags = flags;
	} else {
		set_flags(queue, at, flags);
	}
	if (!part && queue->withheld) {
		set_flags(queue, queue->withheld, queue->withheld_flags);
		queue->withheld = NULL;
	}
	advance(queue, &state->next_used, &state->used_wrap, request->nr_descs);
}

static void set_event(struct virtq *queue, uint16_t flags)
{
	virtq_store16(queue->device_area + offsetof(struct virtq_event, flags), flags);
	virtq_announce(queue, queue->device_area, sizeof(struct virtq_event));
}

static void packed_disable_notification(struct virtq *queue)
{
	set_event(queue, VIRTQ_EVENT_DISABLE);
}

static void packed_enable_notification(struct virtq *queue)
{
	const struct virtq_state *state = &queue->state;

	if (!queue->event_index) {
		set_event(queue, VIRTQ_EVENT_ENABLE);
		return;
	}
	virtq_store16(queue->device_area + offsetof(struct virtq_event, position),
		(uint16_t)(state->next_avail | (state->avail_wrap ? VIRTQ_EVENT_WRAP : 0)));
	set_event(queue, VIRTQ_EVENT_DESC);
}

/* Where the next chain will begin is not known: the driver is to tell of each. */
static bool packed_await_more(struct virtq *queue)
{
	if (queue->awaits)
		return false;
	set_event(queue, VIRTQ_EVENT_ENABLE);
	return true;
}

static bool packed_wants_interrupt(const struct virtq *queue)
{
	const struct virtq_state *state = &queue->state;
	uint16_t flags = virtq_load16(queue->driver_area + offsetof(struct virtq_event, flags)) & 3;
	uint16_t event = virtq_load16(queue->driver_area + offsetof(struct virtq_event, position));
	bool event_wrap = event & VIRTQ_EVENT_WRAP;

	if (flags == VIRTQ_EVENT_DISABLE)
		return false;
	if (flags != VIRTQ_EVENT_DESC || !queue->event_index)
		return true;
	event &= (uint16_t)~VIRTQ_EVENT_WRAP;
	/* Of the round before ours: as if the ring went on below zero. */
	if (event_wrap != state->used_wrap)
		event = (uint16_t)(event - state->size);
	return virtq_passed(
		event, state->next_used, (uint16_t)(state->next_used - queue->unsignalled));
}

static bool packed_used_is_seen(const struct virtq *queue)
{
	const struct virtq_state *state = &queue->state;
	uint16_t flags = virtq_load16(queue->driver_area + offsetof(struct virtq_event, flags)) & 3;
	uint16_t event = virtq_load16(queue->driver_area + offsetof(struct virtq_event, position));

	return flags == VIRTQ_EVENT_DESC &&
	       event == (state->next_used | (state->used_wrap ? VIRTQ_EVENT_WRAP : 0));
}

const struct virtq_ring_ops virtq_packed_ops = {
	.has_more = packed_has_more,
	.gather = packed_gather,
	.unpop = packed_unpop,
	.use = packed_use,
	.disable_notification = packed_disable_notification,
	.enable_notification = packed_enable_notification,
	.await_more = packed_await_more,
	.wants_interrupt = packed_wants_interrupt,
	.used_is_seen = packed_used_is_seen,
};
