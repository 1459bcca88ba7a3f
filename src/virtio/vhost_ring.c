#include "virtio/vhost_ring.h"

#include "virtio/virtqueue_ring.h"

#include <errno.h>

/* Where the parts lie in the shared memory (2.7: aligned to 16, 2 and 4 bytes). */
#define AVAILABLE_OFFSET (VHOST_RING_SIZE * sizeof(struct virtq_split_desc))
#define USED_OFFSET      (AVAILABLE_OFFSET + 4096)
#define HEADS_OFFSET     (USED_OFFSET + 12288)
_Static_assert(HEADS_OFFSET + VHOST_RING_SIZE * VHOST_HEAD_BYTES <= VHOST_RING_BYTES,
	"a ring fits into its shared memory");

#define NO_ENTRY UINT16_MAX

void vhost_ring_init(
	struct vhost_ring *ring, const struct guest_memory *memory, uint8_t *shared, gpa_t address)
{
	memset(ring, 0, sizeof(*ring));
	ring->memory = memory;
	ring->descriptors = shared;
	ring->available = shared + AVAILABLE_OFFSET;
	ring->used = shared + USED_OFFSET;
	ring->heads = shared + HEADS_OFFSET;
	ring->heads_address = address + HEADS_OFFSET;
	for (unsigned i = 0; i < VHOST_RING_SIZE; i++)
		ring->next[i] = i + 1 < VHOST_RING_SIZE ? (uint16_t)(i + 1) : NO_ENTRY;
	ring->nr_free = VHOST_RING_SIZE;
}

/* Takes a free entry and writes it; chained to what was added before it, NO_ENTRY: nothing. */
static uint16_t add_entry(
	struct vhost_ring *ring, uint16_t before, gpa_t address, uint64_t length, uint16_t flags)
{
	struct virtq_split_desc *table = (struct virtq_split_desc *)(void *)ring->descriptors;
	uint16_t entry = ring->free_entry;

	ring->free_entry = ring->next[entry];
	ring->nr_free--;
	ring->next[entry] = NO_ENTRY;
	table[entry] = (struct virtq_split_desc){
		.address = address, .length = (uint32_t)length, .flags = flags
	};
	if (before != NO_ENTRY) {
		ring->next[before] = entry;
		table[before].next = entry;
		table[before].flags |= VIRTQ_DESC_NEXT;
	}
	return entry;
}

static void free_chain(struct vhost_ring *ring, uint16_t entry)
{
	while (entry != NO_ENTRY) {
		uint16_t next = ring->next[entry];

		ring->next[entry] = ring->free_entry;
		ring->free_entry = entry;
		ring->nr_free++;
		entry = next;
	}
}

/* Adds pieces behind `*last`, and sets `*first` if they are the chain's first. */
static int add_pieces(struct vhost_ring *ring, const struct iovec *pieces, unsigned count,
	uint16_t flags, uint16_t *first, uint16_t *last)
{
	for (unsigned i = 0; i < count; i++) {
		gpa_t address;

		if (!guest_memory_address(ring->memory, pieces[i].iov_base, true, &address))
			return -EFAULT;
		*last = add_entry(ring, *last, address, pieces[i].iov_len, flags);
		if (*first == NO_ENTRY)
			*first = *last;
	}
	return 0;
}

bool vhost_ring_has_room(const struct vhost_ring *ring, const void *object)
{
	const struct virtq_request *request = object;
	unsigned entries = request->nr_readable + request->nr_writable + 1;

	return entries <= ring->nr_free || entries > VHOST_RING_SIZE;
}

int vhost_ring_add(struct vhost_ring *ring, void *object, const void *head, unsigned head_bytes)
{
	const struct virtq_request *request = object;
	unsigned entries = request->nr_readable + request->nr_writable + (head_bytes > 0);
	uint16_t first = NO_ENTRY, last = NO_ENTRY;
	int rc;

	if (entries == 0 || entries > VHOST_RING_SIZE)
		return -E2BIG;
	if (entries > ring->nr_free)
		return -ENOSPC;
	if (head_bytes > 0) {
		size_t offset = (size_t)ring->free_entry * VHOST_HEAD_BYTES;

		memcpy(ring->heads + offset, head, head_bytes);
		first = last =
			add_entry(ring, NO_ENTRY, ring->heads_address + offset, head_bytes, 0);
	}
	rc = add_pieces(ring, request->readable, request->nr_readable, 0, &first, &last);
	if (rc == 0)
		rc = add_pieces(ring, request->writable, request->nr_writable, VIRTQ_DESC_WRITE,
			&first, &last);
	if (rc < 0) {
		free_chain(ring, first);
		return rc;
	}
	ring->requests[first] = object;
	ring->in_flight++;
	virtq_store16(ring->available + VIRTQ_RING_ENTRIES +
			      2 * (size_t)(ring->available_index++ % VHOST_RING_SIZE),
		first);
	return 0;
}

bool vhost_ring_publish(struct vhost_ring *ring)
{
	virtq_store16(ring->available + VIRTQ_RING_INDEX, ring->available_index);
	/* Between showing entries and looking whether the back end wants to hear of it (2.7.13). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !(virtq_load16(ring->used + VIRTQ_RING_FLAGS) & VIRTQ_USED_NO_NOTIFY);
}

static void *remove_request(struct vhost_ring *ring, uint32_t first)
{
	void *request = ring->requests[first];

	ring->requests[first] = NULL;
	ring->in_flight--;
	free_chain(ring, (uint16_t)first);
	return request;
}

void *vhost_ring_take(struct vhost_ring *ring, uint32_t *written, bool *broken)
{
	uint16_t waiting = virtq_load16(ring->used + VIRTQ_RING_INDEX) - ring->used_index;
	struct virtq_used_element element;
	struct virtq_request *request;

	if (waiting == 0)
		return NULL;
	virtq_copy(&element,
		ring->used + VIRTQ_RING_ENTRIES +
			sizeof(element) * (size_t)(ring->used_index % VHOST_RING_SIZE),
		sizeof(element));
	if (waiting > ring->in_flight || element.id >= VHOST_RING_SIZE ||
		!ring->requests[element.id]) {
		*broken = true;
		return NULL;
	}
	ring->used_index++;
	request = remove_request(ring, element.id);
	*written = element.length < request->writable_bytes ? element.length
							    : (uint32_t)request->writable_bytes;
	return request;
}

void *vhost_ring_abandon(struct vhost_ring *ring)
{
	for (uint32_t i = 0; ring->in_flight > 0 && i < VHOST_RING_SIZE; i++) {
		if (ring->requests[i])
			return remove_request(ring, i);
	}
	return NULL;
}
