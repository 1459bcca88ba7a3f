/*
 * The VGA's ports (IBM PS/2 Hardware Interface Technical Reference, Video Subsystem): general
 * registers, sequencer, CRTC, graphics and attribute controllers, DAC. Registers that do not exist
 * read as 0 and take nothing. Not modelled: the feature connector, the CRTC's interrupt, light pen.
 */
#include "vga/vga.h"
#include "vga/vga_crtc.h"

/* The bits that each register has. */
static const uint8_t sequencer_bits[VGA_NR_SEQ] = { 0x03, 0x3d, 0x0f, 0x3f, 0x0e };
static const uint8_t graphics_bits[VGA_NR_GFX] = { 0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f,
	0xff };
static const uint8_t attribute_bits[VGA_NR_ATTR] = { 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
	0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f };
#define CRTC_LAST VGA_CRTC_LINE_COMPARE

static void write_crtc(struct vga_state *state, uint8_t value)
{
	unsigned reg = state->crtc_index;

	if (reg > CRTC_LAST)
		return;
	if (reg <= VGA_CRTC_OVERFLOW &&
		(state->crtc[VGA_CRTC_V_RETRACE_END] & VGA_RETRACE_END_PROTECT)) {
		if (reg == VGA_CRTC_OVERFLOW)
			state->crtc[reg] = (uint8_t)field_set(VGA_OVERFLOW_LINE_COMPARE_8,
				state->crtc[reg], field_get(VGA_OVERFLOW_LINE_COMPARE_8, value));
		return;
	}
	state->crtc[reg] = value;
}

static void write_attribute(struct vga_state *state, uint8_t value)
{
	unsigned reg = state->attribute_index & VGA_ATTR_INDEX;

	state->attribute_takes_data = !state->attribute_takes_data;
	if (state->attribute_takes_data) {
		state->attribute_index = value & (VGA_ATTR_SHOW | VGA_ATTR_INDEX);
		return;
	}
	if (reg >= VGA_NR_ATTR)
		return;
	/* While the palette belongs to the picture the CPU cannot change it. */
	if (reg < VGA_ATTR_MODE && (state->attribute_index & VGA_ATTR_SHOW))
		return;
	state->attribute[reg] = value & attribute_bits[reg];
}

static uint8_t dac_width(const struct vga_state *state)
{
	bool wide = state->dispi[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLE_8_BIT_DAC;

	return wide ? 0xff : 0x3f;
}

/* An entry changes when its third component is written. */
static void write_dac(struct vga_state *state, uint8_t value)
{
	state->dac_written[state->dac_component++] = value & dac_width(state);
	if (state->dac_component < 3)
		return;
	for (unsigned i = 0; i < 3; i++)
		state->dac[state->dac_index][i] = state->dac_written[i];
	state->dac_component = 0;
	state->dac_index++;
}

static uint8_t read_dac(struct vga_state *state)
{
	uint8_t value = state->dac[state->dac_index][state->dac_component++] & dac_width(state);

	if (state->dac_component == 3) {
		state->dac_component = 0;
		state->dac_index++;
	}
	return value;
}

static void set_dac_index(struct vga_state *state, uint8_t value, bool reads)
{
	state->dac_index = value;
	state->dac_component = 0;
	state->dac_reads = reads;
}

/* 4, 5 and 10 of the ports that the miscellaneous register selects; false: not selected. */
static bool crtc_port(const struct vga_state *state, uint16_t port, unsigned *at)
{
	bool colour = state->misc & VGA_MISC_COLOUR;
	uint16_t base = colour ? VGA_PORT_COLOUR : VGA_PORT_MONO;

	*at = port - base;
	return port >= base && port < base + 16u;
}

void vga_port_write(struct vga *vga, uint16_t port, uint8_t value)
{
	struct vga_state *state = &vga->state;
	unsigned at;

	if (crtc_port(state, port, &at)) {
		switch (at) {
		case VGA_CRTC_INDEX: state->crtc_index = value % VGA_NR_CRTC; break;
		case VGA_CRTC_DATA: write_crtc(state, value); break;
		case VGA_STATUS_1: state->feature = value; break;
		}
		return;
	}
	switch (port) {
	case VGA_PORT_ATTRIBUTE: write_attribute(state, value); break;
	case VGA_PORT_MISC_WRITE: state->misc = value & 0xef; break;
	case VGA_PORT_ENABLE: state->enable = value & 1; break;
	case VGA_PORT_SEQUENCER_INDEX: state->sequencer_index = value % VGA_NR_SEQ; break;
	case VGA_PORT_SEQUENCER:
		state->sequencer[state->sequencer_index] =
			value & sequencer_bits[state->sequencer_index];
		break;
	case VGA_PORT_DAC_MASK: state->dac_mask = value; break;
	case VGA_PORT_DAC_READ: set_dac_index(state, value, true); break;
	case VGA_PORT_DAC_WRITE: set_dac_index(state, value, false); break;
	case VGA_PORT_DAC_DATA: write_dac(state, value); break;
	case VGA_PORT_GRAPHICS_INDEX: state->graphics_index = value % VGA_NR_GFX; break;
	case VGA_PORT_GRAPHICS:
		state->graphics[state->graphics_index] =
			value & graphics_bits[state->graphics_index];
		break;
	}
}

/* Input status 1; reading it makes the next write to the attribute controller an index. */
static uint8_t read_status(struct vga *vga)
{
	struct vga_state *state = &vga->state;
	struct vga_beam beam = vga_crtc_beam(state, clock_now(vga->clock));

	state->attribute_takes_data = false;
	return (beam.in_blank ? VGA_STATUS_1_BLANK : 0) | (beam.in_retrace ? VGA_STATUS_1_SYNC : 0);
}

/* A monitor pulls the sense line when the DAC gives it the colours that the BIOS tries. */
#define SENSE_LEVEL 0x10

static uint8_t read_sense(const struct vga_state *state)
{
	const uint8_t *colour = state->dac[0];

	for (unsigned i = 0; i < 3; i++) {
		if (colour[i] >= SENSE_LEVEL)
			return VGA_STATUS_0_SENSE;
	}
	return 0;
}

static uint8_t read_attribute(const struct vga_state *state)
{
	unsigned reg = state->attribute_index & VGA_ATTR_INDEX;

	return reg < VGA_NR_ATTR ? state->attribute[reg] : 0;
}

uint8_t vga_port_read(struct vga *vga, uint16_t port)
{
	struct vga_state *state = &vga->state;
	unsigned at;

	if (crtc_port(state, port, &at)) {
		switch (at) {
		case VGA_CRTC_INDEX: return state->crtc_index;
		case VGA_CRTC_DATA:
			return state->crtc_index <= CRTC_LAST ? state->crtc[state->crtc_index] : 0;
		case VGA_STATUS_1: return read_status(vga);
		}
		return 0xff;
	}
	switch (port) {
	case VGA_PORT_ATTRIBUTE: return state->attribute_takes_data ? 0 : state->attribute_index;
	case VGA_PORT_ATTRIBUTE_READ: return read_attribute(state);
	case VGA_PORT_MISC_WRITE: return read_sense(state);
	case VGA_PORT_ENABLE: return state->enable;
	case VGA_PORT_SEQUENCER_INDEX: return state->sequencer_index;
	case VGA_PORT_SEQUENCER: return state->sequencer[state->sequencer_index];
	case VGA_PORT_DAC_MASK: return state->dac_mask;
	case VGA_PORT_DAC_READ: return state->dac_reads ? 3 : 0;
	case VGA_PORT_DAC_WRITE: return state->dac_index;
	case VGA_PORT_DAC_DATA: return read_dac(state);
	case VGA_PORT_FEATURE_READ: return state->feature;
	case VGA_PORT_MISC_READ: return state->misc;
	case VGA_PORT_GRAPHICS_INDEX: return state->graphics_index;
	case VGA_PORT_GRAPHICS: return state->graphics[state->graphics_index];
	}
	return 0xff;
}
