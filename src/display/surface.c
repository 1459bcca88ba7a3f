#include "display/surface.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int surface_resize(struct surface *surface, uint32_t width, uint32_t height)
{
	size_t pixels = (size_t)width * height;

	surface->width = surface->height = 0;
	if (width > SURFACE_MAX_WIDTH || height > SURFACE_MAX_HEIGHT)
		return -EINVAL;
	if (pixels > surface->room) {
		free(surface->pixels);
		surface->room = 0;
		surface->pixels = malloc(pixels * sizeof(*surface->pixels));
		if (!surface->pixels)
			return -ENOMEM;
		surface->room = pixels;
	}
	surface->width = width;
	surface->height = height;
	return 0;
}

void surface_finish(struct surface *surface)
{
	free(surface->pixels);
	memset(surface, 0, sizeof(*surface));
}

void surface_fill(struct surface *surface, uint32_t pixel)
{
	size_t pixels = (size_t)surface->width * surface->height;

	for (size_t i = 0; i < pixels; i++)
		surface->pixels[i] = pixel;
}

int surface_copy(struct surface *to, const struct surface *from)
{
	int rc = surface_resize(to, from->width, from->height);

	if (rc == 0 && from->width && from->height)
		memcpy(to->pixels, from->pixels,
			(size_t)from->width * from->height * sizeof(*from->pixels));
	return rc;
}

#define PIXELS      UINT64_C(0x00ffffff00ffffff) /* two of them without what may be anything */
#define BLOCK_PAIRS 8

/* Of 16 pixels at a time, without a branch between them. */
static bool pixels_differ(const uint32_t *old, const uint8_t *now, uint32_t count)
{
	uint32_t x = 0;

	for (; x + 2 * BLOCK_PAIRS <= count; x += 2 * BLOCK_PAIRS) {
		uint64_t was[BLOCK_PAIRS], is[BLOCK_PAIRS], differs = 0;

		memcpy(was, old + x, sizeof(was));
		memcpy(is, now + (size_t)x * 4, sizeof(is));
		for (unsigned i = 0; i < BLOCK_PAIRS; i++)
			differs |= was[i] ^ is[i];
		if (differs & PIXELS)
			return true;
	}
	for (; x < count; x++) {
		uint32_t is;

		memcpy(&is, now + (size_t)x * 4, sizeof(is));
		if ((old[x] ^ is) & (uint32_t)PIXELS)
			return true;
	}
	return false;
}

static void copy_pixels(uint32_t *to, const uint8_t *from, uint32_t count)
{
	uint32_t x = 0;

	for (; x + 2 <= count; x += 2) {
		uint64_t pair;

		memcpy(&pair, from + (size_t)x * 4, sizeof(pair));
		pair &= PIXELS;
		memcpy(&to[x], &pair, sizeof(pair));
	}
	if (x < count) {
		memcpy(&to[x], from + (size_t)x * 4, sizeof(*to));
		to[x] &= (uint32_t)PIXELS;
	}
}

static const uint8_t *view_at(const struct surface_view *view, uint32_t x, uint32_t y)
{
	return view->pixels + y * view->pitch + (size_t)x * 4;
}

/* One tile: true if it differed. */
static bool update_tile(
	struct surface *old, const struct surface_view *now, const struct surface_rect *tile)
{
	bool differs = false;

	for (uint32_t y = tile->y; y < tile->y + tile->height; y++) {
		uint32_t *was = &old->pixels[(size_t)y * old->width + tile->x];
		const uint8_t *is = view_at(now, tile->x, y);

		if (!differs && !pixels_differ(was, is, tile->width))
			continue;
		differs = true;
		copy_pixels(was, is, tile->width);
	}
	return differs;
}

/* Most of a screen stays as it is, and is found so in one go: where the uppermost bytes are 0, by
 * the fastest that the C library has. */
static bool rows_differ(
	const struct surface *old, const struct surface_view *now, uint32_t from, uint32_t count)
{
	for (uint32_t y = from; y < from + count; y++) {
		const uint32_t *was = &old->pixels[(size_t)y * old->width];
		const uint8_t *is = view_at(now, 0, y);

		if (memcmp(was, is, old->width * sizeof(*was)) != 0 &&
			pixels_differ(was, is, old->width))
			return true;
	}
	return false;
}

static unsigned update_tiles(struct surface *old, const struct surface_view *now, uint32_t y,
	uint32_t height, surface_damaged_fn *damaged, void *context)
{
	struct surface_rect run = { .y = y, .height = height }, tile = run;
	unsigned count = 0;

	for (; tile.x < now->width; tile.x += SURFACE_TILE_WIDTH) {
		tile.width = now->width - tile.x;
		if (tile.width > SURFACE_TILE_WIDTH)
			tile.width = SURFACE_TILE_WIDTH;
		if (update_tile(old, now, &tile)) {
			if (!run.width)
				run.x = tile.x;
			run.width = tile.x + tile.width - run.x;
		} else if (run.width) {
			damaged(context, &run);
			count++;
			run.width = 0;
		}
	}
	if (run.width) {
		damaged(context, &run);
		count++;
	}
	return count;
}

static int become(struct surface *old, const struct surface_view *now, surface_damaged_fn *damaged,
	void *context)
{
	int rc = surface_resize(old, now->width, now->height);

	if (rc < 0)
		return rc;
	for (uint32_t y = 0; y < now->height; y++)
		copy_pixels(&old->pixels[(size_t)y * old->width], view_at(now, 0, y), now->width);
	damaged(context, &(struct surface_rect){ .width = now->width, .height = now->height });
	return 1;
}

int surface_update(struct surface *old, const struct surface_view *now, surface_damaged_fn *damaged,
	void *context)
{
	unsigned count = 0;

	if (old->width != now->width || old->height != now->height)
		return become(old, now, damaged, context);
	for (uint32_t y = 0; y < now->height; y += SURFACE_TILE_HEIGHT) {
		uint32_t height = now->height - y;

		if (height > SURFACE_TILE_HEIGHT)
			height = SURFACE_TILE_HEIGHT;
		if (rows_differ(old, now, y, height))
			count += update_tiles(old, now, y, height, damaged, context);
	}
	return (int)count;
}

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
	return hash;
}

uint64_t surface_hash(const struct surface *surface)
{
	uint64_t hash = hash_bytes(UINT64_C(0xcbf29ce484222325), surface, 8);

	return hash_bytes(hash, surface->pixels,
		(size_t)surface->width * surface->height * sizeof(*surface->pixels));
}
