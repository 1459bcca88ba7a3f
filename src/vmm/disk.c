#include "vmm/disk.h"

#include "virtio/virtio_blk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DISK_KEYS                                                                                  \
	"format, readonly, serial, queues, cache, aio, discard, on-error, iops, bps, transitional"

struct word {
	const char *word;
	int value;
};

static const struct word caches[] = {
	{ "writeback", BLOCK_CACHE_WRITEBACK },
	{ "none", BLOCK_CACHE_NONE },
	{ "writethrough", BLOCK_CACHE_WRITETHROUGH },
	{ "directsync", BLOCK_CACHE_DIRECTSYNC },
	{ "unsafe", BLOCK_CACHE_UNSAFE },
	{ NULL, 0 },
};

static const struct word aios[] = {
	{ "auto", BLOCK_AIO_AUTO },
	{ "io_uring", BLOCK_AIO_IO_URING },
	{ "threads", BLOCK_AIO_THREADS },
	{ NULL, 0 },
};

static const struct word error_policies[] = {
	{ "report", BLOCK_ON_ERROR_REPORT },
	{ "stop", BLOCK_ON_ERROR_STOP },
	{ "enospc", BLOCK_ON_ERROR_ENOSPC },
	{ "ignore", BLOCK_ON_ERROR_IGNORE },
	{ NULL, 0 },
};

static int take_word(struct properties *properties, const char *key, const struct word *words,
	int *value, struct error *err)
{
	const char *text = properties_take(properties, key);
	char known[96] = "";

	if (!text)
		return 0;
	for (const struct word *at = words; at->word; at++) {
		if (strcmp(at->word, text) == 0) {
			*value = at->value;
			return 0;
		}
		if (at != words)
			strncat(known, " ", sizeof(known) - strlen(known) - 1);
		strncat(known, at->word, sizeof(known) - strlen(known) - 1);
	}
	return error_set(err, EXIT_CODE_USAGE, "--disk does not know %s=%s; use one of: %s", key,
		text, known);
}

static int take_format(struct disk_options *options, struct error *err)
{
	const char *format = properties_take(&options->properties, "format");

	if (!format)
		return error_set(err, EXIT_CODE_USAGE,
			"--disk %s does not say the image's format, which is never guessed; add "
			"format=raw or format=qcow2",
			options->block.path);
	if (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0)
		return error_set(err, EXIT_CODE_USAGE,
			"--disk %s cannot have format=%s; use format=raw or format=qcow2",
			options->block.path, format);
	options->block.format = format;
	return 0;
}

static int take_words(struct disk_options *options, struct error *err)
{
	struct properties *properties = &options->properties;
	int cache = BLOCK_CACHE_WRITEBACK, aio = BLOCK_AIO_AUTO, policy = -1;

	if (take_word(properties, "cache", caches, &cache, err) ||
		take_word(properties, "aio", aios, &aio, err) ||
		take_word(properties, "on-error", error_policies, &policy, err))
		return -EINVAL;
	options->block.cache = (enum block_cache)cache;
	options->block.aio = (enum block_aio)aio;
	/* A full host is the one failure that waiting can mend. */
	options->block.on_read_error =
		policy < 0 ? BLOCK_ON_ERROR_REPORT : (enum block_on_error)policy;
	options->block.on_write_error =
		policy < 0 ? BLOCK_ON_ERROR_ENOSPC : (enum block_on_error)policy;
	return 0;
}

static int take_numbers(struct disk_options *options, struct error *err)
{
	struct properties *properties = &options->properties;
	uint64_t queues = 0;
	bool discard = true;

	if (properties_take_bool(properties, "readonly", &options->block.read_only, err) ||
		properties_take_bool(properties, "transitional", &options->transitional, err) ||
		properties_take_bool(properties, "discard", &discard, err) ||
		properties_take_number(
			properties, "queues", 1, VIRTIO_BLK_MAX_QUEUES, &queues, err) ||
		properties_take_number(properties, "iops", 0, UINT32_MAX,
			&options->block.limits.requests.per_s, err) ||
		properties_take_size(properties, "bps", &options->block.limits.bytes.per_s, err))
		return -EINVAL;
	options->block.ignore_discard = !discard;
	options->queues = (unsigned)queues;
	return 0;
}

int disk_options_parse(struct disk_options *options, const char *text, struct error *err)
{
	memset(options, 0, sizeof(*options));
	if (properties_parse(&options->properties, "disk", text, err))
		return -EINVAL;
	options->block.path = options->properties.word;
	if (!options->block.path)
		return error_set(err, EXIT_CODE_USAGE,
			"--disk does not name an image; begin with its path, such as --disk "
			"a.img,format=raw");
	options->serial = properties_take(&options->properties, "serial");
	if (options->serial && strlen(options->serial) > VIRTIO_BLK_ID_BYTES)
		return error_set(err, EXIT_CODE_USAGE,
			"--disk %s has a serial number of more than %u bytes; shorten it",
			options->block.path, VIRTIO_BLK_ID_BYTES);
	if (take_format(options, err) || take_words(options, err) || take_numbers(options, err))
		return -EINVAL;
	return properties_check(&options->properties, DISK_KEYS, err);
}

void disk_options_finish(struct disk_options *options)
{
	properties_finish(&options->properties);
}

/* On whatever thread resized the image. */
static void disk_resized(void *context, uint64_t bytes)
{
	struct disk *disk = context;

	machine_lock(disk->machine);
	if (disk->device)
		virtio_blk_resized(disk->device, bytes);
	machine_unlock(disk->machine);
}

static void disk_stopped(void *context, const struct error *why)
{
	struct disk *disk = context;

	if (disk->stopped)
		disk->stopped(disk->context, why);
}

int disk_create(struct disk *disk, unsigned index, const char *text, struct board *board, bool hot,
	void (*stopped)(void *context, const struct error *why), void *context, struct error *err)
{
	const struct block_events events = {
		.resized = disk_resized, .stopped = disk_stopped, .context = disk
	};
	struct virtio_blk_config config = { .name = disk->name };
	unsigned queues = board->machine->nr_vcpus;
	int rc;

	memset(disk, 0, sizeof(*disk));
	snprintf(disk->name, sizeof(disk->name), "disk%u", index);
	disk->machine = board->machine;
	disk->stopped = stopped;
	disk->context = context;
	rc = disk_options_parse(&disk->options, text, err);
	if (rc == 0)
		rc = block_device_open(&disk->image, &disk->options.block, &events, err);
	if (rc < 0)
		return rc;
	if (queues > DISK_DEFAULT_QUEUES)
		queues = DISK_DEFAULT_QUEUES;
	config.machine = disk->machine;
	config.image = disk->image;
	config.serial = disk->options.serial;
	config.nr_queues = disk->options.queues ? disk->options.queues : queues;
	rc = virtio_blk_create(&disk->device, &config, err);
	if (rc == 0)
		rc = virtio_pci_create(
			&disk->transport, disk->device, disk->options.transitional, err);
	if (rc == 0)
		rc = virtio_pci_plug(disk->transport, board_pci(board), PCI_ANY_DEVICE, hot, err);
	return rc;
}

void disk_destroy(struct disk *disk)
{
	if (disk->transport)
		virtio_pci_unplug(disk->transport);
	virtio_blk_destroy(disk->device);
	virtio_pci_destroy(disk->transport);
	block_device_close(disk->image);
	disk_options_finish(&disk->options);
	memset(disk, 0, sizeof(*disk));
}
