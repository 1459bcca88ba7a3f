/*
 * What Linux' vhost takes by ioctl (linux/vhost.h, whose own header has other feature bits than
 * virtio_regs.h by the same names).
 */
#ifndef VIRTIO_VHOST_IOCTL_H
#define VIRTIO_VHOST_IOCTL_H

#include <stdint.h>
#include <sys/ioctl.h>

struct vhost_memory_region {
	uint64_t guest_address, size, user_address;
	uint64_t reserved;
};

struct vhost_memory {
	uint32_t count, reserved;
	struct vhost_memory_region regions[];
};

struct vhost_ring_value {
	uint32_t index, value;
};

struct vhost_ring_file {
	uint32_t index;
	int32_t fd; /* -1: none */
};

struct vhost_ring_addresses {
	uint32_t index, flags;
	uint64_t descriptors, used, available; /* in this process */
	uint64_t log;
};

#define VHOST_IOCTL                0xaf
#define VHOST_IOCTL_GET_FEATURES   _IOR(VHOST_IOCTL, 0x00, uint64_t)
#define VHOST_IOCTL_SET_FEATURES   _IOW(VHOST_IOCTL, 0x00, uint64_t)
#define VHOST_IOCTL_SET_OWNER      _IO(VHOST_IOCTL, 0x01)
#define VHOST_IOCTL_SET_MEMORY     _IOW(VHOST_IOCTL, 0x03, struct vhost_memory)
#define VHOST_IOCTL_SET_RING_SIZE  _IOW(VHOST_IOCTL, 0x10, struct vhost_ring_value)
#define VHOST_IOCTL_SET_ADDRESSES  _IOW(VHOST_IOCTL, 0x11, struct vhost_ring_addresses)
#define VHOST_IOCTL_SET_POSITION   _IOW(VHOST_IOCTL, 0x12, struct vhost_ring_value)
#define VHOST_IOCTL_GET_POSITION   _IOWR(VHOST_IOCTL, 0x12, struct vhost_ring_value)
#define VHOST_IOCTL_SET_KICK       _IOW(VHOST_IOCTL, 0x20, struct vhost_ring_file)
#define VHOST_IOCTL_SET_CALL       _IOW(VHOST_IOCTL, 0x21, struct vhost_ring_file)
#define VHOST_IOCTL_SET_ERROR      _IOW(VHOST_IOCTL, 0x22, struct vhost_ring_file)
#define VHOST_IOCTL_NET_SET_SOCKET _IOW(VHOST_IOCTL, 0x30, struct vhost_ring_file)

#endif
