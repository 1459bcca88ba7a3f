/*
 * A 3.5 inch floppy drive: what is in it, and how that is formatted.
 */
#ifndef STORAGE_FLOPPY_H
#define STORAGE_FLOPPY_H

#include "storage/drive.h"

#define FLOPPY_SECTOR      512
#define FLOPPY_MAX_SECTORS 36

/* As the controller's data rate select has them. */
enum floppy_rate { FLOPPY_RATE_500K, FLOPPY_RATE_300K, FLOPPY_RATE_250K, FLOPPY_RATE_1M };

struct floppy_format {
	uint32_t bytes;
	uint8_t cylinders, heads, sectors; /* sectors of a track */
	enum floppy_rate rate;
};

struct floppy {
	bool present;
	bool extra_density; /* a drive for 2.88 MB, else for 1.44 MB */
	struct drive drive;
	const struct floppy_format *format; /* of what is in it; NULL: nothing is */
};

/* The format of an image of so many bytes, or NULL. */
const struct floppy_format *floppy_format_find(uint64_t bytes);

/* The drive is empty and under its lock; the image is the caller's. Returns 0, or fills `err`. */
int floppy_insert(struct floppy *floppy, struct block_device *image, struct error *err);
/* Likewise. Returns what was in it. */
struct block_device *floppy_remove(struct floppy *floppy);

#endif
