/*
 * A packet capture of a NIC's cable: a pcap file with nanoseconds, which Wireshark and tcpdump
 * read.
 */
#ifndef NET_CAPTURE_H
#define NET_CAPTURE_H

#include "base/error.h"
#include "base/types.h"

#include <sys/uio.h>

struct net_capture;

/* Replaces the file. Returns 0, or fills `err`. */
int net_capture_open(struct net_capture **capture, const char *path, struct error *err);
void net_capture_close(struct net_capture *capture);

/* After a failed write (a full disk, say), which is reported once, nothing more is recorded. */
void net_capture_frame(
	struct net_capture *capture, const struct iovec *iov, unsigned count, size_t size);

#endif
