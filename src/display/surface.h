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

/* A picture as it lies in a card's memory, which may change while somebody looks. */
struct surface_view {
	const uint8_t *pixels; /* words like a surface's, but their uppermost byte is anything */
	size_t pitch;          /* bytes from row to row */
	uint32_t width, height;
};

/* A zeroed surface is empty. The pixels are undefined afterwards. Returns 0, -EINVAL for a size
 * beyond the greatest, or -ENOMEM, both of which leave an empty surface. */
int surface_resize(struct surface *surface, uint32_t width, uint32_t height);
void surface_finish(struct surface *surface);

void surface_fill(struct surface *surface, uint32_t pixel);

/* Makes `to` the same as `from`. Returns as surface_resize. */
int surface_copy(struct surface *to, const struct surface *from);

static inline struct surface_view surface_view(const struct surface *surface)
{
	return (struct surface_view){ (const uint8_t *)surface->pixels,
		surface->width * sizeof(*surface->pixels), surface->width, surface->height };
}

/* Told of what differed: runs of tiles in one row of them, or all of it. */
typedef void surface_damaged_fn(void *context, const struct surface_rect *rect);

/*
 * Brings `old` up to date, and calls `damaged` for each rectangle that differed. One of another
 * size becomes a copy, all of which did. Returns the number of rectangles, or as surface_resize.
 */
int surface_update(struct surface *old, const struct surface_view *now, surface_damaged_fn *damaged,
	void *context);

/* FNV-1a over size and pixels: pictures are compared by it in tests. */
uint64_t surface_hash(const struct surface *surface);

#endif
