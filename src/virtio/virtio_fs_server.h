/*
 * The process that serves a host directory as a vhost-user back end: one for one share. Either our
 * own (share/share_server.h), for any user; or the program virtiofsd, which confines itself to the
 * directory by namespaces, for which it needs root.
 */
#ifndef VIRTIO_VIRTIO_FS_SERVER_H
#define VIRTIO_VIRTIO_FS_SERVER_H

#include "base/error.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#define VIRTIO_FS_MESSAGE_BYTES 256

enum virtio_fs_server_kind { VIRTIO_FS_BUILTIN, VIRTIO_FS_VIRTIOFSD };

struct virtio_fs_server_config {
	enum virtio_fs_server_kind kind;
	const char *directory; /* without a comma for virtiofsd */
	bool read_only;
	bool caches; /* the guest may believe what it saw for a second */
};

struct virtio_fs_server {
	pid_t pid;      /* -1: not running */
	FILE *messages; /* its standard error */
};

/* Returns a connected socket, for vhost_user_connect, or -errno: -ENOENT if virtiofsd is not there.
 * `server` was zeroed or has ended. */
int virtio_fs_server_start(
	struct virtio_fs_server *server, const struct virtio_fs_server_config *config);

/* Ends it if it still runs. Its messages can be read until virtio_fs_server_finish. */
void virtio_fs_server_end(struct virtio_fs_server *server);
/* The last thing that it said. */
void virtio_fs_server_last_message(
	const struct virtio_fs_server *server, char text[static VIRTIO_FS_MESSAGE_BYTES]);
/* Ends it and frees everything. A zeroed one is fine. */
void virtio_fs_server_finish(struct virtio_fs_server *server);

#endif
