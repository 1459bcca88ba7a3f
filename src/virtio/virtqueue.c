/*
 * Requests of a virtqueue, whatever its ring looks like: allocation, checked pieces of guest
 * memory, consumption. The rings are virtqueue_split.c and virtqueue_packed.c.
 */
#include "virtio/virtqueue.h"

#include "base/log.h"
#include "virtio/virtqueue_ring.h"

#include <assert.h>
#include <stdlib.h>

/* Room for pieces that a freed request keeps. */
#define VIRTQ_KEPT_PIECES 64

static const struct state_field virtq_fields[] = {
	STATE(struct virtq_state, descriptors),
	STATE(struct virtq_state, driver_area),
	STATE(struct virtq_state, device_area),
	STATE_MAX(struct virtq_state, size, VIRTQ_MAX_SIZE),
	STATE(struct virtq_state, next_avail),
	STATE(struct virtq_state, next_used),
	STATE(struct virtq_state, avail_wrap),
	STATE(struct virtq_state, used_wrap),
	STATE(struct virtq_state, enabled),
	STATE(struct virtq_state, broken),
	STATE_PAD(struct virtq_state, reserved),
};

const struct state_table virtq_state_table =
	STATE_TABLE_OF(struct virtq_state, "virtqueue", virtq_fields, NULL);

static const struct virtq_ring_ops *ring(const struct virtq *queue)
{
	return queue->packed ? &virtq_packed_ops : &virtq_split_ops;
}

void virtq_init(struct virtq *queue, const struct guest_memory *memory, const char *name,
	uint16_t max_size, size_t request_size)
{
	assert(max_size <= VIRTQ_MAX_SIZE && request_size >= sizeof(struct virtq_request));
	memset(queue, 0, sizeof(*queue));
	queue->memory = memory;
	queue->name = name;
	queue->max_size = max_size;
	queue->request_size = request_size;
	virtq_reset(queue);
}

static void request_free(struct virtq_request *request)
{
	free(request->pieces);
	free(request);
}

void virtq_finish(struct virtq *queue)
{
	assert(queue->in_flight == 0);
	while (queue->free) {
		struct virtq_request *request = queue->free;

		queue->free = request->next;
		request_free(request);
	}
}

void virtq_reset(struct virtq *queue)
{
	assert(queue->in_flight == 0);
	memset(&queue->state, 0, sizeof(queue->state));
	queue->state.size = queue->max_size;
	queue->state.avail_wrap = true;
	queue->state.used_wrap = true;
	queue->descriptors = queue->driver_area = queue->device_area = NULL;
	queue->unsignalled = 0;
	queue->withheld = NULL;
	queue->awaits = false;
}

void virtq_break(struct virtq *queue, const char *why)
{
	if (!queue->state.broken)
		log_guest("%s stops: %s", queue->name, why);
	queue->state.broken = true;
}

uint64_t virtq_descriptors_bytes(uint16_t size)
{
	return (uint64_t)size * sizeof(struct virtq_split_desc);
}

/* Both rings end with an event index (2.7.6, 2.7.8), used only if that was agreed on. */
uint64_t virtq_driver_bytes(uint16_t size, bool packed)
{
	return packed ? sizeof(struct virtq_event) : VIRTQ_RING_ENTRIES + 2 * (uint64_t)size + 2;
}

uint64_t virtq_device_bytes(uint16_t size, bool packed)
{
	return packed ? sizeof(struct virtq_event)
		      : VIRTQ_RING_ENTRIES + sizeof(struct virtq_used_element) * (uint64_t)size + 2;
}

/* The host address of an area of the ring, or NULL. */
static uint8_t *latch(
	const struct virtq *queue, gpa_t address, uint64_t bytes, unsigned alignment, bool written)
{
	struct ram_place place;

	if (!guest_memory_find(queue->memory, address, &place) || address % alignment ||
		(written && place.read_only))
		return NULL;
	return guest_memory_host(queue->memory, address, bytes);
}

bool virtq_enable(struct virtq *queue, uint64_t features)
{
	struct virtq_state *state = &queue->state;
	uint16_t size = state->size;

	queue->packed = features & VIRTIO_F_RING_PACKED;
	queue->event_index = features & VIRTIO_F_EVENT_IDX;
	queue->indirect = features & VIRTIO_F_INDIRECT_DESC;
	state->enabled = true;
	if (size == 0 || size > queue->max_size || (!queue->packed && (size & (size - 1)))) {
		virtq_break(queue, "the driver chose an impossible size");
		return false;
	}
	if (queue->packed && (state->next_avail >= size || state->next_used >= size)) {
		virtq_break(queue, "its positions lie outside the ring");
		return false;
	}
	queue->descriptors =
		latch(queue, state->descriptors, virtq_descriptors_bytes(size), 16, queue->packed);
	queue->driver_area = latch(queue, state->driver_area,
		virtq_driver_bytes(size, queue->packed), queue->packed ? 4 : 2, false);
	queue->device_area =
		latch(queue, state->device_area, virtq_device_bytes(size, queue->packed), 4, true);
	if (!queue->descriptors || !queue->driver_area || !queue->device_area) {
		virtq_break(queue, "its rings are not in RAM or not aligned");
		return false;
	}
	return true;
}

void virtq_announce(const struct virtq *queue, const void *host, uint64_t bytes)
{
	const struct guest_memory *memory = queue->memory;
	gpa_t address;

	if (!memory->written || bytes == 0)
		return;
	if (guest_memory_address(memory, host, false, &address))
		memory->written(memory->written_context, address, bytes);
}

static bool grow(struct virtq_request *request)
{
	unsigned max = request->max_pieces ? 2 * request->max_pieces : 8;
	struct iovec *pieces = realloc(request->pieces, max * sizeof(*pieces));

	if (!pieces)
		return false;
	request->pieces = pieces;
	request->max_pieces = max;
	return true;
}

bool virtq_add_piece(struct virtq *queue, struct virtq_request *request, uint64_t address,
	uint32_t length, bool writable)
{
	uint64_t *total = writable ? &request->writable_bytes : &request->readable_bytes;

	if (!writable && request->nr_writable > 0) {
		virtq_break(queue, "a buffer to read follows one to write");
		return false;
	}
	*total += length;
	if (*total > UINT32_MAX) {
		virtq_break(queue, "a request is longer than 4 GiB");
		return false;
	}
	while (length > 0) {
		struct ram_place place;
		uint64_t chunk;

		if (!guest_memory_find(queue->memory, address, &place) ||
			(writable && place.read_only)) {
			virtq_break(queue, "a buffer is not in RAM");
			return false;
		}
		if (request->nr_pieces == request->max_pieces && !grow(request)) {
			virtq_break(queue, "the host is out of memory");
			return false;
		}
		chunk = place.region->size - place.offset;
		if (chunk > length)
			chunk = length;
		request->pieces[request->nr_pieces++] =
			(struct iovec){ .iov_base = place.region->host + place.offset,
				.iov_len = chunk };
		if (writable)
			request->nr_writable++;
		else
			request->nr_readable++;
		address += chunk;
		length -= (uint32_t)chunk;
	}
	return true;
}

const uint8_t *virtq_table(struct virtq *queue, uint64_t address, uint32_t length, unsigned *count)
{
	const uint8_t *table;

	*count = length / sizeof(struct virtq_split_desc);
	if (!queue->indirect) {
		virtq_break(queue, "an indirect table, without the feature");
		return NULL;
	}
	if (length == 0 || length % sizeof(struct virtq_split_desc) || *count > VIRTQ_MAX_SIZE) {
		virtq_break(queue, "an indirect table of an impossible length");
		return NULL;
	}
	table = guest_memory_host(queue->memory, address, length);
	if (!table)
		virtq_break(queue, "an indirect table is not in RAM");
	return table;
}

static struct virtq_request *request_new(struct virtq *queue)
{
	struct virtq_request *request = queue->free;
	struct iovec *pieces = NULL;
	unsigned max_pieces = 0;

	if (request) {
		queue->free = request->next;
		pieces = request->pieces;
		max_pieces = request->max_pieces;
	} else {
		request = malloc(queue->request_size);
		if (!request)
			return NULL;
	}
	memset(request, 0, queue->request_size);
	request->queue = queue;
	request->pieces = pieces;
	request->max_pieces = max_pieces;
	return request;
}

/* Back to the free list, without what a long chain made it grow to. */
static void request_release(struct virtq *queue, struct virtq_request *request)
{
	if (request->max_pieces > VIRTQ_KEPT_PIECES) {
		free(request->pieces);
		request->pieces = NULL;
		request->max_pieces = 0;
	}
	request->next = queue->free;
	queue->free = request;
}

void *virtq_pop(struct virtq *queue)
{
	struct virtq_request *request;

	if (!virtq_has_more(queue) || queue->budget == 0)
		return NULL;
	if (queue->in_flight >= queue->state.size) {
		virtq_break(queue, "more requests are in flight than the ring has entries");
		return NULL;
	}
	request = request_new(queue);
	if (!request) {
		virtq_break(queue, "the host is out of memory");
		return NULL;
	}
	if (!ring(queue)->gather(queue, request)) {
		request_release(queue, request);
		return NULL;
	}
	request->readable = request->pieces;
	request->writable = request->pieces ? request->pieces + request->nr_readable : NULL;
	queue->in_flight++;
	queue->budget--;
	return request;
}

void virtq_unpop(struct virtq *queue, void *request)
{
	ring(queue)->unpop(queue, request);
	queue->in_flight--;
	request_release(queue, request);
}

/* Announces the first `bytes` of what is left to write. */
static void announce_writable(const struct virtq_request *request, uint64_t bytes)
{
	for (unsigned i = 0; i < request->nr_writable && bytes > 0; i++) {
		const struct iovec *piece = &request->writable[i];
		uint64_t chunk = piece->iov_len < bytes ? piece->iov_len : bytes;

		virtq_announce(request->queue, piece->iov_base, chunk);
		bytes -= chunk;
	}
}

static void push(struct virtq *queue, struct virtq_request *request, uint64_t written, bool part)
{

	if (written > request->written)
		announce_writable(request, written - request->written);
	else
		written = request->written;
	if (request->last_byte)
		virtq_announce(queue, request->last_byte, 1);
	ring(queue)->use(queue, request, (uint32_t)written, part);
	queue->unsignalled += request->nr_descs;
	queue->in_flight--;
	request_release(queue, request);
}

void virtq_push(struct virtq *queue, void *request, uint64_t written)
{
	push(queue, request, written, false);
}

void virtq_push_part(struct virtq *queue, void *request, uint64_t written)
{
	push(queue, request, written, true);
}

void virtq_drop(struct virtq *queue, void *request)
{
	queue->in_flight--;
	request_release(queue, request);
}

/* The front piece of a list, of which `chunk` bytes are used up. */
static void consume(struct iovec **pieces, unsigned *count, uint64_t *left, size_t chunk)
{
	struct iovec *piece = *pieces;

	piece->iov_base = (uint8_t *)piece->iov_base + chunk;
	piece->iov_len -= chunk;
	*left -= chunk;
	if (piece->iov_len == 0) {
		(*pieces)++;
		(*count)--;
	}
}

size_t virtq_read(void *object, void *to, size_t bytes)
{
	struct virtq_request *request = object;
	size_t done = 0;

	while (done < bytes && request->nr_readable > 0) {
		const struct iovec *piece = request->readable;
		size_t chunk = bytes - done < piece->iov_len ? bytes - done : piece->iov_len;

		virtq_copy((uint8_t *)to + done, piece->iov_base, chunk);
		done += chunk;
		consume(&request->readable, &request->nr_readable, &request->readable_bytes, chunk);
	}
	return done;
}

size_t virtq_peek(const struct virtq_request *request, void *to, size_t bytes)
{
	size_t done = 0;

	for (unsigned i = 0; i < request->nr_readable && done < bytes; i++) {
		const struct iovec *piece = &request->readable[i];
		size_t chunk = bytes - done < piece->iov_len ? bytes - done : piece->iov_len;

		virtq_copy((uint8_t *)to + done, piece->iov_base, chunk);
		done += chunk;
	}
	return done;
}

void virtq_skip(void *object, size_t bytes)
{
	struct virtq_request *request = object;

	while (bytes > 0 && request->nr_readable > 0) {
		size_t left = request->readable->iov_len;
		size_t chunk = bytes < left ? bytes : left;

		bytes -= chunk;
		consume(&request->readable, &request->nr_readable, &request->readable_bytes, chunk);
	}
}

size_t virtq_write(void *object, const void *from, size_t bytes)
{
	struct virtq_request *request = object;
	size_t done = 0;

	while (done < bytes && request->nr_writable > 0) {
		const struct iovec *piece = request->writable;
		size_t chunk = bytes - done < piece->iov_len ? bytes - done : piece->iov_len;

		memcpy(piece->iov_base, (const uint8_t *)from + done, chunk);
		virtq_announce(request->queue, piece->iov_base, chunk);
		done += chunk;
		consume(&request->writable, &request->nr_writable, &request->writable_bytes, chunk);
	}
	request->written += (uint32_t)done;
	return done;
}

uint8_t *virtq_take_last_byte(void *object)
{
	struct virtq_request *request = object;
	struct iovec *last;

	if (request->nr_writable == 0)
		return NULL;
	last = &request->writable[request->nr_writable - 1];
	last->iov_len--;
	request->last_byte = (uint8_t *)last->iov_base + last->iov_len;
	request->writable_bytes--;
	if (last->iov_len == 0)
		request->nr_writable--;
	return request->last_byte;
}

bool virtq_has_more(const struct virtq *queue)
{
	return queue->state.enabled && !queue->state.broken && ring(queue)->has_more(queue);
}

void virtq_disable_notification(struct virtq *queue)
{
	queue->awaits = false;
	if (queue->state.enabled && !queue->state.broken)
		ring(queue)->disable_notification(queue);
}

bool virtq_enable_notification(struct virtq *queue)
{
	queue->awaits = false;
	if (!queue->state.enabled || queue->state.broken)
		return false;
	ring(queue)->enable_notification(queue);
	/* Between asking for notifications and looking again (2.7.10, 2.8.10). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return ring(queue)->has_more(queue);
}

bool virtq_await_more(struct virtq *queue)
{
	if (!queue->state.enabled || queue->state.broken || !ring(queue)->await_more(queue))
		return false;
	queue->awaits = true;
	/* As above. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return true;
}

bool virtq_take_interrupt(struct virtq *queue)
{
	bool wanted;

	if (queue->unsignalled == 0)
		return false;
	/* Between using entries and looking whether the driver wants to hear of it. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	wanted = queue->unsignalled > queue->state.size || ring(queue)->wants_interrupt(queue);
	queue->unsignalled = 0;
	return wanted;
}

bool virtq_used_is_seen(const struct virtq *queue)
{
	return queue->state.enabled && queue->event_index && ring(queue)->used_is_seen(queue);
}
