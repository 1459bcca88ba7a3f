#include "vga/vga.h"

#include <assert.h>
#include <string.h>

/* How long the cursor and blinking characters stay in one phase, in frames of the retrace: 8 and
 * 16 (IBM PS/2 Hardware Interface Technical Reference), of a sixtieth of a second. */
#define VGA_BLINK_NS (8 * NS_PER_S / 60)

static void vga_reset(void *device)
{
	struct vga *vga = device;
	struct vga_state *state = &vga->state;

	memset(state, 0, sizeof(*state));
	state->misc = VGA_MISC_COLOUR;
	state->enable = 1;
	state->dac_mask = 0xff;
	state->crtc[VGA_CRTC_LINE_COMPARE] = 0xff;
	state->crtc[VGA_CRTC_MODE] = VGA_MODE_NO_BIT_13 | VGA_MODE_NO_BIT_14;
	state->graphics[VGA_GFX_BIT_MASK] = 0xff;
	state->dispi[VGA_DISPI_ID] = VGA_DISPI_ID5;
	state->dispi[VGA_DISPI_VIDEO_MEMORY] = (uint16_t)(vga->memory_size >> 16);
	memset(vga->memory, 0, VGA_PLANES_SIZE);
}

void vga_init(struct vga *vga, struct clock *clock, uint8_t *memory, uint32_t memory_size)
{
	assert(memory_size >= VGA_PLANES_SIZE && (memory_size & (memory_size - 1)) == 0);
	memset(vga, 0, sizeof(*vga));
	vga->clock = clock;
	vga->memory = memory;
	vga->memory_size = memory_size;
	vga_reset(vga);
}

void vga_snapshot(const struct vga *vga, struct vga_snapshot *snapshot)
{
	ns_t phase = clock_now(vga->clock) / VGA_BLINK_NS;

	*snapshot = (struct vga_snapshot){
		.state = vga->state,
		.memory = vga->memory,
		.memory_size = vga->memory_size,
		.show_cursor = !(phase & 1),
		.show_blinking = !(phase & 2),
	};
}

static bool vga_check(const void *object, struct error *err)
{
	const struct vga_state *state = object;
	uint16_t bpp = state->dispi[VGA_DISPI_BPP];
	bool on = state->dispi[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLE_ENABLED;
	bool possible = bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;

	if (possible || (!on && bpp == 0))
		return true;
	error_set(err, EXIT_CODE_BAD_FILE, "the VGA has no mode of %u bits a pixel", bpp);
	return false;
}

static const struct state_field vga_fields[] = {
	STATE(struct vga_state, misc),
	STATE(struct vga_state, feature),
	STATE(struct vga_state, enable),
	STATE_MAX(struct vga_state, sequencer_index, VGA_NR_SEQ - 1),
	STATE_MAX(struct vga_state, crtc_index, VGA_NR_CRTC - 1),
	STATE_MAX(struct vga_state, graphics_index, VGA_NR_GFX - 1),
	STATE_MAX(struct vga_state, attribute_index, VGA_ATTR_SHOW | VGA_ATTR_INDEX),
	STATE(struct vga_state, attribute_takes_data),
	STATE_ARRAY(struct vga_state, sequencer),
	STATE_ARRAY(struct vga_state, crtc),
	STATE_ARRAY(struct vga_state, graphics),
	STATE_ARRAY(struct vga_state, attribute),
	STATE(struct vga_state, dac_mask),
	STATE(struct vga_state, dac_reads),
	STATE(struct vga_state, dac_index),
	STATE_MAX(struct vga_state, dac_component, 2),
	STATE_ARRAY(struct vga_state, dac_written),
	STATE_BYTES(struct vga_state, dac),
	STATE_ARRAY(struct vga_state, latches),
	STATE(struct vga_state, dispi_index),
	STATE_ARRAY(struct vga_state, dispi),
};

static const struct state_table vga_table =
	STATE_TABLE_OF(struct vga_state, "vga", vga_fields, vga_check);

const struct device_type vga_type = {
	.name = "vga",
	.state = &vga_table,
	.state_offset = offsetof(struct vga, state),
	.reset = vga_reset,
};
