/*
 * What the CRTC's registers say: sizes, where rows begin, and where the beam is.
 */
#ifndef VGA_VGA_CRTC_H
#define VGA_VGA_CRTC_H

#include "vga/vga.h"

struct vga_geometry {
	unsigned columns;    /* character clocks that are shown */
	unsigned lines;      /* scan lines that are shown */
	unsigned row_height; /* scan lines of a row, from 1, before doubling */
	bool doubled;        /* each is scanned twice */
	unsigned start;      /* the memory address counter's value for the first row */
	unsigned pitch;      /* what it grows by from row to row */
	unsigned compare;    /* after this line it is 0 again */
	unsigned preset;     /* the scan line of its row that comes first */
	bool text;
};

struct vga_beam {
	bool in_blank; /* outside the picture, in either direction */
	bool in_retrace;
};

struct vga_geometry vga_crtc_geometry(const struct vga_state *state);

/* Which dword of the planes the CRTC reads. */
unsigned vga_crtc_address(const struct vga_state *state, unsigned counter, unsigned row_scan);

/* Is the picture on the monitor, rather than black? */
bool vga_is_shown(const struct vga_state *state);

struct vga_beam vga_crtc_beam(const struct vga_state *state, ns_t now_ns);

#endif
