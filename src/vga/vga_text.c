/*
 * Text modes: characters and attributes from planes 0 and 1, their shapes from plane 2.
 */
#include "vga/vga_picture.h"

#include <string.h>

#define FONT_ROWS 32 /* bytes of a character in a font, whatever is shown of them */

#define ATTRIBUTE_INTENSE 0x08 /* or the second font */
#define ATTRIBUTE_BLINK   0x80

unsigned vga_text_dots(const struct vga_state *state)
{
	return state->sequencer[VGA_SEQ_CLOCKING] & VGA_CLOCKING_8_DOTS ? 8 : 9;
}

/* Where in plane 2 a font begins: 16 KiB apart, those with the high bit in between. */
static unsigned font_offset(unsigned low, bool high)
{
	return low * 0x4000 + (high ? 0x2000 : 0);
}

static unsigned font_of(const struct vga_state *state, uint8_t attribute)
{
	uint8_t maps = state->sequencer[VGA_SEQ_CHARACTER_MAP];

	return attribute & ATTRIBUTE_INTENSE ? font_offset(maps >> 2 & 3, maps & BIT(5))
					     : font_offset(maps & 3, maps & BIT(4));
}

static bool is_cursor(const struct vga_picture *picture, unsigned counter, unsigned row_scan)
{
	const uint8_t *crtc = picture->snapshot->state.crtc;
	unsigned at = crtc[VGA_CRTC_CURSOR_HIGH] << 8 | crtc[VGA_CRTC_CURSOR_LOW];
	uint8_t start = crtc[VGA_CRTC_CURSOR_START];

	return picture->snapshot->show_cursor && (counter & 0xffff) == at &&
	       !(start & VGA_CURSOR_OFF) && row_scan >= (start & VGA_MAX_SCAN_ROWS) &&
	       row_scan <= (crtc[VGA_CRTC_CURSOR_END] & VGA_MAX_SCAN_ROWS);
}

/* The characters 0xc0 to 0xdf draw lines: what they have in the eighth dot is in the ninth too. */
static bool is_line_character(uint8_t character)
{
	return character >= 0xc0 && character <= 0xdf;
}

static void draw_character(
	const struct vga_picture *picture, unsigned counter, unsigned row_scan, uint8_t *dots)
{
	const struct vga_state *state = &picture->snapshot->state;
	const uint8_t *cell =
		vga_picture_planes(picture, vga_crtc_address(state, counter, row_scan));
	uint8_t character = cell[0], attribute = cell[1], mode = state->attribute[VGA_ATTR_MODE];
	unsigned font = font_of(state, attribute) + character * FONT_ROWS + row_scan % FONT_ROWS;
	uint8_t bits = vga_picture_planes(picture, font)[2];
	uint8_t background = attribute >> 4, foreground = attribute & 0xf;
	bool ninth;

	if (mode & VGA_ATTR_MODE_BLINK) {
		if ((attribute & ATTRIBUTE_BLINK) && !picture->snapshot->show_blinking)
			bits = 0;
		background &= 7;
	}
	if ((attribute & 0x77) == 0x01 &&
		row_scan == (state->crtc[VGA_CRTC_UNDERLINE] & VGA_UNDERLINE_ROW))
		bits = 0xff;
	ninth = (mode & VGA_ATTR_MODE_LINE) && is_line_character(character) && (bits & 1);
	if (is_cursor(picture, counter, row_scan)) {
		bits = 0xff;
		ninth = true;
	}
	foreground = picture->palette[foreground];
	background = picture->palette[background];
	for (unsigned i = 0; i < 8; i++)
		dots[i] = bits & (0x80 >> i) ? foreground : background;
	if (vga_text_dots(state) == 9)
		dots[8] = ninth ? foreground : background;
}

void vga_text_line(
	const struct vga_picture *picture, unsigned counter, unsigned row_scan, uint8_t *line)
{
	unsigned dots = vga_text_dots(&picture->snapshot->state);

	for (unsigned i = 0; i <= picture->geometry.columns; i++)
		draw_character(picture, counter + i, row_scan, line + (size_t)i * dots);
}

static void read_row(const struct vga_snapshot *snapshot, unsigned counter, unsigned row,
	struct text_screen *text)
{
	const struct vga_state *state = &snapshot->state;
	const uint8_t *crtc = state->crtc;
	unsigned cursor = crtc[VGA_CRTC_CURSOR_HIGH] << 8 | crtc[VGA_CRTC_CURSOR_LOW];
	bool blinks = state->attribute[VGA_ATTR_MODE] & VGA_ATTR_MODE_BLINK;

	for (unsigned column = 0; column < text->columns; column++) {
		unsigned address = vga_crtc_address(state, counter + column, 0);
		const uint8_t *cell = snapshot->memory + (size_t)address * VGA_NR_PLANES;

		text->cells[row][column] = (struct text_cell){ .character = cell[0],
			.attribute = blinks ? cell[1] & 0x7f : cell[1] };
		if (((counter + column) & 0xffff) == cursor &&
			!(crtc[VGA_CRTC_CURSOR_START] & VGA_CURSOR_OFF)) {
			text->has_cursor = true;
			text->cursor_column = column;
			text->cursor_row = row;
		}
	}
}

bool vga_read_text(const struct vga_snapshot *snapshot, struct text_screen *text)
{
	const struct vga_state *state = &snapshot->state;
	struct vga_geometry geometry = vga_crtc_geometry(state);
	unsigned height = geometry.row_height * (geometry.doubled ? 2 : 1);

	if (!geometry.text || !vga_is_shown(state) ||
		(state->dispi[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLE_ENABLED))
		return false;
	memset(text, 0, sizeof(*text));
	text->columns = geometry.columns;
	text->rows = geometry.lines / height;
	if (text->columns > TEXT_SCREEN_MAX_COLUMNS)
		text->columns = TEXT_SCREEN_MAX_COLUMNS;
	if (text->rows > TEXT_SCREEN_MAX_ROWS)
		text->rows = TEXT_SCREEN_MAX_ROWS;
	for (unsigned row = 0; row < text->rows; row++)
		read_row(snapshot, geometry.start + row * geometry.pitch, row, text);
	return true;
}
