/*
 * What the monitor shows, line by line: the CRTC walks over the planes, the graphics controller
 * makes pixels of them, the attribute controller and the DAC colours. A dot that the hardware makes
 * twice as wide, or a line that it scans twice, is so here too. Not modelled: the border, and text
 * fonts in graphics modes of nine dots.
 */
#include "vga/vga_picture.h"

#include <errno.h>
#include <string.h>

#define BLACK_WIDTH  720
#define BLACK_HEIGHT 400

/* Six bits to eight, so that all ones stay all ones. */
static uint32_t widen(uint8_t component)
{
	return (uint32_t)component << 2 | component >> 4;
}

static uint32_t dac_colour(const struct vga_state *state, uint8_t index)
{
	const uint8_t *c = state->dac[index];

	if (state->dispi[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLE_8_BIT_DAC)
		return (uint32_t)c[0] << 16 | (uint32_t)c[1] << 8 | c[2];
	return widen(c[0]) << 16 | widen(c[1]) << 8 | widen(c[2]);
}

static void look_up_colours(struct vga_picture *picture)
{
	const struct vga_state *state = &picture->snapshot->state;
	uint8_t select = state->attribute[VGA_ATTR_COLOUR_SELECT];
	uint8_t enabled = state->attribute[VGA_ATTR_PLANES] & VGA_ATTR_PLANES_ENABLE;

	for (unsigned i = 0; i < VGA_NR_COLOURS; i++)
		picture->colours[i] = dac_colour(state, (uint8_t)i & state->dac_mask);
	for (unsigned i = 0; i < 16; i++) {
		uint8_t index = state->attribute[i & enabled];

		if (state->attribute[VGA_ATTR_MODE] & VGA_ATTR_MODE_COLOUR_45)
			index = (uint8_t)((index & 0xf) | (select & VGA_ATTR_COLOUR_SELECT_45)
								  << 4);
		picture->palette[i] = (uint8_t)(index | (select & VGA_ATTR_COLOUR_SELECT_67) << 4);
	}
}

/* Eight bytes of 0 or 1, the byte's highest bit in the first. */
static uint64_t spread_byte(uint8_t byte)
{
	uint64_t bits = byte * UINT64_C(0x0101010101010101) & UINT64_C(0x0102040810204080);

	return (bits + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7 & UINT64_C(0x0101010101010101);
}

static void planar_pixels(const struct vga_picture *picture, const uint8_t *planes, uint8_t *line)
{
	uint64_t pixels = spread_byte(planes[0]) | spread_byte(planes[1]) << 1 |
			  spread_byte(planes[2]) << 2 | spread_byte(planes[3]) << 3;

	for (unsigned i = 0; i < 8; i++)
		line[i] = picture->palette[pixels >> (8 * i) & 0xf];
}

/* Two bits a pixel: four pixels from planes 0 and 2, four from 1 and 3. */
static void interleaved_pixels(
	const struct vga_picture *picture, const uint8_t *planes, uint8_t *line)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned shift = 6 - 2 * (i % 4);
		unsigned low = planes[i / 4] >> shift & 3, high = planes[i / 4 + 2] >> shift & 3;

		line[i] = picture->palette[high << 2 | low];
	}
}

static bool has_256_colours(const struct vga_state *state)
{
	return state->graphics[VGA_GFX_MODE] & VGA_GFX_MODE_256;
}

static void graphics_line(
	const struct vga_picture *picture, unsigned counter, unsigned row_scan, uint8_t *line)
{
	const struct vga_state *state = &picture->snapshot->state;
	unsigned slow = 0;

	if (state->crtc[VGA_CRTC_MODE] & VGA_MODE_COUNT_BY_2)
		slow = 1;
	if (state->crtc[VGA_CRTC_UNDERLINE] & VGA_UNDERLINE_COUNT_BY_4)
		slow = 2;
	for (unsigned i = 0; i <= picture->geometry.columns; i++) {
		unsigned address = vga_crtc_address(state, counter + (i >> slow), row_scan);
		const uint8_t *planes = vga_picture_planes(picture, address);

		if (has_256_colours(state))
			memcpy(line + (size_t)i * 4, planes, 4);
		else if (state->graphics[VGA_GFX_MODE] & VGA_GFX_MODE_INTERLEAVE)
			interleaved_pixels(picture, planes, line + (size_t)i * 8);
		else
			planar_pixels(picture, planes, line + (size_t)i * 8);
	}
}

/* What a line is shifted to the left by, and the width of its dots on the screen. */
struct line_form {
	unsigned pan, dots, scale;
};

static struct line_form line_form(const struct vga_picture *picture, bool below_split)
{
	const struct vga_state *state = &picture->snapshot->state;
	unsigned pan = state->attribute[VGA_ATTR_PAN];
	struct line_form form = { .dots = 8, .scale = 1 };

	if (below_split && (state->attribute[VGA_ATTR_MODE] & VGA_ATTR_MODE_PAN_SPLIT))
		pan = picture->geometry.text && vga_text_dots(state) == 9 ? 8 : 0;
	if (state->sequencer[VGA_SEQ_CLOCKING] & VGA_CLOCKING_HALF)
		form.scale = 2;
	if (picture->geometry.text) {
		form.dots = vga_text_dots(state);
		/* With nine dots, 8 means none and 0 to 7 one more than they say. */
		form.pan = form.dots == 9 ? (pan < 8 ? pan + 1 : 0) : pan & 7;
	} else if (has_256_colours(state)) {
		form.dots = 4;
		form.scale *= 2;
		form.pan = (pan & 7) / 2;
	} else {
		form.pan = pan & 7;
	}
	return form;
}

static void colour_line(const struct vga_picture *picture, const uint8_t *line, unsigned scale,
	uint32_t *pixels, uint32_t width)
{
	for (uint32_t x = 0; x < width; x++)
		pixels[x] = picture->colours[line[scale == 1 ? x : x / scale]];
}

static void draw_lines(const struct vga_picture *picture, struct surface *surface)
{
	const struct vga_geometry *geometry = &picture->geometry;
	const struct vga_state *state = &picture->snapshot->state;
	unsigned counter =
		geometry->start + field_get(BITS(6, 5), state->crtc[VGA_CRTC_PRESET_ROW]);
	unsigned row_scan = geometry->preset, repeated = 0;
	struct line_form form = line_form(picture, false);
	uint8_t line[VGA_MAX_LINE];

	for (uint32_t y = 0; y < surface->height; y++) {
		uint32_t *pixels = surface->pixels + (size_t)y * surface->width;

		/* A line that is scanned again is the same. */
		if (repeated) {
			memcpy(pixels, pixels - surface->width, surface->width * sizeof(*pixels));
		} else {
			if (geometry->text)
				vga_text_line(picture, counter, row_scan, line);
			else
				graphics_line(picture, counter, row_scan, line);
			colour_line(picture, line + form.pan, form.scale, pixels, surface->width);
		}
		if (y == geometry->compare) {
			counter = row_scan = repeated = 0;
			form = line_form(picture, true);
			continue;
		}
		if (geometry->doubled && !repeated) {
			repeated = 1;
			continue;
		}
		repeated = 0;
		row_scan = (row_scan + 1) & VGA_MAX_SCAN_ROWS;
		if (row_scan == (geometry->row_height & VGA_MAX_SCAN_ROWS)) {
			row_scan = 0;
			counter += geometry->pitch;
		}
	}
}

static int draw_black(struct surface *surface)
{
	int rc = surface_resize(surface, BLACK_WIDTH, BLACK_HEIGHT);

	if (rc == 0)
		surface_fill(surface, 0);
	return rc;
}

static int draw_vga(struct vga_picture *picture, struct surface *surface)
{
	struct line_form form;
	uint32_t width;
	int rc;

	if (!vga_is_shown(&picture->snapshot->state))
		return draw_black(surface);
	picture->geometry = vga_crtc_geometry(&picture->snapshot->state);
	form = line_form(picture, false);
	width = picture->geometry.columns * form.dots * form.scale;
	rc = surface_resize(surface, width < SURFACE_MAX_WIDTH ? width : SURFACE_MAX_WIDTH,
		picture->geometry.lines);
	if (rc == 0)
		draw_lines(picture, surface);
	return rc;
}

static uint32_t widen_5(unsigned component)
{
	return (component & 0x1f) << 3 | (component & 0x1f) >> 2;
}

static uint32_t widen_6(unsigned component)
{
	return (component & 0x3f) << 2 | (component & 0x3f) >> 4;
}

static void draw_planar_row(const struct vga_picture *picture, const uint8_t *from, unsigned x,
	uint32_t *pixels, uint32_t width)
{
	uint8_t line[8];

	for (uint32_t i = 0; i < width; i++, x++) {
		if (i == 0 || x % 8 == 0)
			planar_pixels(picture, from + (size_t)(x / 8) * VGA_NR_PLANES, line);
		pixels[i] = picture->colours[line[x % 8]];
	}
}

/* What every system of today has: two pixels at a time. */
static void draw_32_bit_row(const uint8_t *from, uint32_t *pixels, uint32_t width)
{
	uint32_t x = 0;

	for (; x + 2 <= width; x += 2) {
		uint64_t pair;

		memcpy(&pair, from + (size_t)x * 4, sizeof(pair));
		pair &= UINT64_C(0x00ffffff00ffffff);
		memcpy(&pixels[x], &pair, sizeof(pair));
	}
	if (x < width) {
		memcpy(&pixels[x], from + (size_t)x * 4, sizeof(*pixels));
		pixels[x] &= 0xffffff;
	}
}

static void draw_packed_row(const struct vga_picture *picture, unsigned bpp, const uint8_t *from,
	uint32_t *pixels, uint32_t width)
{
	for (uint32_t x = 0; x < width; x++) {
		const uint8_t *p = from + (size_t)x * ((bpp + 7) / 8);
		unsigned word = bpp > 8 ? p[0] | (unsigned)p[1] << 8 : p[0];

		switch (bpp) {
		case 8: pixels[x] = picture->colours[word]; break;
		case 15:
			pixels[x] =
				widen_5(word >> 10) << 16 | widen_5(word >> 5) << 8 | widen_5(word);
			break;
		case 16:
			pixels[x] =
				widen_5(word >> 11) << 16 | widen_6(word >> 5) << 8 | widen_5(word);
			break;
		default: pixels[x] = word | (uint32_t)p[2] << 16; break;
		}
	}
}

static int draw_dispi(const struct vga_picture *picture, struct surface *surface)
{
	const struct vga_snapshot *snapshot = picture->snapshot;
	const uint16_t *dispi = snapshot->state.dispi;
	unsigned bpp = dispi[VGA_DISPI_BPP], x = dispi[VGA_DISPI_X_OFFSET];
	size_t bytes = bpp == 4 ? 0 : (bpp + 7) / 8;
	size_t pitch = bpp == 4 ? dispi[VGA_DISPI_VIRTUAL_WIDTH] / 8u * VGA_NR_PLANES
				: dispi[VGA_DISPI_VIRTUAL_WIDTH] * bytes;
	/* The last pixel may share its bytes with the one that is not shown. */
	size_t needed = bpp == 4 ? (x + dispi[VGA_DISPI_XRES] + 7u) / 8 * VGA_NR_PLANES
				 : (x + dispi[VGA_DISPI_XRES]) * bytes;
	int rc = surface_resize(surface, dispi[VGA_DISPI_XRES], dispi[VGA_DISPI_YRES]);

	if (rc < 0)
		return rc == -EINVAL ? draw_black(surface) : rc;
	for (uint32_t y = 0; y < surface->height; y++) {
		size_t at = (y + dispi[VGA_DISPI_Y_OFFSET]) * pitch;
		uint32_t *pixels = surface->pixels + (size_t)y * surface->width;

		if (at + needed > snapshot->memory_size)
			memset(pixels, 0, surface->width * sizeof(*pixels));
		else if (bpp == 4)
			draw_planar_row(picture, snapshot->memory + at, x, pixels, surface->width);
		else if (bpp == 32)
			draw_32_bit_row(snapshot->memory + at + x * bytes, pixels, surface->width);
		else
			draw_packed_row(picture, bpp, snapshot->memory + at + x * bytes, pixels,
				surface->width);
	}
	return 0;
}

bool vga_view(const struct vga_snapshot *snapshot, struct surface_view *view)
{
	const uint16_t *dispi = snapshot->state.dispi;
	size_t pitch = dispi[VGA_DISPI_VIRTUAL_WIDTH] * sizeof(uint32_t);
	size_t at =
		dispi[VGA_DISPI_Y_OFFSET] * pitch + dispi[VGA_DISPI_X_OFFSET] * sizeof(uint32_t);
	size_t row = dispi[VGA_DISPI_XRES] * sizeof(uint32_t);

	if (!(dispi[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLE_ENABLED) || dispi[VGA_DISPI_BPP] != 32 ||
		dispi[VGA_DISPI_YRES] == 0 ||
		at + (dispi[VGA_DISPI_YRES] - 1u) * pitch + row > snapshot->memory_size)
		return false;
	*view = (struct surface_view){ snapshot->memory + at, pitch, dispi[VGA_DISPI_XRES],
		dispi[VGA_DISPI_YRES] };
	return view->width <= SURFACE_MAX_WIDTH && view->height <= SURFACE_MAX_HEIGHT;
}

int vga_draw(const struct vga_snapshot *snapshot, struct surface *surface)
{
	struct vga_picture picture = { .snapshot = snapshot };

	look_up_colours(&picture);
	if (snapshot->state.dispi[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLE_ENABLED)
		return draw_dispi(&picture, surface);
	return draw_vga(&picture, surface);
}
