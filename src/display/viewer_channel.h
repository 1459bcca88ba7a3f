/*
 * What a VM's process and a process that shows its screen say to each other: packets of these
 * structs over a SOCK_SEQPACKET pair, and the picture in memory that both have mapped. The picture
 * belongs to the VM between VIEWER_WANTS_FRAME and the frame that answers it, and to the viewer
 * otherwise.
 */
#ifndef DISPLAY_VIEWER_CHANNEL_H
#define DISPLAY_VIEWER_CHANNEL_H

#include "display/surface.h"

#define VIEWER_MAX_RECTS     256
#define VIEWER_PICTURE_BYTES ((size_t)SURFACE_MAX_WIDTH * SURFACE_MAX_HEIGHT * 4)

/* The descriptors that the viewer's process is started with. */
#define VIEWER_CHANNEL_FD   3
#define VIEWER_PICTURE_FD   4
#define VIEWER_DIRECTORY_FD 5 /* of the VM, if it has one */

/* From the VM: the picture has changed in these places. */
struct viewer_frame {
	uint32_t width, height;
	uint32_t nr_rects;
	struct surface_rect rects[VIEWER_MAX_RECTS];
};

enum viewer_event_type { VIEWER_WANTS_FRAME, VIEWER_KEY, VIEWER_POINTER };

/* From the viewer. */
struct viewer_event {
	uint32_t type;
	uint32_t key, down; /* one of Linux's codes */
	int32_t x, y;       /* pixels */
	int32_t wheel;      /* upwards */
	uint32_t buttons;   /* PS/2's bits: left, right, middle */
};

#endif
