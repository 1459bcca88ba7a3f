#include "display/png.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define FILTER_UP 2 /* a row is its difference from the one above: bars and text compress well */

static void put_u32(uint8_t *to, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		to[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void write_chunk(FILE *file, const char *type, const uint8_t *bytes, uint32_t size)
{
	uint8_t word[4];
	uLong crc = crc32(crc32(0, NULL, 0), (const uint8_t *)type, 4);

	if (size)
		crc = crc32(crc, bytes, size);
	put_u32(word, size);
	fwrite(word, 1, 4, file);
	fwrite(type, 1, 4, file);
	fwrite(bytes, 1, size, file);
	put_u32(word, (uint32_t)crc);
	fwrite(word, 1, 4, file);
}

static void unpack_row(const uint32_t *pixels, uint32_t width, uint8_t *row)
{
	for (uint32_t x = 0; x < width; x++) {
		row[3 * x] = (uint8_t)(pixels[x] >> 16);
		row[3 * x + 1] = (uint8_t)(pixels[x] >> 8);
		row[3 * x + 2] = (uint8_t)pixels[x];
	}
}

/* All rows, filtered: a byte that names the filter, then the row. */
static void filter_rows(const struct surface *surface, uint8_t *rows, uint8_t *row, uint8_t *above)
{
	size_t bytes = (size_t)surface->width * 3;

	memset(above, 0, bytes);
	for (uint32_t y = 0; y < surface->height; y++) {
		uint8_t *swap = above;

		unpack_row(surface->pixels + (size_t)y * surface->width, surface->width, row);
		*rows++ = FILTER_UP;
		for (size_t i = 0; i < bytes; i++)
			*rows++ = (uint8_t)(row[i] - above[i]);
		above = row;
		row = swap;
	}
}

static int write_picture(FILE *file, const struct surface *surface, uint8_t *rows, size_t size)
{
	static const uint8_t signature[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
	uint8_t header[13] = { [8] = 8, [9] = 2 }; /* 8 bits of red, green, blue */
	uLongf packed_size = compressBound(size);
	uint8_t *packed = malloc(packed_size);

	if (!packed)
		return -ENOMEM;
	compress2(packed, &packed_size, rows, size, Z_BEST_SPEED);
	put_u32(header, surface->width);
	put_u32(header + 4, surface->height);
	fwrite(signature, 1, sizeof(signature), file);
	write_chunk(file, "IHDR", header, sizeof(header));
	write_chunk(file, "IDAT", packed, (uint32_t)packed_size);
	write_chunk(file, "IEND", NULL, 0);
	free(packed);
	if (fflush(file) || ferror(file))
		return errno ? -errno : -EIO;
	return 0;
}

int png_write(FILE *file, const struct surface *surface)
{
	size_t row = (size_t)surface->width * 3, size = (row + 1) * surface->height;
	uint8_t *rows;
	int rc;

	if (size == 0)
		return -EINVAL;
	rows = malloc(size + 2 * row);
	if (!rows)
		return -ENOMEM;
	filter_rows(surface, rows, rows + size, rows + size + row);
	rc = write_picture(file, surface, rows, size);
	free(rows);
	return rc;
}
