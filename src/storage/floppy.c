/*
 * Formats are those that DOS gave disks, by their size: an image has no other mark. Sectors are in
 * the order of cylinder, head and number. Those of 5.25 inch disks are told as if a 3.5 inch disk
 * were formatted so.
 */
#include "storage/floppy.h"

#include "base/bits.h"

static const struct floppy_format formats[] = {
	{ 160 << 10, 40, 1, 8, FLOPPY_RATE_250K },
	{ 180 << 10, 40, 1, 9, FLOPPY_RATE_250K },
	{ 320 << 10, 40, 2, 8, FLOPPY_RATE_250K },
	{ 360 << 10, 40, 2, 9, FLOPPY_RATE_250K },
	{ 640 << 10, 80, 2, 8, FLOPPY_RATE_250K },
	{ 720 << 10, 80, 2, 9, FLOPPY_RATE_250K },
	{ 1200 << 10, 80, 2, 15, FLOPPY_RATE_500K },
	{ 1440 << 10, 80, 2, 18, FLOPPY_RATE_500K },
	{ 1680 << 10, 80, 2, 21, FLOPPY_RATE_500K },
	{ 1722 << 10, 82, 2, 21, FLOPPY_RATE_500K },
	{ 2880 << 10, 80, 2, 36, FLOPPY_RATE_1M },
};

const struct floppy_format *floppy_format_find(uint64_t bytes)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		if (formats[i].bytes == bytes)
			return &formats[i];
	}
	return NULL;
}

int floppy_insert(struct floppy *floppy, struct block_device *image, struct error *err)
{
	const struct floppy_format *format = floppy_format_find(block_device_size(image));
	int rc;

	if (!format)
		return error_set(err, EXIT_CODE_CONFIG,
			"'%s' has %llu bytes, which no floppy disk has; there are disks of 160K, "
			"180K, 320K, 360K, 640K, 720K, 1200K, 1440K, 1680K, 1722K and 2880K: "
			"truncate -s 1440K makes it one",
			block_device_path(image), (unsigned long long)block_device_size(image));
	if (format->rate == FLOPPY_RATE_1M && !floppy->extra_density)
		return error_set(err, EXIT_CODE_CONFIG,
			"'%s' is a disk of 2880K, which the drive %s cannot read; start the "
			"machine with it",
			block_device_path(image), floppy->drive.name);
	if (block_device_geometry(image)->logical_block_bytes > FLOPPY_SECTOR)
		return error_set(err, EXIT_CODE_CONFIG,
			"'%s' is on a host disk whose blocks are larger than a sector; leave "
			"cache=none out",
			block_device_path(image));
	rc = drive_insert(&floppy->drive, image, 1, err);
	if (rc == 0)
		floppy->format = format;
	return rc;
}

struct block_device *floppy_remove(struct floppy *floppy)
{
	floppy->format = NULL;
	return drive_remove(&floppy->drive);
}
