/*
 * The cable of a network card: its back end (net/net.h), and a thread that waits for it.
 *
 * A card is a chip like others: it runs under the machine lock, on the vCPU that writes a register
 * or on this thread. Its work is cut into rounds of NIC_CABLE_ROUND frames, between which the lock
 * is given up, so that neither a guest nor a peer who floods it holds up the machine.
 */
#ifndef NIC_NIC_CABLE_H
#define NIC_NIC_CABLE_H

#include "machine/machine.h"
#include "net/net.h"

#include <pthread.h>
#include <stdatomic.h>

#define NIC_CABLE_ROUND 64

struct nic_config {
	const char *name; /* unique in the machine: "net0"; must outlive the card */
	struct machine *machine;
	struct net_backend *backend; /* belongs to the card from now on, also if it fails */
	uint8_t address[NET_ADDRESS_BYTES];
};

/* What a card is to its cable. Under the machine lock. */
struct nic_cable_ops {
	const struct device_type *type;
	/* One round of receiving and sending; true if there is more to do at once. */
	bool (*serve)(void *card);
	/* To the state after power-on. */
	void (*reset)(void *card);
};

struct nic_cable {
	/* Immutable. */
	struct machine *machine;
	struct net_backend *backend;
	const struct nic_cable_ops *ops;
	void *card;
	pthread_t thread;
	bool started;
	int epoll_fd, wake_fd;

	/* Machine lock. */
	unsigned wanted; /* NET_READ, NET_WRITE */
	/* A received frame that the card has not taken yet. */
	struct net_header held_header;
	size_t held_bytes;
	uint8_t held[NET_MAX_FRAME + 4]; /* and room for a CRC */

	_Atomic bool ending;
};

/*
 * Makes the cable of a card, whose state is reset, and makes the card a device of the machine; the
 * other way round. Neither under the machine lock. Attaching returns 0, or fills `err`; detaching
 * takes zeroed ones.
 */
int nic_cable_attach(struct nic_cable *cable, const struct nic_config *config,
	const struct nic_cable_ops *ops, void *card, struct error *err);
void nic_cable_detach(struct nic_cable *cable);

/* All of these under the machine lock. */

/* Whether the card has room for frames (NET_READ), or was refused one (NET_WRITE). */
void nic_cable_want(struct nic_cable *cable, unsigned events, bool wanted);

/* Has `serve` called soon, on the thread. */
void nic_cable_wake(struct nic_cable *cable);

/* Holds the next frame, if none is held. False: there is none. The card sets held_bytes to 0 when
 * it has taken or dropped it. */
bool nic_cable_hold(struct nic_cable *cable);

/* Sends a whole frame. Returns false if it must wait; then `serve` is called when it may be tried
 * again. */
bool nic_cable_send(
	struct nic_cable *cable, const struct net_header *header, uint8_t *frame, size_t size);

#endif
