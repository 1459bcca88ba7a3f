/*
 * virtio-balloon (virtio 1.2, 5.5): memory that a guest gives back.
 *
 * Three ways: the balloon proper, whose size the host sets and the guest follows; free page
 * reporting, by which the guest tells at leisure of what it does not use; and, against the guest's
 * running dry, deflation on out of memory. What is given back is given to the host at once, and
 * reads as zero when the guest uses it again.
 */
#ifndef VIRTIO_VIRTIO_BALLOON_H
#define VIRTIO_VIRTIO_BALLOON_H

#include "base/error.h"
#include "virtio/virtio.h"

struct virtio_balloon_config {
	const char *name; /* unique in the machine; must outlive the device */
	struct machine *machine;
};

/* What the guest says of its memory (5.5.6.3); bytes, or events since it started. UINT64_MAX: it
 * did not say. */
struct virtio_balloon_statistics {
	uint64_t swapped_in, swapped_out, major_faults, minor_faults;
	uint64_t free, total, available, disk_caches;
	uint64_t hugetlb_allocations, hugetlb_failures;
};

struct virtio_balloon;

/* Returns 0, or fills `err`. */
int virtio_balloon_create(struct virtio_balloon **balloon,
	const struct virtio_balloon_config *config, struct error *err);
/* Off the bus, and not under the machine lock. Takes NULL. */
void virtio_balloon_destroy(struct virtio_device *device);

struct virtio_device *virtio_balloon_device(struct virtio_balloon *balloon);

/* How much memory the guest is to keep, bytes; it follows as it can. Under the machine lock. */
void virtio_balloon_set_target(struct virtio_balloon *balloon, uint64_t bytes);

/* How much of its memory the guest is to give to the balloon, bytes. Under the machine lock. */
uint64_t virtio_balloon_target(const struct virtio_balloon *balloon);

/* How much memory the guest has given to the balloon, bytes. Under the machine lock. */
uint64_t virtio_balloon_inflated(const struct virtio_balloon *balloon);

/*
 * Asks the guest which of its memory is free (free page hinting): a round that the guest ends, or
 * virtio_balloon_end_hints. Only counted. Under the machine lock. -ENOTSUP: no driver is there that
 * could; -EBUSY: a round has not ended.
 */
int virtio_balloon_hint(struct virtio_balloon *balloon);
/* The guest need not go on, and its memory is its own again. Under the machine lock. */
void virtio_balloon_end_hints(struct virtio_balloon *balloon);
/* Bytes of the last round; true while it goes on. Under the machine lock. */
bool virtio_balloon_hinted(struct virtio_balloon *balloon, uint64_t *bytes);

/* Asks the guest for new statistics, which come when they come. Under the machine lock. */
void virtio_balloon_ask(struct virtio_balloon *balloon);
/* The last ones. */
void virtio_balloon_get_statistics(
	struct virtio_balloon *balloon, struct virtio_balloon_statistics *statistics);

#endif
