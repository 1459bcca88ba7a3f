/*
 * Which pair of a NIC's queues receives a frame: the one on which the driver last sent a frame of
 * the same flow (virtio 1.2, 5.1.6.5.6), so that the processor that asked hears of the answer
 * itself. A flow is the two ends of a TCP or UDP connection, else two IP addresses.
 *
 * A flow that carries much is received on a pair of its own choice instead: the processor that runs
 * its program has enough to do, and another can do the kernel's part of it.
 *
 * A flow moves only when the driver has taken all that its old pair was given: else what comes
 * first on the new one overtakes it, and TCP sends again what was never lost.
 *
 * The table is small and has no addresses in it: another flow may take a flow's place, and is
 * received where that one would be until it is sent again. Lane 0 owns it.
 */
#ifndef VIRTIO_VIRTIO_NET_STEERING_H
#define VIRTIO_VIRTIO_NET_STEERING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STEERING_SLOTS 256
/* All of a frame that matters: Ethernet with one VLAN tag, the longest IPv4 header, ports. */
#define STEERING_BYTES (14 + 4 + 60 + 4)
/* A frame of more is part of something large. */
#define STEERING_LARGE 1024
/* From so many large frames on a flow carries much; four small ones count as one less. */
#define STEERING_MANY 3

struct virtio_net_steering {
	struct steering_slot {
		uint8_t pair;
		uint8_t load; /* in small frames */
		bool carries_much;
		uint8_t receives; /* the pair, while it does */
		uint8_t last;     /* the pair that received last, and 1; 0: none did */
	} slots[STEERING_SLOTS];
};

/* A frame of `size` bytes was sent. `head` is its first min(size, STEERING_BYTES) bytes. */
void virtio_net_steering_sent(
	struct virtio_net_steering *steering, const uint8_t *head, size_t size, unsigned pair);

/* True if the driver has taken all that a pair has received, as far as can be told. */
typedef bool steering_is_drained_fn(const void *context, unsigned pair);

/* The pair, of `nr_pairs`, that receives a frame, which is counted; 0 for what is not IP. */
unsigned virtio_net_steering_receive(struct virtio_net_steering *steering, const uint8_t *head,
	size_t size, unsigned nr_pairs, steering_is_drained_fn *is_drained, const void *context);

#endif
