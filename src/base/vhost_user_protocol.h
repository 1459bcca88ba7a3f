/*
 * What travels on a vhost-user socket (QEMU: docs/interop/vhost-user.rst), as far as both ends of
 * ours need it: the front end is src/virtio/vhost_user.c, the back end src/share/share_backend.c.
 */
#ifndef BASE_VHOST_USER_PROTOCOL_H
#define BASE_VHOST_USER_PROTOCOL_H

#include <stdint.h>

enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_SET_VRING_ENABLE = 18,
};

#define VHOST_USER_FLAGS_VERSION UINT32_C(0x1)
#define VHOST_USER_FLAGS_REPLY   UINT32_C(0x4)

/* A feature bit: there are protocol features to ask for. */
#define VHOST_USER_F_PROTOCOL_FEATURES (UINT64_C(1) << 30)

#define VHOST_USER_MAX_REGIONS 8 /* that every back end takes */

struct vhost_user_vring_state {
	uint32_t index, value;
};

struct vhost_user_vring_address {
	uint32_t index, flags;
	uint64_t descriptors, used, available, log; /* in the front end's address space */
};

struct vhost_user_region {
	uint64_t guest_address, size, user_address, offset;
};

struct vhost_user_memory {
	uint32_t count, padding;
	struct vhost_user_region regions[VHOST_USER_MAX_REGIONS];
};

union vhost_user_payload {
	uint64_t value;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_address address;
	struct vhost_user_memory memory;
};

/* Request, flags and size of the payload, in front of it. */
#define VHOST_USER_HEADER_BYTES 12

#endif
