/*
 * What a screen shows: rows of 32-bit pixels, and where two pictures of it differ. Whoever owns a
 * surface says which thread uses it.
 */
#ifndef DISPLAY_SURFACE_H
#define DISPLAY_SURFACE_H

#include "base/types.h"

#define SURFACE_MAX_WIDTH  4096
#define SURFACE_MAX_HEIGHT 4096

/* Damage is found by tiles of so many pixels. */
#define SURFACE_TILE_WIDTH  64
#define SURFACE_TILE_HEIGHT 16

struct surface {
	uint32_t width, height; /* 0: nothing is shown */
	uint32_t *pixels;       /* 0x00RRGGBB, `width` of them a row */
	size_t room;            /* pixels that fit */
};

struct surface_rect {
	uint32_t x, y, width, height;
};

/* A zeroed surface is empty. The pixels are undefined afterwards. Returns 0, -EINVAL for a size
 * beyond the greatest, or -ENOMEM, both of which leave an empty surface. */
int surface_resize(struct surface *surface, uint32_t width, uint32_t height);
void surface_finish(struct surface *surface);

void surface_fill(struct surface *surface, uint32_t pixel);

/* Makes `to` the same as `from`. Returns as surface_resize. */
int surface_copy(struct surface *to, const struct surface *from);

/*
 * Brings `old`, which has the size of `now`, up to date, and calls `damaged` for each rectangle
 * that differed: runs of tiles in one row of them. Returns their number.
 */
unsigned surface_update(struct surface *old, const struct surface *now,
	void (*damaged)(void *context, const struct surface_rect *rect), void *context);

/* FNV-1a over size and pixels: pictures are compared by it in tests. */
uint64_t surface_hash(const struct surface *surface);

#endif
