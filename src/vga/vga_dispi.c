/*
 * The Bochs display interface, as Bochs and QEMU's stdvga have it: modes of any size with 4 to 32
 * bits a pixel, a virtual screen that the visible one is a part of, and banks of 64 KiB.
 *
 * A mode that does not fit in video memory is shrunk until it does, as these do.
 */
#include "vga/vga.h"

#include <string.h>

static unsigned bits_stored(const struct vga_state *state)
{
	unsigned bpp = state->dispi[VGA_DISPI_BPP];

	return bpp == 15 ? 16 : bpp;
}

/* Makes the sizes possible, whatever was written. */
static void adjust(struct vga *vga)
{
	uint16_t *dispi = vga->state.dispi;
	unsigned bits = bits_stored(&vga->state);
	uint32_t memory_bits_per_line, lines;

	if (!dispi[VGA_DISPI_XRES])
		dispi[VGA_DISPI_XRES] = 8;
	if (dispi[VGA_DISPI_XRES] > VGA_DISPI_MAX_XRES)
		dispi[VGA_DISPI_XRES] = VGA_DISPI_MAX_XRES;
	dispi[VGA_DISPI_XRES] &= (uint16_t)~7u;
	if (!dispi[VGA_DISPI_XRES])
		dispi[VGA_DISPI_XRES] = 8;
	if (dispi[VGA_DISPI_VIRTUAL_WIDTH] < dispi[VGA_DISPI_XRES])
		dispi[VGA_DISPI_VIRTUAL_WIDTH] = dispi[VGA_DISPI_XRES];
	if (dispi[VGA_DISPI_VIRTUAL_WIDTH] > VGA_DISPI_MAX_XRES)
		dispi[VGA_DISPI_VIRTUAL_WIDTH] = VGA_DISPI_MAX_XRES;
	memory_bits_per_line = dispi[VGA_DISPI_VIRTUAL_WIDTH] * bits;
	lines = (uint32_t)((uint64_t)vga->memory_size * 8 / memory_bits_per_line);
	dispi[VGA_DISPI_VIRTUAL_HEIGHT] = (uint16_t)(lines > UINT16_MAX ? UINT16_MAX : lines);
	if (!dispi[VGA_DISPI_YRES])
		dispi[VGA_DISPI_YRES] = 1;
	if (dispi[VGA_DISPI_YRES] > VGA_DISPI_MAX_YRES)
		dispi[VGA_DISPI_YRES] = VGA_DISPI_MAX_YRES;
	if (dispi[VGA_DISPI_YRES] > dispi[VGA_DISPI_VIRTUAL_HEIGHT])
		dispi[VGA_DISPI_YRES] = dispi[VGA_DISPI_VIRTUAL_HEIGHT];
	if (dispi[VGA_DISPI_X_OFFSET] > dispi[VGA_DISPI_VIRTUAL_WIDTH] - dispi[VGA_DISPI_XRES])
		dispi[VGA_DISPI_X_OFFSET] = dispi[VGA_DISPI_VIRTUAL_WIDTH] - dispi[VGA_DISPI_XRES];
	if (dispi[VGA_DISPI_Y_OFFSET] > dispi[VGA_DISPI_VIRTUAL_HEIGHT] - dispi[VGA_DISPI_YRES])
		dispi[VGA_DISPI_Y_OFFSET] = dispi[VGA_DISPI_VIRTUAL_HEIGHT] - dispi[VGA_DISPI_YRES];
}

static void enable(struct vga *vga, uint16_t value)
{
	struct vga_state *state = &vga->state;
	bool was_on = state->dispi[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLE_ENABLED;
	bool on = value & VGA_DISPI_ENABLE_ENABLED;
	uint32_t shown; /* bytes */

	state->dispi[VGA_DISPI_ENABLE] = value;
	if (!on) {
		state->dispi[VGA_DISPI_BANK] = 0;
		return;
	}
	if (was_on)
		return;
	state->dispi[VGA_DISPI_VIRTUAL_WIDTH] = state->dispi[VGA_DISPI_XRES];
	state->dispi[VGA_DISPI_X_OFFSET] = 0;
	state->dispi[VGA_DISPI_Y_OFFSET] = 0;
	if (!state->dispi[VGA_DISPI_BPP])
		state->dispi[VGA_DISPI_BPP] = 8;
	adjust(vga);
	if (value & VGA_DISPI_ENABLE_KEEP_MEMORY)
		return;
	/* At most what adjust found to fit. */
	shown = (uint32_t)((uint64_t)state->dispi[VGA_DISPI_VIRTUAL_WIDTH] *
			   state->dispi[VGA_DISPI_YRES] * bits_stored(state) / 8);
	memset(vga->memory, 0, shown);
	vga_announce(vga, 0, shown);
}

void vga_dispi_write(struct vga *vga, unsigned reg, uint16_t value)
{
	uint16_t *dispi = vga->state.dispi;
	bool on = dispi[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLE_ENABLED;

	switch (reg) {
	case VGA_DISPI_ID:
		if (value >= VGA_DISPI_ID0 && value <= VGA_DISPI_ID5)
			dispi[reg] = value;
		break;
	case VGA_DISPI_XRES:
	case VGA_DISPI_YRES:
		/* A mode is set up while it is off. */
		if (!on)
			dispi[reg] = value;
		break;
	case VGA_DISPI_BPP:
		if (on)
			break;
		if (value == 4 || value == 8 || value == 15 || value == 16 || value == 24 ||
			value == 32)
			dispi[reg] = value;
		else if (value == 0)
			dispi[reg] = 8;
		break;
	case VGA_DISPI_BANK: dispi[reg] = value & (uint16_t)((vga->memory_size >> 16) - 1); break;
	case VGA_DISPI_ENABLE: enable(vga, value); break;
	case VGA_DISPI_VIRTUAL_WIDTH:
	case VGA_DISPI_X_OFFSET:
	case VGA_DISPI_Y_OFFSET:
		dispi[reg] = value;
		if (on)
			adjust(vga);
		break;
	}
}

uint16_t vga_dispi_read(const struct vga *vga, unsigned reg)
{
	const uint16_t *dispi = vga->state.dispi;

	if (dispi[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLE_CAPACITIES) {
		switch (reg) {
		case VGA_DISPI_XRES: return VGA_DISPI_MAX_XRES;
		case VGA_DISPI_YRES: return VGA_DISPI_MAX_YRES;
		case VGA_DISPI_BPP: return VGA_DISPI_MAX_BPP;
		}
	}
	return reg < VGA_NR_DISPI ? dispi[reg] : 0;
}
