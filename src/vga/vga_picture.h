/*
 * A picture while it is drawn: what the files that draw share.
 */
#ifndef VGA_VGA_PICTURE_H
#define VGA_VGA_PICTURE_H

#include "vga/vga_crtc.h"

/* Dots of one line, with one character clock more than is shown, for panning. */
#define VGA_MAX_LINE ((256 + 1) * 9)

struct vga_picture {
	const struct vga_snapshot *snapshot;
	struct vga_geometry geometry;
	uint32_t colours[VGA_NR_COLOURS]; /* of the DAC, behind its mask */
	uint8_t palette[16];              /* attribute to DAC index */
};

static inline const uint8_t *vga_picture_planes(const struct vga_picture *picture, unsigned address)
{
	return picture->snapshot->memory + (size_t)(address & 0xffff) * VGA_NR_PLANES;
}

/* Dots of a character, and the line's DAC indices from `counter` on. */
unsigned vga_text_dots(const struct vga_state *state);
void vga_text_line(
	const struct vga_picture *picture, unsigned counter, unsigned row_scan, uint8_t *line);

#endif
