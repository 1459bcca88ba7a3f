/*
 * Network back ends: where the cable of a NIC leads. They know no guest.
 *
 * A frame is an Ethernet frame without its checksum, with a header that says which of its work is
 * still to be done (virtio 1.2 5.1.6: checksums, segmentation). What one side does not take is done
 * here in software, so that every NIC may offer every offload over every back end. Frames of both
 * sides are distrusted: a header that does not fit its frame drops it.
 *
 * A back end belongs to one thread at a time, the one that polls `fd`. Nothing here blocks.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/bits.h"
#include "base/error.h"
#include "base/types.h"

#include <sys/types.h>
#include <sys/uio.h>

#define NET_ADDRESS_BYTES   6
#define NET_ETHERNET_HEADER 14
#define NET_MIN_FRAME       NET_ETHERNET_HEADER
/* 64 KiB of IP behind an Ethernet header with two VLAN tags. */
#define NET_MAX_FRAME (NET_ETHERNET_HEADER + 8 + 65535)
/* Bytes of a frame that is neither segmented nor has room for more: with the largest MTU. */
#define NET_MAX_MTU 65535
#define NET_MIN_MTU 68

/* Little-endian in virtio, and so on every host Atoll runs on (virtio 1.2 5.1.6). */
struct net_header {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t header_length;
	uint16_t gso_size;
	uint16_t checksum_start;
	uint16_t checksum_offset;
} __attribute__((packed));

#define NET_HEADER_NEEDS_CHECKSUM BIT(0)
#define NET_HEADER_CHECKSUM_VALID BIT(1)

#define NET_GSO_NONE   0
#define NET_GSO_TCPV4  1
#define NET_GSO_TCPV6  4
#define NET_GSO_UDP_L4 5
#define NET_GSO_ECN    0x80 /* with TCPV4 or TCPV6 */

/* What a side takes undone. */
#define NET_OFFLOAD_CHECKSUM BIT(0)
#define NET_OFFLOAD_TCPV4    BIT(1)
#define NET_OFFLOAD_TCPV6    BIT(2)
#define NET_OFFLOAD_ECN      BIT(3)
#define NET_OFFLOAD_UDP      BIT(4)

#define NET_READ  1u
#define NET_WRITE 2u

struct net_backend;

struct net_counters {
	uint64_t frames, bytes, dropped;
};

/* What --net takes; documented in atoll-run(1). */
#define NET_PROPERTIES                                                                             \
	"forward, address, mtu, path, name, rate, burst, capture (for all kinds: rate, burst, "    \
	"capture)"

struct properties;

/*
 * Opens what `properties` names; its word is the kind:
 *   user    passt gives addresses and reaches what the host reaches, without root
 *           (forward=tcp:HOST_PORT:GUEST_PORT, several separated by +; address=IPV4; mtu=)
 *   tap     name=INTERFACE, made if it is not there and the user may
 *   bridge  name=BRIDGE: a tap of its own in that bridge
 *   switch  path=SOCKET of an `atoll switch`
 *   none    a cable that leads nowhere
 * Returns 0, or fills `err`.
 */
int net_open(struct net_backend **backend, struct properties *properties, struct error *err);

/* Takes NULL. */
void net_close(struct net_backend *backend);

/* Readable when net_ready has something to say. Does not change while the back end is open. */
int net_fd(const struct net_backend *backend);

/* What to be told of by `fd`: NET_READ while there is room for frames, NET_WRITE after net_send
 * returned -EAGAIN. */
void net_want(struct net_backend *backend, unsigned events);

/* After `fd` was readable: what of what is wanted may be tried again. */
unsigned net_ready(struct net_backend *backend);

/* Which offloads (NET_OFFLOAD_*) of received frames the NIC takes undone. */
void net_set_offloads(struct net_backend *backend, unsigned offloads);

/*
 * Sends one frame of `size` bytes, gathered from `iov`. Returns 0 also if it was dropped (counted),
 * or -EAGAIN if it was not taken: the caller keeps it until NET_WRITE.
 */
int net_send(struct net_backend *backend, const struct net_header *header, const struct iovec *iov,
	unsigned count, size_t size);

/* Receives one frame. Returns its size, at most NET_MAX_FRAME, or 0 if there is none. `frame` has
 * room for NET_MAX_FRAME bytes. */
size_t net_receive(struct net_backend *backend, struct net_header *header, uint8_t *frame);

/*
 * vhost-net: a thread of the host's kernel that carries frames in place of net_send and
 * net_receive. Why this back end cannot be served so, as the end of a sentence; NULL: it can.
 */
const char *net_vhost_refusal(const struct net_backend *backend);

/*
 * The descriptor for it, whose frames have headers of `header_bytes` from now on, 10 or 12
 * (virtio's num_buffers; net_send and net_receive go on as they were). Returns -errno if it cannot
 * be had.
 */
int net_vhost_fd(struct net_backend *backend, unsigned header_bytes);

#define NET_FILTER_MAX 136

/* Which received frames are wanted: all of them if `count` is 0. */
struct net_filter {
	uint8_t addresses[NET_FILTER_MAX][NET_ADDRESS_BYTES];
	unsigned count;
	bool all_multicast;
};

/* While vhost-net receives, which knows no filter; more may come than is wanted. */
void net_vhost_filter(struct net_backend *backend, const struct net_filter *filter);

/* The MTU that the back end asks its guest to use, 0 if it does not care. */
unsigned net_mtu(const struct net_backend *backend);

void net_get_counters(const struct net_backend *backend, struct net_counters *sent,
	struct net_counters *received);

#endif
