/*
 * Keys by name, by character, by keysym and by scan code; pictures as files; text as UTF-8.
 */
#include "display/key.h"
#include "display/png.h"
#include "display/text_screen.h"

#include <errno.h>
#include <linux/input-event-codes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

static void test_chords(void **context)
{
	unsigned keys[KEY_MAX_CHORD];
	struct error err = { 0 };

	(void)context;
	assert_int_equal(key_parse_chord("ctrl-alt-Del", keys, &err), 3);
	assert_int_equal(keys[0], KEY_LEFTCTRL);
	assert_int_equal(keys[1], KEY_LEFTALT);
	assert_int_equal(keys[2], KEY_DELETE);
	assert_int_equal(key_parse_chord("x", keys, &err), 1);
	assert_int_equal(keys[0], KEY_X);
	assert_int_equal(key_parse_chord("ctrl--", keys, &err), 2);
	assert_int_equal(keys[1], KEY_MINUS);
	assert_int_equal(key_parse_chord("-", keys, &err), 1);
	assert_true(key_parse_chord("ctrl-fly", keys, &err) < 0);
	assert_int_equal(err.exit_code, EXIT_CODE_USAGE);
	assert_true(key_parse_chord("", keys, &err) < 0);
	assert_true(key_parse_chord("ctrl-", keys, &err) < 0);
	assert_true(key_parse_chord("a-a-a-a-a-a-a-a-a", keys, &err) < 0);
}

static void expect_stroke(
	const char *layout, uint32_t character, unsigned key, bool shift, bool altgr)
{
	struct key_stroke stroke = key_for_character(layout, character);

	assert_int_equal(stroke.key, key);
	assert_int_equal(stroke.shift, shift);
	assert_int_equal(stroke.altgr, altgr);
}

static void test_characters(void **context)
{
	(void)context;
	expect_stroke("us", 'a', KEY_A, false, false);
	expect_stroke("us", 'A', KEY_A, true, false);
	expect_stroke("us", '|', KEY_BACKSLASH, true, false);
	expect_stroke("us", '\n', KEY_ENTER, false, false);
	expect_stroke("us", 0xe4, 0, false, false);
	expect_stroke("de", 'z', KEY_Y, false, false);
	expect_stroke("de", '@', KEY_Q, false, true);
	expect_stroke("de", 0xe4, KEY_APOSTROPHE, false, false);
	expect_stroke("de", '/', KEY_7, true, false);
	for (uint32_t c = ' '; c < 0x7f; c++) {
		assert_true(key_for_character("us", c).key);
		assert_true(key_for_character("de", c).key);
	}
	assert_false(key_layout_exists("xx"));
}

static void test_utf_8(void **context)
{
	const char *text = "a\xc3\xa4\xe2\x82\xac\xff\xc3";

	(void)context;
	assert_int_equal(key_next_character(&text), 'a');
	assert_int_equal(key_next_character(&text), 0xe4);
	assert_int_equal(key_next_character(&text), 0x20ac);
	assert_int_equal(key_next_character(&text), 0xfffd);
	assert_int_equal(key_next_character(&text), 0xfffd);
	assert_int_equal(key_next_character(&text), 0);
	assert_int_equal(key_next_character(&text), 0);
}

static void test_codes_of_viewers(void **context)
{
	(void)context;
	assert_int_equal(key_for_keysym('a'), KEY_A);
	assert_int_equal(key_for_keysym('A'), KEY_A);
	assert_int_equal(key_for_keysym(0xff0d), KEY_ENTER);
	assert_int_equal(key_for_keysym(0xffe9), KEY_LEFTALT);
	assert_int_equal(key_for_keysym(0x12345678), 0);
}

static uint32_t get_u32(const uint8_t *from)
{
	return (uint32_t)from[0] << 24 | from[1] << 16 | from[2] << 8 | from[3];
}

/* Reads the file back by the specification. */
static void test_png(void **context)
{
	struct surface surface = { 0 };
	uint8_t rows[2 * 7];
	uLongf size = sizeof(rows);
	char *bytes;
	size_t total;
	FILE *file = open_memstream(&bytes, &total);

	(void)context;
	assert_int_equal(png_write(file, &surface), -EINVAL);
	assert_int_equal(surface_resize(&surface, 2, 2), 0);
	surface.pixels[0] = 0x102030;
	surface.pixels[1] = 0xffffff;
	surface.pixels[2] = 0x112233;
	surface.pixels[3] = 0;
	assert_int_equal(png_write(file, &surface), 0);
	fclose(file);
	assert_memory_equal(
		bytes, "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x02\0\0\0\x02\x08\x02\0\0\0", 29);
	assert_int_equal(get_u32((uint8_t *)bytes + 29), crc32(0, (uint8_t *)bytes + 12, 17));
	assert_memory_equal(bytes + 37, "IDAT", 4);
	assert_int_equal(
		uncompress(rows, &size, (uint8_t *)bytes + 41, get_u32((uint8_t *)bytes + 33)),
		Z_OK);
	assert_int_equal(size, 14);
	assert_memory_equal(rows, "\x02\x10\x20\x30\xff\xff\xff\x02\x01\x02\x03\x01\x01\x01", 14);
	assert_memory_equal(bytes + total - 12, "\0\0\0\0IEND\xae\x42\x60\x82", 12);
	free(bytes);
	surface_finish(&surface);
}

static void test_text(void **context)
{
	struct text_screen *screen = calloc(1, sizeof(*screen));
	char row[TEXT_SCREEN_ROW_BYTES];

	(void)context;
	screen->columns = 80;
	screen->rows = 2;
	screen->cells[0][0].character = 0xc9; /* a corner of double lines */
	screen->cells[0][1].character = 0x84; /* a with diaeresis */
	screen->cells[0][2].character = '!';
	text_screen_row(screen, 0, row);
	assert_string_equal(row, "\u2554\u00e4!");
	text_screen_row(screen, 1, row);
	assert_string_equal(row, "");
	free(screen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chords),
		cmocka_unit_test(test_characters),
		cmocka_unit_test(test_utf_8),
		cmocka_unit_test(test_codes_of_viewers),
		cmocka_unit_test(test_png),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
