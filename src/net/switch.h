/*
 * An Ethernet switch between virtual machines: it listens on a unix socket, every connection is a
 * port (port.h). It learns on which port an address is; frames for an address that it has not
 * learned go to all ports.
 *
 * Ports are distrusted: none can stop the switch, hold up another's frames or fill its table.
 */
#ifndef NET_SWITCH_H
#define NET_SWITCH_H

#include "base/error.h"
#include "base/types.h"

#define SWITCH_MAX_PORTS     256
#define SWITCH_MAX_ADDRESSES 4096
/* Of one port: behind it may be a bridge with guests of its own. */
#define SWITCH_PORT_ADDRESSES 64
#define SWITCH_AGE_S          300 /* IEEE 802.1D, 7.9.2 */

struct net_switch;

/* Makes the socket `path`, which only this user may connect to. Returns 0, or fills `err`. */
int switch_open(struct net_switch **net_switch, const char *path, struct error *err);

/* Forwards until switch_stop. Returns 0 or -errno. */
int switch_run(struct net_switch *net_switch);

/* Async-signal-safe; any thread. */
void switch_stop(struct net_switch *net_switch);

/* Takes the socket away. Takes NULL. */
void switch_close(struct net_switch *net_switch);

#endif
