#include "vmm/floppies.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define EXTRA_DENSITY_BYTES (2880u << 10)

static int open_image(const struct floppies *floppies, const struct disk_options *options,
	struct block_device **image, struct error *err)
{
	*image = NULL;
	if (disk_options_are_empty(options))
		return 0;
	return block_device_open(image, &options->block, &floppies->events, err);
}

static int insert(
	struct floppies *floppies, unsigned drive, struct block_device *image, struct error *err)
{
	int rc;

	machine_lock(floppies->board->machine);
	rc = i82077_insert(board_fdc(floppies->board), drive, image, err);
	machine_unlock(floppies->board->machine);
	return rc;
}

/* The old disk comes out, and is closed. */
static void empty(struct floppies *floppies, unsigned drive)
{
	struct floppies_item *item = &floppies->items[drive];

	if (!item->image)
		return;
	machine_lock(floppies->board->machine);
	i82077_remove(board_fdc(floppies->board), drive);
	machine_unlock(floppies->board->machine);
	block_device_close(item->image);
	item->image = NULL;
}

/* What is in the drive at first decides its kind: older systems know only that for 1440K. */
static int add(struct floppies *floppies, const char *text, struct error *err)
{
	unsigned drive = floppies->count++;
	struct floppies_item *item = &floppies->items[drive];
	struct block_device *image;
	bool extra_density;
	int rc = disk_options_parse(&item->options, "floppy", text, err);

	snprintf(item->name, sizeof(item->name), "floppy%u", drive);
	if (rc == 0)
		rc = open_image(floppies, &item->options, &image, err);
	if (rc < 0)
		return rc;
	extra_density = image && block_device_size(image) == EXTRA_DENSITY_BYTES;
	rc = i82077_plug(board_fdc(floppies->board), drive, item->name, extra_density, err);
	if (rc == 0 && image)
		rc = insert(floppies, drive, image, err);
	if (rc < 0) {
		block_device_close(image);
		return rc;
	}
	item->image = image;
	return 0;
}

int floppies_create(struct floppies *floppies, const struct vm_config *config, struct board *board,
	void (*stopped)(void *context, const struct error *why), void *context, struct error *err)
{
	floppies->board = board;
	floppies->events = (struct block_events){ .stopped = stopped, .context = context };
	if (config->nr_floppies > 0 && !board_fdc(board))
		return error_set(err, EXIT_CODE_CONFIG,
			"the board %s has no floppy drives; use --board pc", board->type->name);
	for (unsigned i = 0; i < config->nr_floppies; i++) {
		if (add(floppies, config->floppies[i], err))
			return -EINVAL;
	}
	return 0;
}

void floppies_destroy(struct floppies *floppies)
{
	for (unsigned i = 0; i < floppies->count; i++) {
		empty(floppies, i);
		disk_options_finish(&floppies->items[i].options);
	}
	floppies->count = 0;
}

int floppies_find(const struct floppies *floppies, const char *name)
{
	for (unsigned i = 0; i < floppies->count; i++) {
		if (strcmp(floppies->items[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

int floppies_change_medium(
	struct floppies *floppies, unsigned drive, const char *text, struct error *err)
{
	struct floppies_item *item = &floppies->items[drive];
	struct block_device *image = NULL, *before = item->image;
	struct disk_options options;
	int rc;

	if (!text) {
		empty(floppies, drive);
		return 0;
	}
	rc = disk_options_parse(&options, "floppy", text, err);
	if (rc == 0)
		rc = open_image(floppies, &options, &image, err);
	if (rc < 0) {
		disk_options_finish(&options);
		return rc;
	}
	machine_lock(floppies->board->machine);
	if (before)
		i82077_remove(board_fdc(floppies->board), drive);
	if (image)
		rc = i82077_insert(board_fdc(floppies->board), drive, image, err);
	/* It was in before, so it goes in again. */
	if (rc < 0 && before)
		i82077_insert(board_fdc(floppies->board), drive, before, NULL);
	machine_unlock(floppies->board->machine);
	if (rc < 0) {
		block_device_close(image);
		disk_options_finish(&options);
		return rc;
	}
	block_device_close(before);
	disk_options_finish(&item->options);
	item->options = options;
	item->image = image;
	return 0;
}
