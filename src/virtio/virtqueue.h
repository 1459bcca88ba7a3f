/*
 * A virtqueue, split (virtio 1.2, 2.7) or packed (2.8), from the device's side.
 *
 * A device pops a request, uses it at once or later, and pushes it back. A request is a copy: each
 * descriptor was read once, checked, and became pieces of host memory (struct iovec), so that
 * nothing a driver writes afterwards changes it. Requests may be pushed in any order.
 *
 * What a driver does wrong (a chain that loops or is longer than the queue, an address that is not
 * RAM, a writable descriptor before a readable one, a table inside a table, an index that jumps)
 * breaks the queue: it gives no more requests until it is reset, and the device asks its driver
 * for a reset. Other queues go on.
 *
 * Nothing here takes a lock: a queue belongs to whoever holds its lane (virtio/virtio_lane.h).
 */
#ifndef VIRTIO_VIRTQUEUE_H
#define VIRTIO_VIRTQUEUE_H

#include "machine/memory.h"
#include "state/state.h"

#include <sys/uio.h>

#define VIRTQ_MAX_SIZE 1024

/* What travels when a machine is saved; nothing is in flight then. */
struct virtq_state {
	uint64_t descriptors; /* split: descriptor table; packed: the ring */
	uint64_t driver_area; /* split: available ring; packed: driver event suppression */
	uint64_t device_area; /* split: used ring; packed: device event suppression */
	uint16_t size;        /* entries, the driver's choice */
	uint16_t next_avail;  /* split: free-running; packed: position in the ring */
	uint16_t next_used;   /* the same */
	bool avail_wrap;      /* packed: the driver's wrap counter as seen by us */
	bool used_wrap;       /* packed: ours */
	bool enabled;
	bool broken;
	uint8_t reserved[6];
};

extern const struct state_table virtq_state_table;

/*
 * A popped request; a device puts it first in a struct of its own (struct virtq_layout). The
 * pieces are for the device to use as they are, or to consume with virtq_read and virtq_write.
 */
struct virtq_request {
	struct iovec *readable; /* what the driver wrote */
	struct iovec *writable; /* what the device may write */
	unsigned nr_readable, nr_writable;
	uint64_t readable_bytes, writable_bytes; /* that are left */

	/* The queue's. */
	struct virtq *queue;
	struct virtq_request *next;
	struct iovec *pieces; /* all of them: first readable, then writable */
	unsigned nr_pieces, max_pieces;
	uint8_t *last_byte; /* taken away from the end of `writable`, or NULL */
	uint32_t written;   /* by virtq_write */
	uint16_t id;        /* split: head; packed: buffer id */
	uint16_t nr_descs;  /* packed: descriptors to skip */
};

struct virtq {
	struct virtq_state state;

	/* Immutable. */
	const struct guest_memory *memory;
	const char *name;    /* for messages: "disk0 queue 0" */
	uint16_t max_size;   /* a power of two */
	size_t request_size; /* of the device's struct around virtq_request */

	/* Latched when the queue was enabled. */
	bool packed, event_index, indirect;
	uint8_t *descriptors, *driver_area, *device_area; /* host */

	unsigned in_flight;      /* popped, not pushed */
	unsigned budget;         /* how many more may be popped in this round */
	unsigned unsignalled;    /* ring entries used since the last virtq_take_interrupt */
	bool awaits;             /* virtq_await_more has asked to be told of what comes... */
	uint16_t awaited;        /* ...behind this available index; split only */
	uint8_t *withheld;       /* packed: the first of the entries virtq_push_part used... */
	uint16_t withheld_flags; /* ...and what will be its flags */
	struct virtq_request *free;
};

/* `request_size` is at least that of virtq_request. `name` must outlive the queue. */
void virtq_init(struct virtq *queue, const struct guest_memory *memory, const char *name,
	uint16_t max_size, size_t request_size);
/* Nothing may be in flight. */
void virtq_finish(struct virtq *queue);

/* Back to what it was after init. Nothing may be in flight. */
void virtq_reset(struct virtq *queue);

/*
 * Starts to use the rings that `state` describes, with the `features` the driver accepted. False
 * (and the queue is broken) if the rings are misaligned, not RAM, or of an impossible size.
 * `next_avail` and its like are kept: a restored queue goes on where it was.
 */
bool virtq_enable(struct virtq *queue, uint64_t features);

/* Bytes of each area for a size of `size` entries, for layouts and checks. */
uint64_t virtq_descriptors_bytes(uint16_t size);
uint64_t virtq_driver_bytes(uint16_t size, bool packed);
uint64_t virtq_device_bytes(uint16_t size, bool packed);

/*
 * The next request that the driver made available, zeroed behind virtq_request; NULL if there is
 * none, the queue is not enabled, is broken, or the round's budget is spent.
 */
void *virtq_pop(struct virtq *queue);

/* Takes a request back as if it had not been popped; only the last one popped. */
void virtq_unpop(struct virtq *queue, void *request);

/*
 * Gives a request back to the driver and frees it. `written`: how many bytes, counted from the
 * first writable one, were written, at least what virtq_write wrote.
 */
void virtq_push(struct virtq *queue, void *request, uint64_t written);

/*
 * As virtq_push, for one of several requests that belong together: the driver finds them used only
 * when it finds the next used that virtq_push gives.
 */
void virtq_push_part(struct virtq *queue, void *request, uint64_t written);

/* Frees a request without telling the driver: for a queue that is being reset. */
void virtq_drop(struct virtq *queue, void *request);

/* Copies the next readable bytes out and consumes them; returns how many there were. */
size_t virtq_read(void *request, void *to, size_t bytes);
/* As virtq_read, but what is read stays there. The driver may change it meanwhile. */
size_t virtq_peek(const struct virtq_request *request, void *to, size_t bytes);
/* Consumes readable bytes without copying them. */
void virtq_skip(void *request, size_t bytes);
/* Copies into the next writable bytes and consumes them; returns how many there was room for. */
size_t virtq_write(void *request, const void *from, size_t bytes);
/* Takes the last writable byte away from the request, for a status. NULL if there is none. */
uint8_t *virtq_take_last_byte(void *request);

/* Something is available. */
bool virtq_has_more(const struct virtq *queue);

/* Asks the driver to notify, or not to bother. Enabling returns true if something became available
 * meanwhile: then no notification will come for it. */
void virtq_disable_notification(struct virtq *queue);
bool virtq_enable_notification(struct virtq *queue);
/*
 * Asks to be told of what comes behind what is there, which does not suffice: a driver with event
 * indexes that was asked to tell of its next entry has told of it already. Returns true if there
 * may be more than was looked at: look again, without disabling, and call this again.
 */
bool virtq_await_more(struct virtq *queue);

/* Does the driver want an interrupt for what was pushed since the last call? */
bool virtq_take_interrupt(struct virtq *queue);

/*
 * True if the driver says that it has seen all that was pushed: it asks for an interrupt for the
 * next. Without event indexes it never says so.
 */
bool virtq_used_is_seen(const struct virtq *queue);

/* The driver did what it must not: says so, and the queue gives no more requests. */
void virtq_break(struct virtq *queue, const char *why);

#endif
