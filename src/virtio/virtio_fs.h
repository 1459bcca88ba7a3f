/*
 * virtio-fs (virtio 1.2, 5.11): a host directory that the guest mounts, `mount -t virtiofs TAG`.
 *
 * The files are served by another process (virtio_fs_server.h) through vhost-user (vhost_user.h).
 * If it ends, requests fail with ENOTCONN, as those of any FUSE file system whose server is gone;
 * mounting again starts another.
 *
 * A read-only share is enforced here too, on a copy of each request's header, because not every
 * virtiofsd can: what might change a file is answered with EROFS. Times of access may change.
 *
 * Not modelled: the DAX window; the notification queue.
 */
#ifndef VIRTIO_VIRTIO_FS_H
#define VIRTIO_VIRTIO_FS_H

#include "virtio/virtio.h"
#include "virtio/virtio_fs_server.h"

#define VIRTIO_FS_TAG_BYTES 36 /* not always ended by a zero */

struct virtio_fs_config {
	const char *name; /* unique in the machine; must outlive the device */
	struct machine *machine;
	const char *directory; /* copied */
	const char *tag;       /* 1 to VIRTIO_FS_TAG_BYTES bytes */
	bool read_only;
	bool caches; /* the guest may believe what it saw for a second */
	enum virtio_fs_server_kind server;
};

/* Starts the server. Returns 0, or fills `err`. */
int virtio_fs_create(
	struct virtio_device **device, const struct virtio_fs_config *config, struct error *err);
/* Off the bus, and not under the machine lock. Takes NULL. */
void virtio_fs_destroy(struct virtio_device *device);

/* May a FUSE request, of which `bytes` bytes are at `head`, go to a read-only share? */
bool virtio_fs_only_reads(const void *head, size_t bytes);

#endif
