/*
 * VGA with the Bochs extensions: the chip, without the bus it sits on.
 *
 * The picture is drawn from a copy of the registers (vga_snapshot, under the machine lock) and from
 * video memory, which the guest may change meanwhile as it may on a real card.
 */
#ifndef VGA_VGA_H
#define VGA_VGA_H

#include "display/surface.h"
#include "display/text_screen.h"
#include "machine/clock.h"
#include "machine/device.h"
#include "vga/vga_regs.h"

#define VGA_NR_PLANES 4
/* What the planes take at the beginning of video memory: byte `a` of plane `p` is at 4a + p. */
#define VGA_PLANES_SIZE 0x40000
#define VGA_NR_COLOURS  256

struct vga_state {
	uint8_t misc;
	uint8_t feature;
	uint8_t enable; /* port 0x3c3 */
	uint8_t sequencer_index, crtc_index, graphics_index;
	uint8_t attribute_index;   /* with VGA_ATTR_SHOW */
	bool attribute_takes_data; /* the flip-flop: the next write is data */
	uint8_t sequencer[VGA_NR_SEQ];
	uint8_t crtc[VGA_NR_CRTC];
	uint8_t graphics[VGA_NR_GFX];
	uint8_t attribute[VGA_NR_ATTR];
	uint8_t dac_mask;
	bool dac_reads; /* the last address was for reading */
	uint8_t dac_index;
	uint8_t dac_component; /* of red, green, blue: which comes next */
	uint8_t dac_written[3];
	uint8_t dac[VGA_NR_COLOURS][3];
	uint8_t latches[VGA_NR_PLANES];
	uint16_t dispi_index;
	uint16_t dispi[VGA_NR_DISPI];
};

struct vga {
	struct vga_state state;
	struct clock *clock;
	uint8_t *memory; /* any thread */
	uint32_t memory_size;
	/* Bytes of it were changed by an access to the window or to a register. NULL after
	 * vga_init: nobody wants to know. */
	void (*written)(void *context, uint32_t offset, uint32_t size);
	void *context;
};

extern const struct device_type vga_type;

/* `memory` is video memory: a power of two of at least VGA_PLANES_SIZE bytes. */
void vga_init(struct vga *vga, struct clock *clock, uint8_t *memory, uint32_t memory_size);

static inline void vga_announce(const struct vga *vga, uint32_t offset, uint32_t size)
{
	if (vga->written)
		vga->written(vga->context, offset, size);
}

/* These run under the machine lock. */

/* The ports 0x3b0 to 0x3bb and 0x3c0 to 0x3df, bytes. Those of the CRTC that the miscellaneous
 * register does not select float. */
uint8_t vga_port_read(struct vga *vga, uint16_t port);
void vga_port_write(struct vga *vga, uint16_t port, uint8_t value);

/* The DISPI's ports, 16 bits wide. */
uint16_t vga_dispi_read(const struct vga *vga, unsigned reg);
void vga_dispi_write(struct vga *vga, unsigned reg, uint16_t value);

/* The window at 0xa0000, `offset` from there. Up to 8 bytes. */
uint64_t vga_window_read(struct vga *vga, uint64_t offset, unsigned size);
void vga_window_write(struct vga *vga, uint64_t offset, unsigned size, uint64_t value);

/* What a picture is drawn from. */
struct vga_snapshot {
	struct vga_state state;
	const uint8_t *memory;
	uint32_t memory_size;
	bool show_cursor, show_blinking; /* which phase they are in */
};

void vga_snapshot(const struct vga *vga, struct vga_snapshot *snapshot);

/* Without a lock. */

/* Draws what the monitor shows; a screen that is off is black. Returns 0 or -ENOMEM. */
int vga_draw(const struct vga_snapshot *snapshot, struct surface *surface);

/* Where in video memory the picture lies, if it lies there as a surface's does: 32 bits a pixel. */
bool vga_view(const struct vga_snapshot *snapshot, struct surface_view *view);

/* The characters of a text mode; false in a graphics mode, or when the screen is off. */
bool vga_read_text(const struct vga_snapshot *snapshot, struct text_screen *text);

#endif
