/*
 * VGA: registers, the write and read modes on the planes, and pictures of each kind of mode. The
 * pictures' hashes were taken when they had been looked at (VGA_TEST_PICTURES=DIRECTORY writes
 * them).
 */
#include "chip/chip_fixture.h"
#include "vga/vga.h"
#include "vga/vga_crtc.h"
#include "vga/vga_modes_table.h"

#include <inttypes.h>
#include <stdio.h>

#define MEMORY_SIZE (4 << 20)

struct fixture {
	struct fake_clock clock;
	struct vga vga;
	struct surface surface;
	uint8_t memory[MEMORY_SIZE];
};

static void out(struct fixture *f, uint16_t port, uint8_t value)
{
	vga_port_write(&f->vga, port, value);
}

static uint8_t in(struct fixture *f, uint16_t port)
{
	return vga_port_read(&f->vga, port);
}

static void indexed(struct fixture *f, uint16_t port, uint8_t index, uint8_t value)
{
	out(f, port, index);
	out(f, port + 1, value);
}

static void graphics(struct fixture *f, uint8_t index, uint8_t value)
{
	indexed(f, 0x3ce, index, value);
}

static void poke(struct fixture *f, unsigned at, uint8_t value)
{
	vga_window_write(&f->vga, at, 1, value);
}

static uint8_t peek(struct fixture *f, unsigned at)
{
	return (uint8_t)vga_window_read(&f->vga, at, 1);
}

static void attribute(struct fixture *f, uint8_t index, uint8_t value)
{
	in(f, 0x3da);
	out(f, 0x3c0, index);
	out(f, 0x3c0, value);
}

/* The colours that the BIOS gives the EGA's 64. */
static void set_ega_colours(struct fixture *f)
{
	out(f, 0x3c8, 0);
	for (unsigned i = 0; i < 64; i++) {
		out(f, 0x3c9, (uint8_t)((i >> 2 & 1) * 42 + (i >> 5 & 1) * 21));
		out(f, 0x3c9, (uint8_t)((i >> 1 & 1) * 42 + (i >> 4 & 1) * 21));
		out(f, 0x3c9, (uint8_t)((i & 1) * 42 + (i >> 3 & 1) * 21));
	}
}

static void set_mode(struct fixture *f, const struct vga_mode *mode)
{
	out(f, 0x3c2, mode->misc);
	for (unsigned i = 0; i < sizeof(mode->sequencer); i++)
		indexed(f, 0x3c4, (uint8_t)i, mode->sequencer[i]);
	indexed(f, 0x3d4, 0x11, 0);
	for (unsigned i = 0; i < sizeof(mode->crtc); i++)
		indexed(f, 0x3d4, (uint8_t)i, mode->crtc[i]);
	for (unsigned i = 0; i < sizeof(mode->graphics); i++)
		graphics(f, (uint8_t)i, mode->graphics[i]);
	for (unsigned i = 0; i < sizeof(mode->attribute); i++)
		attribute(f, (uint8_t)i, mode->attribute[i]);
	in(f, 0x3da);
	out(f, 0x3c0, 0x20);
	out(f, 0x3c6, 0xff);
	set_ega_colours(f);
}

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_clock_init(&f->clock);
	vga_init(&f->vga, &f->clock.clock, f->memory, MEMORY_SIZE);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	surface_finish(&f->surface);
	free(f);
	return 0;
}

static void save_picture(const struct surface *surface, const char *name)
{
	const char *directory = getenv("VGA_TEST_PICTURES");
	char path[256];
	FILE *file;

	if (!directory)
		return;
	snprintf(path, sizeof(path), "%s/%s.ppm", directory, name);
	file = fopen(path, "wb");
	if (!file)
		return;
	fprintf(file, "P6 %u %u 255\n", surface->width, surface->height);
	for (size_t i = 0; i < (size_t)surface->width * surface->height; i++) {
		fputc(surface->pixels[i] >> 16 & 0xff, file);
		fputc(surface->pixels[i] >> 8 & 0xff, file);
		fputc(surface->pixels[i] & 0xff, file);
	}
	fclose(file);
}

static void draw(struct fixture *f, unsigned width, unsigned height)
{
	struct vga_snapshot snapshot;

	vga_snapshot(&f->vga, &snapshot);
	assert_int_equal(vga_draw(&snapshot, &f->surface), 0);
	assert_int_equal(f->surface.width, width);
	assert_int_equal(f->surface.height, height);
}

static uint32_t pixel(const struct fixture *f, unsigned x, unsigned y)
{
	return f->surface.pixels[(size_t)y * f->surface.width + x];
}

static void expect_picture(struct fixture *f, const char *name, uint64_t hash)
{
	save_picture(&f->surface, name);
	if (surface_hash(&f->surface) != hash)
		fail_msg("picture %s: hash 0x%016" PRIx64 ", expected 0x%016" PRIx64, name,
			surface_hash(&f->surface), hash);
}

/* Registers. */

static void test_registers_keep_their_bits(void **context)
{
	struct fixture *f = *context;

	indexed(f, 0x3c4, 2, 0xff);
	assert_int_equal(in(f, 0x3c5), 0x0f);
	graphics(f, 5, 0xff);
	assert_int_equal(in(f, 0x3cf), 0x7b);
	attribute(f, 0x10, 0xff);
	assert_int_equal(in(f, 0x3c1), 0xef);
	out(f, 0x3c2, 0x67);
	assert_int_equal(in(f, 0x3cc), 0x67);
	indexed(f, 0x3d4, 0x18, 0x5a);
	assert_int_equal(in(f, 0x3d5), 0x5a);
	out(f, 0x3d4, 0x1f);
	out(f, 0x3d5, 0xff);
	assert_int_equal(in(f, 0x3d5), 0);
}

static void test_crtc_moves_with_the_colour_bit(void **context)
{
	struct fixture *f = *context;

	out(f, 0x3c2, 0x67);
	assert_int_equal(in(f, 0x3b5), 0xff);
	indexed(f, 0x3d4, 0x0f, 0x12);
	out(f, 0x3c2, 0x66);
	assert_int_equal(in(f, 0x3d5), 0xff);
	indexed(f, 0x3b4, 0x0f, 0x34);
	assert_int_equal(in(f, 0x3b5), 0x34);
}

static void test_crtc_protection(void **context)
{
	struct fixture *f = *context;

	indexed(f, 0x3d4, 0, 0x5f);
	indexed(f, 0x3d4, 7, 0x1f);
	indexed(f, 0x3d4, 0x11, 0x80);
	indexed(f, 0x3d4, 0, 0x11);
	assert_int_equal(in(f, 0x3d5), 0x5f);
	indexed(f, 0x3d4, 7, 0x00); /* but for line compare's bit */
	assert_int_equal(in(f, 0x3d5), 0x0f);
	indexed(f, 0x3d4, 8, 0x11);
	assert_int_equal(in(f, 0x3d5), 0x11);
}

static void test_attribute_flip_flop(void **context)
{
	struct fixture *f = *context;

	in(f, 0x3da);
	out(f, 0x3c0, 0x03);
	out(f, 0x3c0, 0x2a);
	assert_int_equal(in(f, 0x3c0), 0x03);
	assert_int_equal(in(f, 0x3c1), 0x2a);
	out(f, 0x3c0, 0x05);
	in(f, 0x3da); /* what comes next is an index again */
	out(f, 0x3c0, 0x23);
	out(f, 0x3c0, 0x15); /* the palette belongs to the picture now */
	assert_int_equal(in(f, 0x3c1), 0x2a);
}

static void test_dac(void **context)
{
	struct fixture *f = *context;

	out(f, 0x3c8, 254);
	for (uint8_t i = 0; i < 9; i++)
		out(f, 0x3c9, 0xc1 + i);
	assert_int_equal(in(f, 0x3c8), 1);
	assert_int_equal(in(f, 0x3c7), 0);
	out(f, 0x3c7, 255);
	assert_int_equal(in(f, 0x3c7), 3);
	assert_int_equal(in(f, 0x3c9), 0x04);
	assert_int_equal(in(f, 0x3c9), 0x05);
	assert_int_equal(in(f, 0x3c9), 0x06);
	assert_int_equal(in(f, 0x3c9), 0x07); /* entry 0 */
	/* An entry is written with its third component. */
	out(f, 0x3c8, 7);
	out(f, 0x3c9, 1);
	out(f, 0x3c9, 2);
	out(f, 0x3c7, 7);
	assert_int_equal(in(f, 0x3c9), 0);
}

/* Mode 3: 449 lines of 900 dots at 28.322 MHz; 25.175 MHz is mode 12's, 525 lines of 800. */
static void test_retrace(void **context)
{
	struct fixture *f = *context;
	const ns_t line_ns = 900 * NS_PER_S / 28322000;

	set_mode(f, &vga_mode_3);
	fake_clock_run_to(&f->clock, 20 * line_ns + 100);
	assert_int_equal(in(f, 0x3da) & 9, 0);
	fake_clock_run_to(&f->clock, 20 * line_ns + line_ns * 95 / 100);
	assert_int_equal(in(f, 0x3da) & 9, 1);
	fake_clock_run_to(&f->clock, 405 * line_ns);
	assert_int_equal(in(f, 0x3da) & 9, 1);
	fake_clock_run_to(&f->clock, 413 * line_ns);
	assert_int_equal(in(f, 0x3da) & 9, 9);
	fake_clock_run_to(&f->clock, 415 * line_ns);
	assert_int_equal(in(f, 0x3da) & 9, 1);
	fake_clock_run_to(&f->clock, 455 * line_ns + 1000);
	assert_int_equal(in(f, 0x3da) & 9, 0);
}

static void test_monitor_sense(void **context)
{
	struct fixture *f = *context;

	out(f, 0x3c8, 0);
	for (unsigned i = 0; i < 3; i++)
		out(f, 0x3c9, 0x14);
	assert_int_equal(in(f, 0x3c2) & 0x10, 0x10);
	out(f, 0x3c8, 0);
	for (unsigned i = 0; i < 3; i++)
		out(f, 0x3c9, 0x04);
	assert_int_equal(in(f, 0x3c2) & 0x10, 0);
}

/* The planes. */

static void read_planes(struct fixture *f, unsigned at, uint8_t planes[4])
{
	graphics(f, 5, 0);
	for (uint8_t plane = 0; plane < 4; plane++) {
		graphics(f, 4, plane);
		planes[plane] = peek(f, at);
	}
}

#define assert_planes(f, at, p0, p1, p2, p3)                                                       \
	do {                                                                                       \
		uint8_t planes[4], expected[4] = { p0, p1, p2, p3 };                               \
		read_planes(f, at, planes);                                                        \
		assert_memory_equal(planes, expected, 4);                                          \
	} while (0)

/* Four planes hold 0xa5, 0x5a, 0xff, 0x00 at 0, and the latches too. */
static void fill_latches(struct fixture *f)
{
	static const uint8_t values[] = { 0xa5, 0x5a, 0xff, 0x00 };

	graphics(f, 0, 0);
	graphics(f, 1, 0);
	graphics(f, 3, 0);
	graphics(f, 5, 0);
	graphics(f, 8, 0xff);
	for (uint8_t plane = 0; plane < 4; plane++) {
		indexed(f, 0x3c4, 2, (uint8_t)(1 << plane));
		poke(f, 0, values[plane]);
	}
	indexed(f, 0x3c4, 2, 0x0f);
	peek(f, 0);
}

static void test_write_mode_0(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_12);
	fill_latches(f);
	assert_planes(f, 0, 0xa5, 0x5a, 0xff, 0x00);
	graphics(f, 3, 0x01); /* rotated right by one */
	poke(f, 1, 0x81);
	assert_planes(f, 1, 0xc0, 0xc0, 0xc0, 0xc0);
	graphics(f, 3, 0);
	graphics(f, 0, 0x05); /* set/reset on planes 0 and 1 only: 1 and 0 */
	graphics(f, 1, 0x03);
	poke(f, 2, 0x3c);
	assert_planes(f, 2, 0xff, 0x00, 0x3c, 0x3c);
	graphics(f, 1, 0);
	peek(f, 0);
	graphics(f, 8, 0x0f); /* the high half comes from the latches */
	poke(f, 3, 0x33);
	assert_planes(f, 3, 0xa3, 0x53, 0xf3, 0x03);
	indexed(f, 0x3c4, 2, 0x06); /* two planes only */
	graphics(f, 8, 0xff);
	poke(f, 3, 0x77);
	assert_planes(f, 3, 0xa3, 0x77, 0x77, 0x03);
}

static void test_logical_functions(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_12);
	fill_latches(f);
	graphics(f, 3, 0x08);
	poke(f, 1, 0x3c);
	assert_planes(f, 1, 0x24, 0x18, 0x3c, 0x00);
	peek(f, 0);
	graphics(f, 3, 0x10);
	poke(f, 2, 0x3c);
	assert_planes(f, 2, 0xbd, 0x7e, 0xff, 0x3c);
	peek(f, 0);
	graphics(f, 3, 0x18);
	poke(f, 3, 0x3c);
	assert_planes(f, 3, 0x99, 0x66, 0xc3, 0x3c);
}

static void test_write_mode_1(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_12);
	fill_latches(f);
	graphics(f, 8, 0x00); /* neither the mask nor the byte matters */
	graphics(f, 5, 1);
	poke(f, 100, 0x12);
	assert_planes(f, 100, 0xa5, 0x5a, 0xff, 0x00);
}

static void test_write_mode_2(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_12);
	fill_latches(f);
	graphics(f, 5, 2);
	graphics(f, 8, 0xf0);
	poke(f, 1, 0x0a);
	assert_planes(f, 1, 0x05, 0xfa, 0x0f, 0xf0);
}

static void test_write_mode_3(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_12);
	fill_latches(f);
	graphics(f, 5, 3);
	graphics(f, 0, 0x06);
	graphics(f, 8, 0x3f);
	poke(f, 1, 0xf3); /* the bits 0x33 get the colour 6 */
	assert_planes(f, 1, 0x84, 0x7b, 0xff, 0x00);
}

static void test_read_mode_1(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_12);
	fill_latches(f);
	graphics(f, 5, 8);
	graphics(f, 2, 0x05); /* colour 5: planes 0 and 2 */
	graphics(f, 7, 0x0f);
	assert_int_equal(peek(f, 0), 0xa5);
	graphics(f, 2, 0x06);
	assert_int_equal(peek(f, 0), 0x5a);
	graphics(f, 7, 0x04); /* only plane 2 counts */
	assert_int_equal(peek(f, 0), 0xff);
	graphics(f, 7, 0x00);
	assert_int_equal(peek(f, 0), 0xff);
}

static void test_chain_4(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_13);
	vga_window_write(&f->vga, 4, 8, UINT64_C(0x8877665544332211));
	assert_true(vga_window_read(&f->vga, 4, 8) == UINT64_C(0x8877665544332211));
	indexed(f, 0x3c4, 2, 0x01); /* three of four bytes are masked */
	vga_window_write(&f->vga, 4, 4, 0);
	assert_true(vga_window_read(&f->vga, 4, 4) == 0x44332200);
	/* Unchained, the bytes of address 4 to 7 are at 4 of the four planes. */
	indexed(f, 0x3c4, 4, 0x06);
	assert_planes(f, 4, 0x00, 0x22, 0x33, 0x44);
	assert_planes(f, 5, 0, 0, 0, 0);
}

static void test_odd_even(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_3);
	vga_window_write(&f->vga, 0x18000, 4, 0x1f421e41);
	assert_int_equal(vga_window_read(&f->vga, 0x18000, 4), 0x1f421e41);
	assert_int_equal(f->memory[0], 0x41);
	assert_int_equal(f->memory[1], 0x1e);
	assert_int_equal(f->memory[8], 0x42);
	assert_int_equal(f->memory[9], 0x1f);
}

static void test_window_maps(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_3); /* 0xb8000, 32 KiB */
	poke(f, 0, 0x12);
	assert_int_equal(peek(f, 0), 0xff);
	poke(f, 0x18000, 0x12);
	assert_int_equal(peek(f, 0x18000), 0x12);
	graphics(f, 6, 0x08); /* 0xb0000, 32 KiB: the same memory */
	assert_int_equal(peek(f, 0x18000), 0xff);
	assert_int_equal(peek(f, 0x10000), 0x12);
	out(f, 0x3c2, 0x65); /* memory off */
	assert_int_equal(peek(f, 0x10000), 0xff);
}

/* Pictures. */

static void load_font(struct fixture *f)
{
	/* A box with its code in binary inside: any character is told from any other. */
	for (unsigned c = 0; c < 256; c++) {
		uint8_t *glyph = f->memory + (size_t)c * 32 * 4 + 2;

		for (unsigned row = 1; row < 15; row++)
			glyph[row * 4] = row == 1 || row == 14 ? 0x7e : 0x42;
		for (unsigned bit = 0; bit < 8; bit++)
			glyph[(3 + bit) * 4] = c & (0x80 >> bit) ? 0x7e : 0x42;
	}
	/* The character of a horizontal line. */
	for (unsigned row = 0; row < 16; row++)
		f->memory[((size_t)0xc4 * 32 + row) * 4 + 2] = row == 7 ? 0xff : 0;
}

static void print(struct fixture *f, unsigned column, unsigned row, uint8_t attr, const char *text)
{
	for (unsigned at = (row * 80 + column) * 2; *text; text++, at += 2)
		vga_window_write(&f->vga, 0x18000 + at, 2, (uint64_t)attr << 8 | (uint8_t)*text);
}

static void test_text_picture(void **context)
{
	struct fixture *f = *context;
	struct vga_snapshot snapshot;
	struct text_screen *text = calloc(1, sizeof(*text));

	load_font(f);
	set_mode(f, &vga_mode_3);
	for (unsigned i = 0; i < 16; i++)
		print(f, i * 5, 1, (uint8_t)(i * 0x10 + 15 - i), "ABC");
	print(f, 0, 24, 0x1f, "the last line");
	print(f, 10, 10, 0x07, "\xc4\xc4\xc4 A\xc4");
	indexed(f, 0x3d4, 0x0e, 0x03);
	indexed(f, 0x3d4, 0x0f, 0x20 + 10); /* row 10, column 10 */
	draw(f, 720, 400);
	/* The ninth dot of a line character continues it, that of a letter does not. */
	assert_int_equal(pixel(f, 12 * 9 + 8, 10 * 16 + 7), 0xaaaaaa);
	assert_int_equal(pixel(f, 14 * 9 + 8, 10 * 16 + 7), 0);
	/* The cursor, lines 13 and 14. */
	assert_int_equal(pixel(f, 10 * 9, 10 * 16 + 12), 0);
	assert_int_equal(pixel(f, 10 * 9, 10 * 16 + 13), 0xaaaaaa);
	assert_int_equal(pixel(f, 10 * 9, 10 * 16 + 15), 0);
	expect_picture(f, "text", UINT64_C(0x3eb9fefd22219be4));

	vga_snapshot(&f->vga, &snapshot);
	assert_true(vga_read_text(&snapshot, text));
	assert_int_equal(text->columns, 80);
	assert_int_equal(text->rows, 25);
	assert_true(text->has_cursor);
	assert_int_equal(text->cursor_column, 10);
	assert_int_equal(text->cursor_row, 10);
	assert_int_equal(text->cells[24][4].character, 'l');
	assert_int_equal(text->cells[24][4].attribute, 0x1f);
	free(text);
}

static void test_blinking(void **context)
{
	struct fixture *f = *context;

	load_font(f);
	set_mode(f, &vga_mode_3);
	print(f, 0, 0, 0x9f, "A");
	draw(f, 720, 400);
	assert_int_equal(pixel(f, 1, 1), 0xffffff);
	assert_int_equal(pixel(f, 0, 1), 0x0000aa);
	fake_clock_run_to(&f->clock, NS_PER_S * 20 / 60); /* the 20th frame */
	draw(f, 720, 400);
	assert_int_equal(pixel(f, 1, 1), 0x0000aa);
	/* Without blinking the bit is the background's intensity. */
	attribute(f, 0x10, 0x04);
	out(f, 0x3c0, 0x20);
	draw(f, 720, 400);
	assert_int_equal(pixel(f, 1, 1), 0xffffff);
	assert_int_equal(pixel(f, 0, 1), 0x5555ff);
}

/* Sixteen bars of colour, a diagonal line across. */
static void paint_planar(struct fixture *f)
{
	for (unsigned x = 0; x < 640; x += 8)
		for (unsigned y = 0; y < 480; y++) {
			graphics(f, 5, 2);
			graphics(f, 8, 0xff);
			poke(f, y * 80 + x / 8, (uint8_t)(x / 40));
		}
	for (unsigned y = 0; y < 480; y++) {
		graphics(f, 8, (uint8_t)(0x80 >> y % 8));
		peek(f, y * 80 + y / 8);
		poke(f, y * 80 + y / 8, 0x0f);
	}
}

static void test_planar_picture(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_12);
	paint_planar(f);
	draw(f, 640, 480);
	assert_int_equal(pixel(f, 100, 100), 0xffffff);
	assert_int_equal(pixel(f, 101, 100), 0x00aa00);
	assert_int_equal(pixel(f, 639, 0), 0xffffff);
	expect_picture(f, "planar", UINT64_C(0xc0c764cdcc4b63f4));
}

static void test_panning_and_split(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_12);
	paint_planar(f);
	indexed(f, 0x3d4, 0x0c, 0x0c); /* starts at line 40 */
	indexed(f, 0x3d4, 0x0d, 0x80);
	indexed(f, 0x3d4, 0x18, 300 & 0xff); /* from line 301 on, line 0 again */
	indexed(f, 0x3d4, 0x07, 0x3e);
	indexed(f, 0x3d4, 0x09, 0x00);
	attribute(f, 0x13, 3);
	attribute(f, 0x10, 0x21);
	out(f, 0x3c0, 0x20);
	draw(f, 640, 480);
	assert_int_equal(pixel(f, 37, 0), 0xffffff);
	assert_int_equal(pixel(f, 36, 0), 0x000000);
	assert_int_equal(pixel(f, 0, 301), 0xffffff); /* not panned */
	assert_int_equal(pixel(f, 100, 401), 0xffffff);
	expect_picture(f, "split", UINT64_C(0x93cf1bf2a46ea9c5));
}

static void test_cga_picture(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_4);
	for (unsigned y = 0; y < 200; y++)
		for (unsigned x = 0; x < 80; x++)
			poke(f, 0x18000 + (y & 1) * 0x2000 + y / 2 * 80 + x,
				y < 100 ? 0x1b : (uint8_t)(x / 20 * 0x55));
	draw(f, 640, 400);
	/* 0x1b: the four colours, each two dots wide and two lines high. */
	assert_int_equal(pixel(f, 0, 0), 0x000000);
	assert_int_equal(pixel(f, 2, 0), pixel(f, 3, 1));
	assert_int_equal(pixel(f, 8, 3), 0x000000);
	assert_true(pixel(f, 2, 2) != pixel(f, 4, 2) && pixel(f, 4, 2) != pixel(f, 6, 2));
	expect_picture(f, "cga", UINT64_C(0x884696eba117e954));
}

static void set_256_colours(struct fixture *f)
{
	out(f, 0x3c8, 0);
	for (unsigned i = 0; i < 256; i++) {
		out(f, 0x3c9, (uint8_t)(i >> 5 << 3));
		out(f, 0x3c9, (uint8_t)((i >> 2 & 7) << 3));
		out(f, 0x3c9, (uint8_t)((i & 3) << 4));
	}
}

static void test_mode_13_picture(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_13);
	set_256_colours(f);
	for (unsigned y = 0; y < 200; y++)
		for (unsigned x = 0; x < 320; x++)
			poke(f, y * 320 + x, (uint8_t)(x / 20 * 16 + y / 13));
	draw(f, 640, 400);
	/* Colour 0xf1 at x 300, y 13. */
	assert_int_equal(pixel(f, 600, 26), 0xe38241);
	expect_picture(f, "mode13", UINT64_C(0xbab04505abdaa554));
}

static void test_mode_x_picture(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_x);
	set_256_colours(f);
	for (unsigned x = 0; x < 320; x++) {
		indexed(f, 0x3c4, 2, (uint8_t)(1 << x % 4));
		for (unsigned y = 0; y < 240; y++)
			poke(f, y * 80 + x / 4, (uint8_t)(x + y));
	}
	draw(f, 640, 480);
	assert_int_equal(pixel(f, 2 * 0xe0, 2 * 0x11), 0xe38241); /* 0xf1 */
	expect_picture(f, "mode-x", UINT64_C(0x7db235fa22bb8f44));
}

/* DISPI. */

static void set_dispi(struct fixture *f, uint16_t width, uint16_t height, uint16_t bpp)
{
	vga_dispi_write(&f->vga, VGA_DISPI_ENABLE, 0);
	vga_dispi_write(&f->vga, VGA_DISPI_XRES, width);
	vga_dispi_write(&f->vga, VGA_DISPI_YRES, height);
	vga_dispi_write(&f->vga, VGA_DISPI_BPP, bpp);
	vga_dispi_write(&f->vga, VGA_DISPI_ENABLE, 0x41);
}

static void test_dispi_registers(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(vga_dispi_read(&f->vga, VGA_DISPI_ID), 0xb0c5);
	vga_dispi_write(&f->vga, VGA_DISPI_ID, 0xb0c4);
	assert_int_equal(vga_dispi_read(&f->vga, VGA_DISPI_ID), 0xb0c4);
	vga_dispi_write(&f->vga, VGA_DISPI_ID, 0x1234);
	assert_int_equal(vga_dispi_read(&f->vga, VGA_DISPI_ID), 0xb0c4);
	assert_int_equal(vga_dispi_read(&f->vga, VGA_DISPI_VIDEO_MEMORY), MEMORY_SIZE >> 16);
	vga_dispi_write(&f->vga, VGA_DISPI_ENABLE, 2);
	assert_int_equal(vga_dispi_read(&f->vga, VGA_DISPI_BPP), 32);
	set_dispi(f, 1024, 768, 32);
	assert_int_equal(vga_dispi_read(&f->vga, VGA_DISPI_VIRTUAL_WIDTH), 1024);
	assert_int_equal(vga_dispi_read(&f->vga, VGA_DISPI_VIRTUAL_HEIGHT), 1024);
	vga_dispi_write(&f->vga, VGA_DISPI_Y_OFFSET, 1000); /* beyond: as far as it goes */
	assert_int_equal(vga_dispi_read(&f->vga, VGA_DISPI_Y_OFFSET), 256);
	vga_dispi_write(&f->vga, VGA_DISPI_XRES, 640); /* not while it is on */
	assert_int_equal(vga_dispi_read(&f->vga, VGA_DISPI_XRES), 1024);
	set_dispi(f, 4096, 4096, 32); /* does not fit */
	assert_int_equal(vga_dispi_read(&f->vga, VGA_DISPI_YRES), 256);
}

static void test_dispi_memory(void **context)
{
	struct fixture *f = *context;

	memset(f->memory, 0x55, 640 * 480 + 1);
	set_mode(f, &vga_mode_13);
	set_dispi(f, 640, 480, 8);
	assert_int_equal(f->memory[640 * 480 - 1], 0); /* cleared */
	assert_int_equal(f->memory[640 * 480], 0x55);
	vga_dispi_write(&f->vga, VGA_DISPI_BANK, 3);
	poke(f, 0x1234, 0x99);
	assert_int_equal(f->memory[0x31234], 0x99);
	assert_int_equal(peek(f, 0x1234), 0x99);
	vga_dispi_write(&f->vga, VGA_DISPI_ENABLE, 0);
	vga_dispi_write(&f->vga, VGA_DISPI_ENABLE, 0xc1);
	assert_int_equal(f->memory[0x31234], 0x99); /* kept */
}

static void test_dispi_pictures(void **context)
{
	struct fixture *f = *context;

	set_mode(f, &vga_mode_13);
	set_256_colours(f);
	set_dispi(f, 800, 600, 8);
	f->memory[800 * 599 + 799] = 0xf1;
	draw(f, 800, 600);
	assert_int_equal(pixel(f, 799, 599), 0xe38241);
	set_dispi(f, 64, 64, 15);
	f->memory[0] = 0x1f;
	f->memory[1] = 0x7c;
	draw(f, 64, 64);
	assert_int_equal(pixel(f, 0, 0), 0xff00ff);
	set_dispi(f, 64, 64, 16);
	f->memory[2] = 0xe0;
	f->memory[3] = 0x07;
	draw(f, 64, 64);
	assert_int_equal(pixel(f, 1, 0), 0x00ff00);
	set_dispi(f, 64, 64, 24);
	memcpy(f->memory + 3, "\x11\x22\x33", 3);
	draw(f, 64, 64);
	assert_int_equal(pixel(f, 1, 0), 0x332211);
	set_dispi(f, 64, 64, 32);
	vga_dispi_write(&f->vga, VGA_DISPI_VIRTUAL_WIDTH, 128);
	vga_dispi_write(&f->vga, VGA_DISPI_X_OFFSET, 64);
	vga_dispi_write(&f->vga, VGA_DISPI_Y_OFFSET, 2);
	memcpy(f->memory + (2 * 128 + 64) * 4, "\x44\x55\x66", 3);
	draw(f, 64, 64);
	assert_int_equal(pixel(f, 0, 0), 0x665544);
	set_dispi(f, 64, 64, 4);
	set_ega_colours(f);
	f->memory[0] = f->memory[2] = 0x40; /* planes 0 and 2: magenta */
	draw(f, 64, 64);
	assert_int_equal(pixel(f, 1, 0), 0xaa00aa);
}

static void test_off_is_black(void **context)
{
	struct fixture *f = *context;
	struct vga_snapshot snapshot;
	struct text_screen *text = calloc(1, sizeof(*text));

	draw(f, 720, 400);
	set_mode(f, &vga_mode_12);
	paint_planar(f);
	indexed(f, 0x3c4, 1, 0x21);
	draw(f, 720, 400);
	assert_int_equal(pixel(f, 639, 0), 0);
	vga_snapshot(&f->vga, &snapshot);
	assert_false(vga_read_text(&snapshot, text));
	free(text);
}

static void test_state_table(void **context)
{
	struct error err = { 0 };

	(void)context;
	assert_true(state_covers(vga_type.state, &err));
}

#define vga_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		vga_test(test_registers_keep_their_bits),
		vga_test(test_crtc_moves_with_the_colour_bit),
		vga_test(test_crtc_protection),
		vga_test(test_attribute_flip_flop),
		vga_test(test_dac),
		vga_test(test_retrace),
		vga_test(test_monitor_sense),
		vga_test(test_write_mode_0),
		vga_test(test_logical_functions),
		vga_test(test_write_mode_1),
		vga_test(test_write_mode_2),
		vga_test(test_write_mode_3),
		vga_test(test_read_mode_1),
		vga_test(test_chain_4),
		vga_test(test_odd_even),
		vga_test(test_window_maps),
		vga_test(test_text_picture),
		vga_test(test_blinking),
		vga_test(test_planar_picture),
		vga_test(test_panning_and_split),
		vga_test(test_cga_picture),
		vga_test(test_mode_13_picture),
		vga_test(test_mode_x_picture),
		vga_test(test_dispi_registers),
		vga_test(test_dispi_memory),
		vga_test(test_dispi_pictures),
		vga_test(test_off_is_black),
		vga_test(test_state_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
