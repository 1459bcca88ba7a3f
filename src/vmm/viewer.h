/*
 * A process that shows the screen: the VNC server, atoll-vnc. Pictures are drawn only while it has
 * somebody to show them to. Event loop only.
 *
 * What it sends is checked: it parses what comes from the network, and may be anything. One that
 * ends is started again: neatvnc 0.5.4 does not survive a viewer that leaves while the picture's
 * size changes.
 */
#ifndef VMM_VIEWER_H
#define VMM_VIEWER_H

#include "base/loop.h"
#include "bundle/bundle.h"
#include "display/surface.h"
#include "display/viewer_channel.h"
#include "vmm/input.h"
#include "vmm/screen.h"

#include <linux/input-event-codes.h>

struct viewer {
	struct loop *loop;
	struct devices *devices;
	struct input *input;
	char *address;
	int directory_fd; /* the VM's, the bundle owns it; -1: none */
	int channel_fd;   /* -1: not open */
	pid_t pid;
	bool asked;                /* for a picture: it has begun to serve */
	ns_t start_ns;             /* when to start it again; CLOCK_MONOTONIC, INT64_MAX: never */
	uint8_t down[KEY_CNT / 8]; /* keys that it holds down */
	struct surface shown;      /* what was shown last; its pixels are the shared memory */
	struct surface scratch;    /* screen_update's */
	bool wants_frame;
	ns_t next_frame_ns; /* CLOCK_MONOTONIC */
	ns_t pause_ns;      /* from one look to the next; longer, the longer nothing changes */
	struct viewer_frame frame;
};

/* Reads "none", "vnc", "vnc=unix:PATH" or "vnc=HOST:PORT"; `*address` is NULL for none, "" for the
 * socket in the VM's directory. Returns 0, or fills `err`. */
int viewer_parse(const char *text, const char **address, struct error *err);

/* Starts it, if `text` asks for one. Returns 0, or fills `err`. */
int viewer_open(struct viewer *viewer, const char *text, const struct bundle *bundle,
	struct loop *loop, struct devices *devices, struct input *input, struct error *err);
/* Takes one that is zeroed. */
void viewer_close(struct viewer *viewer);

/* When viewer_service has something to do, INT64_MAX: not until it is asked. */
ns_t viewer_deadline(const struct viewer *viewer);
void viewer_service(struct viewer *viewer);

#endif
