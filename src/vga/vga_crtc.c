/*
 * The CRT controller (IBM PS/2 Hardware Interface Technical Reference, Video Subsystem). The beam's
 * position follows from guest time alone. Not modelled: skew, and a vertical counter that counts
 * every second line (mode control bit 2).
 */
#include "vga/vga_crtc.h"

static unsigned with_bits(unsigned low, bool bit8, bool bit9)
{
	return low | (unsigned)bit8 << 8 | (unsigned)bit9 << 9;
}

bool vga_is_shown(const struct vga_state *state)
{
	return !(state->sequencer[VGA_SEQ_CLOCKING] & VGA_CLOCKING_OFF) &&
	       (state->attribute_index & VGA_ATTR_SHOW) &&
	       (state->crtc[VGA_CRTC_MODE] & VGA_MODE_SYNC) &&
	       (state->sequencer[VGA_SEQ_RESET] & 3) == 3;
}

struct vga_geometry vga_crtc_geometry(const struct vga_state *state)
{
	const uint8_t *crtc = state->crtc;
	uint8_t overflow = crtc[VGA_CRTC_OVERFLOW], max_scan = crtc[VGA_CRTC_MAX_SCAN];

	return (struct vga_geometry){
		.columns = crtc[VGA_CRTC_H_DISPLAY_END] + 1u,
		.lines = with_bits(crtc[VGA_CRTC_V_DISPLAY_END],
				 overflow & VGA_OVERFLOW_V_DISPLAY_END_8,
				 overflow & VGA_OVERFLOW_V_DISPLAY_END_9) +
			 1,
		.row_height = (max_scan & VGA_MAX_SCAN_ROWS) + 1u,
		.doubled = max_scan & VGA_MAX_SCAN_DOUBLE,
		.start = crtc[VGA_CRTC_START_HIGH] << 8 | crtc[VGA_CRTC_START_LOW],
		.pitch = crtc[VGA_CRTC_OFFSET] * 2u,
		.compare = with_bits(crtc[VGA_CRTC_LINE_COMPARE],
			overflow & VGA_OVERFLOW_LINE_COMPARE_8,
			max_scan & VGA_MAX_SCAN_LINE_COMPARE_9),
		.preset = crtc[VGA_CRTC_PRESET_ROW] & VGA_MAX_SCAN_ROWS,
		.text = !(state->graphics[VGA_GFX_MISC] & VGA_GFX_MISC_GRAPHICS),
	};
}

unsigned vga_crtc_address(const struct vga_state *state, unsigned counter, unsigned row_scan)
{
	uint8_t mode = state->crtc[VGA_CRTC_MODE];
	unsigned wrap, address;

	if (state->crtc[VGA_CRTC_UNDERLINE] & VGA_UNDERLINE_DOUBLEWORD) {
		address = counter << 2 | (counter >> 14 & 3);
	} else if (!(mode & VGA_MODE_BYTE)) {
		wrap = mode & VGA_MODE_WRAP_15 ? 15 : 13;
		address = counter << 1 | (counter >> wrap & 1);
	} else {
		address = counter;
	}
	if (!(mode & VGA_MODE_NO_BIT_13))
		address = (unsigned)field_set(BIT(13), address, row_scan);
	if (!(mode & VGA_MODE_NO_BIT_14))
		address = (unsigned)field_set(BIT(14), address, row_scan >> 1);
	return address & 0xffff;
}

/* Of the two crystals; the other two inputs are a feature connector's. */
static uint64_t dot_clock_hz(const struct vga_state *state)
{
	return field_get(VGA_MISC_CLOCK, state->misc) == 1 ? 28322000 : 25175000;
}

struct vga_beam vga_crtc_beam(const struct vga_state *state, ns_t now_ns)
{
	const uint8_t *crtc = state->crtc;
	struct vga_geometry geometry = vga_crtc_geometry(state);
	uint8_t overflow = crtc[VGA_CRTC_OVERFLOW], clocking = state->sequencer[VGA_SEQ_CLOCKING];
	unsigned dots = clocking & VGA_CLOCKING_8_DOTS ? 8 : 9;
	unsigned columns = crtc[VGA_CRTC_H_TOTAL] + 5u;
	unsigned lines = with_bits(crtc[VGA_CRTC_V_TOTAL], overflow & VGA_OVERFLOW_V_TOTAL_8,
				 overflow & VGA_OVERFLOW_V_TOTAL_9) +
			 2;
	unsigned retrace =
		with_bits(crtc[VGA_CRTC_V_RETRACE_START], overflow & VGA_OVERFLOW_V_RETRACE_START_8,
			overflow & VGA_OVERFLOW_V_RETRACE_START_9);
	unsigned retrace_lines = (crtc[VGA_CRTC_V_RETRACE_END] - retrace) & 15;
	uint64_t clock_hz = dot_clock_hz(state), clocks, line;

	if (clocking & VGA_CLOCKING_HALF)
		dots *= 2;
	clocks = ns_to_ticks(now_ns, clock_hz) / dots; /* character clocks */
	line = clocks / columns % lines;
	return (struct vga_beam){
		.in_blank = line >= geometry.lines || clocks % columns >= geometry.columns,
		.in_retrace =
			line >= retrace && line < retrace + (retrace_lines ? retrace_lines : 16),
	};
}
