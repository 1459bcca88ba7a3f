/*
 * The share server: the process that serves one directory to one virtual machine, as the back end
 * of vhost-user. `atoll run --share` starts it (virtio/virtio_fs_server.h) as `atoll share-server`;
 * it ends with its front end.
 */
#ifndef SHARE_SHARE_SERVER_H
#define SHARE_SHARE_SERVER_H

#define SHARE_SERVER_COMMAND "share-server"
/* Descriptors that it is started with: the front end's socket, and the directory. */
#define SHARE_SERVER_SOCKET    3
#define SHARE_SERVER_DIRECTORY 4
/* Words of its command line. */
#define SHARE_SERVER_READ_ONLY "read-only"
#define SHARE_SERVER_NO_CACHE  "no-cache"

/* Returns the exit code. */
int share_server_main(int argc, char **argv);

#endif
