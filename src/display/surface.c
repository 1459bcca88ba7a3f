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

/* One tile: true if it differed. */
static bool update_tile(
	struct surface *old, const struct surface *now, const struct surface_rect *tile)
{
	size_t bytes = tile->width * sizeof(*now->pixels);
	bool differs = false;

	for (uint32_t y = tile->y; y < tile->y + tile->height; y++) {
		size_t at = (size_t)y * now->width + tile->x;

		if (!differs && memcmp(&old->pixels[at], &now->pixels[at], bytes) == 0)
			continue;
		differs = true;
		memcpy(&old->pixels[at], &now->pixels[at], bytes);
	}
	return differs;
}

unsigned surface_update(struct surface *old, const struct surface *now,
	void (*damaged)(void *context, const struct surface_rect *rect), void *context)
{
	unsigned count = 0;

	for (uint32_t y = 0; y < now->height; y += SURFACE_TILE_HEIGHT) {
		struct surface_rect run = { .y = y };
		struct surface_rect tile = { .y = y, .height = now->height - y };
		size_t at = (size_t)y * now->width;

		if (tile.height > SURFACE_TILE_HEIGHT)
			tile.height = SURFACE_TILE_HEIGHT;
		/* Most of a screen stays as it is, and is found so in one go. */
		if (memcmp(&old->pixels[at], &now->pixels[at],
			    (size_t)tile.height * now->width * sizeof(*now->pixels)) == 0)
			continue;
		run.height = tile.height;
		for (tile.x = 0; tile.x < now->width; tile.x += SURFACE_TILE_WIDTH) {
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
	}
	return count;
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
