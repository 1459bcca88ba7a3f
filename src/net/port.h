/*
 * What goes over the wire between a switch (switch.h) and a port of it: SOCK_SEQPACKET, a message
 * is a struct net_header and a frame.
 */
#ifndef NET_PORT_H
#define NET_PORT_H

#include "net/net.h"

#define PORT_MAX_MESSAGE (sizeof(struct net_header) + NET_MAX_FRAME)

/* So that a few of the largest frames fit. */
#define PORT_BUFFER_BYTES (1 << 20)

#endif
