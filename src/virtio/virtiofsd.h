/*
 * The program virtiofsd, which serves a host directory as a vhost-user back end: one process for
 * one share. It confines itself to the directory (namespaces, seccomp), for which it needs root.
 */
#ifndef VIRTIO_VIRTIOFSD_H
#define VIRTIO_VIRTIOFSD_H

#include "base/error.h"

#include <stdio.h>
#include <sys/types.h>

#define VIRTIOFSD_MESSAGE_BYTES 256

struct virtiofsd {
	pid_t pid;      /* -1: not running */
	FILE *messages; /* its standard error */
};

/* Starts it for `directory`. Returns a connected socket, for vhost_user_connect, or -errno: -ENOENT
 * if the program is not there. `server` was zeroed or has ended. */
int virtiofsd_start(struct virtiofsd *server, const char *directory);

/* Ends it if it still runs. Its messages can be read until virtiofsd_finish. */
void virtiofsd_end(struct virtiofsd *server);
/* The last thing that it said. */
void virtiofsd_last_message(
	const struct virtiofsd *server, char text[static VIRTIOFSD_MESSAGE_BYTES]);
/* Ends it and frees everything. A zeroed one is fine. */
void virtiofsd_finish(struct virtiofsd *server);

#endif
