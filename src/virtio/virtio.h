/*
 * A virtio device without its transport (virtio 1.2, 2): status, features, configuration space,
 * queues. What a device model is built on; virtio_rng.c is the smallest example.
 *
 * A model is a struct that begins with struct virtio_device, and a struct virtio_device_type:
 *
 *	static bool rng_serve(struct virtio_device *device, unsigned index)
 *	{
 *		struct virtq_request *request;
 *
 *		while ((request = virtq_pop(virtio_queue(device, index)))) {
 *			... virtq_read, virtq_write, or the iovecs themselves ...
 *			virtq_push(virtio_queue(device, index), request, written);
 *		}
 *		return true;
 *	}
 *
 * Its owner calls virtio_device_init with what it offers, then virtio_pci_create
 * (virtio/virtio_pci.h), which puts it on the bus. Interrupts, notifications and their suppression,
 * resets, indirect tables, both ring formats and hostile drivers are the framework's business.
 *
 * Who holds what: `serve`, `drain` and a watch's `ready` hold the queue's lane, and are the only
 * ones that touch its queues and requests. The other functions run under the machine lock and hold
 * no lane; they may enter one. Who holds a lane never takes the machine lock: it asks for
 * `outside`. A request may stay with the model for as long as it likes, and is pushed from any
 * thread that has entered the lane; `drain` is where it must come back.
 */
#ifndef VIRTIO_VIRTIO_H
#define VIRTIO_VIRTIO_H

#include "machine/device.h"
#include "machine/machine.h"
#include "virtio/virtio_lane.h"
#include "virtio/virtio_regs.h"
#include "virtio/virtqueue.h"

#define VIRTIO_MAX_QUEUES 64
#define VIRTIO_MAX_LANES  16
#define VIRTIO_MAX_CONFIG 256 /* bytes of configuration space */

struct virtio_device;

struct virtio_device_type {
	const char *name;         /* "virtio-rng" */
	uint16_t id;              /* VIRTIO_ID_... */
	uint32_t pci_class;       /* class, subclass, interface */
	bool is_transitional;     /* offers the legacy interface too */
	uint64_t legacy_features; /* those of its own features that a legacy driver may see */
	size_t request_size;      /* of the struct around virtq_request; 0: just that */

	/*
	 * Requests may be available in queue `index`, or virtio_serve_again was called. Returns
	 * true if it took all it was given; false if it leaves some for later (no data to receive,
	 * a limit is reached): then it calls virtio_serve_again when it can go on. Holds the lane.
	 */
	bool (*serve)(struct virtio_device *device, unsigned index);
	/*
	 * Pushes or drops every request of the queue that it has kept, waiting for those that
	 * others are using. `cancel`: the queue will be reset, and work that has not begun may be
	 * dropped. Holds the lane. NULL: the device keeps no requests.
	 */
	void (*drain)(struct virtio_device *device, unsigned index, bool cancel);
	/*
	 * The queue may run: the host's kernel serves it from now on instead of `serve`, and is
	 * told of what comes by the eventfd `kick_fd`. Returns the eventfd by which it asks for an
	 * interrupt, or -1 if it does not. `recall` ends this; nothing is in flight then, and the
	 * queue's state is where the kernel got to. Both hold the lane, `delegate` under the
	 * machine lock too. NULL: never.
	 */
	int (*delegate)(struct virtio_device *device, unsigned index, int kick_fd);
	void (*recall)(struct virtio_device *device, unsigned index);
	/* Deferred by virtio_call_outside; on lane `lane`'s I/O thread, holds nothing. */
	void (*outside)(struct virtio_device *device, unsigned lane);

	/* Under the machine lock; each may be NULL. */
	bool (*accepts)(const struct virtio_device *device, uint64_t features);
	void (*started)(struct virtio_device *device); /* DRIVER_OK; `features` are final */
	void (*reset)(struct virtio_device *device);   /* all queues have been drained */
	void (*powered)(struct virtio_device *device); /* the machine starts anew; after `reset` */
	/* The driver wrote bytes of `config`, which are in place. */
	void (*config_written)(struct virtio_device *device, unsigned offset, unsigned size);
	/* The driver is about to read them. */
	void (*config_reading)(struct virtio_device *device, unsigned offset, unsigned size);
};

struct virtio_queue_config {
	uint16_t size; /* entries offered: a power of two up to VIRTQ_MAX_SIZE */
	uint8_t lane;
};

struct virtio_device_config {
	const char *name; /* unique in the machine: "disk0"; must outlive the device */
	struct machine *machine;
	uint64_t features; /* the device's own; the framework adds the reserved ones */
	void *config;      /* its configuration space, little-endian; may be NULL */
	unsigned config_size;
	/* Bytes that the driver may write are 0xff here; NULL: none. */
	const uint8_t *config_writable;
	const struct virtio_queue_config *queues;
	unsigned nr_queues;
	unsigned nr_lanes; /* at least 1 */
	bool no_packed;    /* do not offer packed rings */
};

/* How a device interrupts its driver; set by the transport. */
struct virtio_transport_ops {
	/* Any thread; may hold the queue's lane, so takes no machine lock. */
	void (*interrupt_queue)(void *transport, unsigned index);
	/* Under the machine lock. */
	void (*interrupt_config)(void *transport);
	/* Under the machine lock, holding no lane: something asked for virtio_call_transport. */
	void (*outside)(void *transport);
	/* The eventfd that the driver's notifications signal. NULL: there is none. */
	int (*kick_fd)(void *transport, unsigned index);
	/*
	 * The kernel serves a queue: the transport does not look at the queue's `kick_fd` until
	 * `recall_queue`, and interrupts when `call_fd` is signalled. That returns true if it was
	 * signalled and the interrupt is still to be sent. Holding the lane, the first under the
	 * machine lock. Returns 0 or -errno.
	 */
	int (*delegate_queue)(void *transport, unsigned index, int call_fd);
	bool (*recall_queue)(void *transport, unsigned index);
};

struct virtio_queue {
	struct virtq ring; /* lane */
	struct virtio_device *device;
	uint8_t lane; /* immutable */
	char name[40];

	/* Any thread. */
	_Atomic bool marked; /* serve it */

	/* Lane. */
	bool running;   /* enabled, DRIVER_OK, may access memory */
	bool delegated; /* ...and the kernel serves it, which `kick_fd` wakes */
	int kick_fd;
	bool stopping;            /* to be drained and reset by the I/O thread */
	_Atomic bool is_stopping; /* what registers show of it */
};

/* Guest-visible, but for configuration space and queues. */
struct virtio_device_state {
	uint64_t driver_features;
	uint8_t status;
	bool legacy; /* the driver uses the legacy interface */
	uint8_t reserved[2];
	uint32_t generation; /* of the configuration space */
};

struct virtio_device {
	/* Machine lock; `status` changes under it and is looked at by lanes. */
	struct virtio_device_state state;
	bool resetting;   /* status 0 was written; some queue is not drained yet */
	bool dma_allowed; /* the transport lets the device access memory */
	bool paused;

	/* Immutable. */
	const struct virtio_device_type *type;
	const char *name;
	struct machine *machine;
	uint64_t features;
	uint8_t *config;
	const uint8_t *config_writable;
	unsigned config_size;
	unsigned nr_queues, nr_lanes;
	struct virtio_queue *queues;
	struct virtio_lane *lanes;
	const struct virtio_transport_ops *transport_ops;
	void *transport;

	/* Any thread. */
	_Atomic bool needs_reset;     /* a queue broke; not told yet */
	_Atomic bool transport_waits; /* transport_ops.outside is due */
	_Atomic bool model_waits;     /* type->outside is due */
};

extern const struct state_table virtio_device_state_table;

/* Creates queues, lanes and their threads. Returns 0, or fills `err`. */
int virtio_device_init(struct virtio_device *device, const struct virtio_device_type *type,
	const struct virtio_device_config *config, struct error *err);
/* Drains and ends the threads. Not under the machine lock. A zeroed device is fine. */
void virtio_device_finish(struct virtio_device *device);

/* The features both sides agreed on. Final once the device is started. */
static inline bool virtio_has_feature(const struct virtio_device *device, uint64_t feature)
{
	return (device->state.driver_features & feature) == feature;
}

static inline struct virtq *virtio_queue(struct virtio_device *device, unsigned index)
{
	return &device->queues[index].ring;
}

static inline struct virtio_lane *virtio_queue_lane(struct virtio_device *device, unsigned index)
{
	return &device->lanes[device->queues[index].lane];
}

/* Have `serve` called for the queue: at once if the lane is free. Any thread; may hold the lane,
 * then it is called later. */
void virtio_serve_again(struct virtio_device *device, unsigned index);

/* Asks type->delegate anew for every queue. Under the machine lock. */
void virtio_delegate_again(struct virtio_device *device);
/* The kernel found that the driver did what it must not (virtq_break). Holds the lane. */
void virtio_delegate_broke(struct virtio_device *device, unsigned index);

/* Have type->outside called on a lane's I/O thread. Any thread. */
void virtio_call_outside(struct virtio_device *device, unsigned lane);

/* Changes bytes of configuration space and tells the driver. Under the machine lock. */
void virtio_config_change(
	struct virtio_device *device, unsigned offset, const void *bytes, unsigned size);

/*
 * Lets requests in flight end and serves no more (`pause`), or goes on. For saving a machine whose
 * vCPUs are stopped. Under the machine lock.
 */
void virtio_device_pause(struct virtio_device *device);
void virtio_device_resume(struct virtio_device *device);

/* For transports; under the machine lock. */

void virtio_set_transport(
	struct virtio_device *device, const struct virtio_transport_ops *ops, void *transport);
/* To the state after power on; waits until the queues are drained. */
void virtio_device_reset(struct virtio_device *device);
/* State and queues were replaced: starts what runs in them. */
void virtio_device_restored(struct virtio_device *device);
uint64_t virtio_offered_features(const struct virtio_device *device, bool legacy);
void virtio_write_features(struct virtio_device *device, uint64_t features, bool legacy);
uint8_t virtio_read_status(struct virtio_device *device);
void virtio_write_status(struct virtio_device *device, uint8_t status, bool legacy);
void virtio_read_config(struct virtio_device *device, unsigned offset, void *to, unsigned size);
void virtio_write_config(
	struct virtio_device *device, unsigned offset, const void *from, unsigned size);
/* Begins to use a queue whose addresses and size are in ring.state. */
void virtio_enable_queue(struct virtio_device *device, unsigned index);
/* VIRTIO_F_RING_RESET: begins; true from virtio_queue_is_stopping until it is done. */
void virtio_stop_queue(struct virtio_device *device, unsigned index);
bool virtio_queue_is_stopping(const struct virtio_device *device, unsigned index);
/* The bus master enable bit changed. */
void virtio_allow_dma(struct virtio_device *device, bool allowed);
/* transport_ops.outside is called soon, by the I/O thread of lane 0. Any thread. */
void virtio_call_transport(struct virtio_device *device);
/* The driver's notification, on a vCPU's thread (served there) or elsewhere. Any thread. */
void virtio_queue_ring(struct virtio_queue *queue);
/* The same where a lock is held that `serve` must not run under. Any thread. */
void virtio_queue_mark(struct virtio_queue *queue);

#endif
