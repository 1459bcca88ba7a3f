/*
 * Damage between two pictures, and what a monitor says of itself.
 */
#include "base/bits.h"
#include "display/edid.h"
#include "display/surface.h"

#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct damage {
	struct surface_rect rects[16];
	unsigned count;
};

static void record(void *context, const struct surface_rect *rect)
{
	struct damage *damage = context;

	if (damage->count < 16)
		damage->rects[damage->count++] = *rect;
}

static int update(struct surface *old, const struct surface *now, struct damage *damage)
{
	struct surface_view view = surface_view(now);

	return surface_update(old, &view, record, damage);
}

static void test_damage(void **context)
{
	struct surface old = { 0 }, now = { 0 };
	struct damage damage = { .count = 0 };

	(void)context;
	assert_int_equal(surface_resize(&now, 200, 40), 0);
	surface_fill(&now, 0x123456);
	assert_int_equal(surface_copy(&old, &now), 0);
	assert_int_equal(update(&old, &now, &damage), 0);

	now.pixels[0] = 1;
	now.pixels[70] = 1;             /* the tile beside it: one run */
	now.pixels[39 * 200 + 199] = 1; /* the last tile, cut off at both edges */
	assert_int_equal(update(&old, &now, &damage), 2);
	assert_int_equal(damage.rects[0].x, 0);
	assert_int_equal(damage.rects[0].y, 0);
	assert_int_equal(damage.rects[0].width, 128);
	assert_int_equal(damage.rects[0].height, 16);
	assert_int_equal(damage.rects[1].x, 192);
	assert_int_equal(damage.rects[1].y, 32);
	assert_int_equal(damage.rects[1].width, 8);
	assert_int_equal(damage.rects[1].height, 8);
	assert_memory_equal(old.pixels, now.pixels, 200 * 40 * 4);
	assert_true(surface_hash(&old) == surface_hash(&now));
	surface_finish(&old);
	surface_finish(&now);
}

/* Rows that lie apart, with uppermost bytes that mean nothing. */
static void test_view(void **context)
{
	uint32_t memory[20 * 90];
	struct surface_view view = { (const uint8_t *)memory, 90 * 4, 83, 20 };
	struct surface old = { 0 };
	struct damage damage = { .count = 0 };

	(void)context;
	for (unsigned i = 0; i < ARRAY_SIZE(memory); i++)
		memory[i] = 0xff000000 | i;
	assert_int_equal(surface_update(&old, &view, record, &damage), 1);
	assert_int_equal(damage.rects[0].width, 83);
	assert_int_equal(damage.rects[0].height, 20);
	assert_int_equal(old.pixels[19 * 83 + 82], 19 * 90 + 82);
	/* Nothing has changed: not what means nothing, and not what is between the rows. */
	for (unsigned i = 0; i < ARRAY_SIZE(memory); i++)
		memory[i] ^= i % 90 < 83 ? i << 24 : 0x123;
	damage.count = 0;
	assert_int_equal(surface_update(&old, &view, record, &damage), 0);
	/* Each pixel counts. */
	for (unsigned x = 0; x < 83; x++) {
		memory[90 * 17 + x] ^= 0x8000;
		damage.count = 0;
		assert_int_equal(surface_update(&old, &view, record, &damage), 1);
		assert_int_equal(damage.rects[0].x, x / 64 * 64);
		assert_int_equal(damage.rects[0].y, 16);
		assert_int_equal(old.pixels[83 * 17 + x], memory[90 * 17 + x] & 0xffffff);
	}
	view.width = SURFACE_MAX_WIDTH + 1;
	assert_int_equal(surface_update(&old, &view, record, &damage), -EINVAL);
	surface_finish(&old);
}

static void test_bounds(void **context)
{
	struct surface surface = { 0 };

	(void)context;
	assert_int_equal(surface_resize(&surface, SURFACE_MAX_WIDTH + 1, 1), -EINVAL);
	assert_int_equal(surface.width, 0);
	assert_int_equal(surface_resize(&surface, 0, 0), 0);
	surface_fill(&surface, 1);
	surface_finish(&surface);
}

static void test_edid(void **context)
{
	uint8_t edid[EDID_SIZE], sum = 0;
	unsigned clock, width, height;

	(void)context;
	edid_describe(edid, 1280, 800);
	for (unsigned i = 0; i < EDID_SIZE; i++)
		sum += edid[i];
	assert_int_equal(sum, 0);
	width = edid[56] | (edid[58] & 0xf0) << 4;
	height = edid[59] | (edid[61] & 0xf0) << 4;
	clock = edid[54] | edid[55] << 8;
	assert_int_equal(width, 1280);
	assert_int_equal(height, 800);
	/* CVT 1.2 gives 71.00 MHz for 1280x800 with reduced blanking at 60 Hz: 1440 by 823. */
	assert_int_equal(edid[60], 23);
	assert_in_range(clock, 7090, 7115);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_view),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_edid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
