#include "vmm/disk.h"

#include "virtio/virtio_blk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FLOPPY_KEYS "format, boot, readonly, cache, aio, on-error, iops, iops-burst, bps, bps-burst"
#define DISK_KEYS                                                                                  \
	"format, bus, boot, readonly, serial, queues, cache, aio, discard, on-error, iops, "       \
	"iops-burst, bps, bps-burst, transitional"

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

static const struct word buses[] = {
	{ "virtio", DISK_BUS_VIRTIO },
	{ "nvme", DISK_BUS_NVME },
	{ "ahci", DISK_BUS_AHCI },
	{ "sata", DISK_BUS_AHCI },
	{ "ide", DISK_BUS_IDE },
	{ "usb", DISK_BUS_USB },
	{ NULL, 0 },
};

static const struct word optical_buses[] = {
	{ "ahci", DISK_BUS_AHCI },
	{ "sata", DISK_BUS_AHCI },
	{ "ide", DISK_BUS_IDE },
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
	return error_set(err, EXIT_CODE_USAGE, "--%s does not know %s=%s; use one of: %s",
		properties->option, key, text, known);
}

static int take_format(struct disk_options *options, struct error *err)
{
	const char *format = properties_take(&options->properties, "format");

	if (!format && (options->is_optical || options->is_floppy))
		format = "raw";
	if (!format)
		return error_set(err, EXIT_CODE_USAGE,
			"--disk %s does not say the image's format, which is never guessed; add "
			"format=raw or format=qcow2",
			options->block.path);
	if (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0)
		return error_set(err, EXIT_CODE_USAGE,
			"--%s %s cannot have format=%s; use format=raw or format=qcow2",
			options->properties.option, options->block.path, format);
	options->block.format = format;
	return 0;
}

static int take_words(struct disk_options *options, struct error *err)
{
	struct properties *properties = &options->properties;
	int cache = BLOCK_CACHE_WRITEBACK, aio = BLOCK_AIO_AUTO, policy = -1;
	int bus = options->is_optical ? DISK_BUS_CHIPSET : DISK_BUS_VIRTIO;

	if (!options->is_floppy && take_word(properties, "bus",
					   options->is_optical ? optical_buses : buses, &bus, err))
		return -EINVAL;
	options->bus = (enum disk_bus)bus;
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
	uint64_t queues = 0, boot = 0;
	bool discard = true;

	if (!options->is_floppy &&
		(properties_take_bool(properties, "transitional", &options->transitional, err) ||
			properties_take_bool(properties, "discard", &discard, err) ||
			properties_take_number(
				properties, "queues", 1, VIRTIO_BLK_MAX_QUEUES, &queues, err)))
		return -EINVAL;
	if (properties_take_bool(properties, "readonly", &options->block.read_only, err) ||
		properties_take_number(properties, "boot", 1, 99, &boot, err) ||
		properties_take_number(properties, "iops", 0, UINT32_MAX,
			&options->block.limits.requests.per_s, err) ||
		properties_take_number(properties, "iops-burst", 0, UINT32_MAX,
			&options->block.limits.requests.burst, err) ||
		properties_take_size(properties, "bps", &options->block.limits.bytes.per_s, err) ||
		properties_take_size(
			properties, "bps-burst", &options->block.limits.bytes.burst, err))
		return -EINVAL;
	if ((options->block.limits.requests.burst && !options->block.limits.requests.per_s) ||
		(options->block.limits.bytes.burst && !options->block.limits.bytes.per_s))
		return error_set(err, EXIT_CODE_USAGE,
			"--%s %s has a burst without a rate; give iops or bps too",
			properties->option, options->block.path);
	options->block.ignore_discard = !discard;
	options->queues = (unsigned)queues;
	options->boot = (unsigned)boot;
	if (options->is_optical)
		options->block.read_only = true;
	if (options->bus != DISK_BUS_VIRTIO && (options->queues || options->transitional))
		return error_set(err, EXIT_CODE_USAGE,
			"--%s %s has queues or transitional, which belong to bus=virtio; leave "
			"them out",
			properties->option, options->block.path);
	return 0;
}

bool disk_options_are_empty(const struct disk_options *options)
{
	return (options->is_optical || options->is_floppy) &&
	       strcmp(options->block.path, "none") == 0;
}

int disk_options_parse(
	struct disk_options *options, const char *option, const char *text, struct error *err)
{
	memset(options, 0, sizeof(*options));
	options->is_optical = strcmp(option, "cdrom") == 0;
	options->is_floppy = strcmp(option, "floppy") == 0;
	if (properties_parse(&options->properties, option, text, err))
		return -EINVAL;
	options->block.path = options->properties.word;
	if (!options->block.path && (options->is_optical || options->is_floppy))
		return error_set(err, EXIT_CODE_USAGE,
			"--%s does not name an image; begin with its path, or with 'none' for an "
			"empty drive",
			option);
	if (!options->block.path)
		return error_set(err, EXIT_CODE_USAGE,
			"--disk does not name an image; begin with its path, such as "
			"--disk a.img,format=raw");
	if (!options->is_floppy)
		options->serial = properties_take(&options->properties, "serial");
	if (options->serial && strlen(options->serial) > VIRTIO_BLK_ID_BYTES)
		return error_set(err, EXIT_CODE_USAGE,
			"--%s %s has a serial number of more than %u bytes; shorten it",
			options->properties.option, options->block.path, VIRTIO_BLK_ID_BYTES);
	if (take_format(options, err) || take_words(options, err) || take_numbers(options, err))
		return -EINVAL;
	return properties_check(
		&options->properties, options->is_floppy ? FLOPPY_KEYS : DISK_KEYS, err);
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
	if (disk->nvme)
		nvme_resized(disk->nvme);
	machine_unlock(disk->machine);
}

static void disk_stopped(void *context, const struct error *why)
{
	struct disk *disk = context;

	if (disk->stopped)
		disk->stopped(disk->context, why);
}

int disk_resize(struct disk *disk, uint64_t bytes, struct error *err)
{
	if (!disk->device && !disk->nvme)
		return error_set(err, EXIT_CODE_CONFIG,
			"the drive '%s' cannot change its size while the guest runs; disks of "
			"bus=virtio "
			"and bus=nvme can",
			disk->name);
	if (disk->options.block.read_only)
		return error_set(err, EXIT_CODE_CONFIG, "the disk '%s' is read-only", disk->name);
	/* Less would be taken away under the guest's file system. */
	if (bytes < block_device_size(disk->image))
		return error_set(err, EXIT_CODE_USAGE,
			"the disk '%s' has %llu MiB, and only grows while the guest runs",
			disk->name, (unsigned long long)block_device_size(disk->image) >> 20);
	return block_device_resize(disk->image, bytes, err);
}

static const char *model_of(const struct disk *disk)
{
	return disk->options.is_optical ? "ATOLL DVD-ROM" : "ATOLL HARDDISK";
}

static int create_virtio(struct disk *disk, struct board *board, bool hot, struct error *err)
{
	struct virtio_blk_config config = { .name = disk->name,
		.machine = disk->machine,
		.image = disk->image,
		.serial = disk->options.serial };
	unsigned queues = board->machine->nr_vcpus;
	int rc;

	if (queues > DISK_DEFAULT_QUEUES)
		queues = DISK_DEFAULT_QUEUES;
	config.nr_queues = disk->options.queues ? disk->options.queues : queues;
	rc = virtio_blk_create(&disk->device, &config, err);
	if (rc == 0)
		rc = virtio_pci_create(
			&disk->transport, disk->device, disk->options.transitional, err);
	if (rc == 0)
		rc = virtio_pci_plug(disk->transport, board_pci(board), PCI_ANY_DEVICE, hot, err);
	if (rc == 0)
		disk->function = &disk->transport->function;
	return rc;
}

static int create_nvme(struct disk *disk, struct board *board, bool hot, struct error *err)
{
	const struct nvme_config config = { .name = disk->name,
		.machine = disk->machine,
		.image = disk->image,
		.serial = disk->options.serial ? disk->options.serial : disk->name };
	int rc = nvme_create(&disk->nvme, &config, err);

	if (rc < 0)
		return rc;
	machine_lock(disk->machine);
	rc = pci_plug(board_pci(board), nvme_function(disk->nvme), PCI_ANY_DEVICE, hot, err);
	machine_unlock(disk->machine);
	if (rc == 0)
		disk->function = nvme_function(disk->nvme);
	return rc;
}

static int create_ata(struct disk *disk, struct board *board, struct controllers *controllers,
	bool hot, struct error *err)
{
	const struct ata_identity identity = {
		.serial = disk->options.serial ? disk->options.serial : disk->name,
		.model = model_of(disk),
		.is_packet = disk->options.is_optical,
	};
	const struct controller *controller;
	int rc;

	if (hot)
		return error_set(err, EXIT_CODE_USAGE,
			"a drive cannot be plugged into an IDE or AHCI controller while the "
			"machine runs; use bus=virtio or bus=nvme");
	rc = controllers_attach(controllers, board, disk->options.bus, disk->name, &identity,
		disk->image, &disk->ata, &controller, &disk->port, err);
	if (rc == 0)
		disk->function = controller->function;
	return rc;
}

static int create_usb(struct disk *disk, struct board *board, struct controllers *controllers,
	bool hot, struct error *err)
{
	struct usb *usb = &controllers->usb;

	if (hot && !usb->xhci)
		return error_set(err, EXIT_CODE_USAGE,
			"this machine has no USB; start it with --usb, or use bus=virtio");
	if (usb_storage_create(&disk->usb, disk->name, disk->options.serial, disk->machine,
		    disk->image, err) ||
		usb_add(usb, board, &disk->usb->device, disk->name, err))
		return -EINVAL;
	machine_lock(disk->machine);
	snprintf(disk->usb_name, sizeof(disk->usb_name), "%s-usb", disk->name);
	machine_add_device(disk->machine, &usb_storage_type, disk->usb_name, disk->usb);
	machine_unlock(disk->machine);
	disk->function = &usb->xhci->function;
	return 0;
}

static int open_image(struct disk *disk, struct block_device **image, struct error *err)
{
	const struct block_events events = {
		.resized = disk_resized, .stopped = disk_stopped, .context = disk
	};

	*image = NULL;
	if (disk_options_are_empty(&disk->options))
		return 0;
	return block_device_open(image, &disk->options.block, &events, err);
}

int disk_create(struct disk *disk, const char *name, bool is_optical, const char *text,
	struct board *board, struct controllers *controllers, bool hot,
	void (*stopped)(void *context, const struct error *why), void *context, struct error *err)
{
	int rc;

	memset(disk, 0, sizeof(*disk));
	snprintf(disk->name, sizeof(disk->name), "%s", name);
	disk->machine = board->machine;
	disk->stopped = stopped;
	disk->context = context;
	rc = disk_options_parse(&disk->options, is_optical ? "cdrom" : "disk", text, err);
	if (rc == 0)
		rc = open_image(disk, &disk->image, err);
	if (rc < 0)
		return rc;
	disk->options.bus = controllers_bus(board, disk->options.bus);
	switch (disk->options.bus) {
	case DISK_BUS_VIRTIO: return create_virtio(disk, board, hot, err);
	case DISK_BUS_NVME: return create_nvme(disk, board, hot, err);
	case DISK_BUS_USB: return create_usb(disk, board, controllers, hot, err);
	default: return create_ata(disk, board, controllers, hot, err);
	}
}

void disk_destroy(struct disk *disk)
{
	if (disk->transport)
		virtio_pci_unplug(disk->transport);
	virtio_blk_destroy(disk->device);
	virtio_pci_destroy(disk->transport);
	if (disk->nvme) {
		machine_lock(disk->machine);
		if (nvme_function(disk->nvme)->host)
			pci_unplug(nvme_function(disk->nvme));
		machine_unlock(disk->machine);
		nvme_destroy(disk->nvme);
	}
	if (disk->usb) {
		usb_remove(disk->machine, &disk->usb->device);
		machine_lock(disk->machine);
		if (disk->usb_name[0])
			machine_remove_device(disk->machine, disk->usb);
		machine_unlock(disk->machine);
		usb_storage_destroy(disk->usb);
	}
	block_device_close(disk->image);
	disk_options_finish(&disk->options);
	memset(disk, 0, sizeof(*disk));
}

/* The old medium out, if the door lets it. */
static int take_out(struct disk *disk, bool force, struct error *err)
{
	struct block_device *image;

	machine_lock(disk->machine);
	if (!atapi_press_eject(disk->ata) && !force) {
		machine_unlock(disk->machine);
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"the guest has locked the door of %s, and was asked to open it; try again, "
			"or use --force",
			disk->name);
	}
	image = atapi_remove(disk->ata);
	machine_unlock(disk->machine);
	disk->image = NULL;
	block_device_close(image);
	return 0;
}

int disk_change_medium(struct disk *disk, const char *text, bool force, struct error *err)
{
	struct disk_options options, before = disk->options;
	struct block_device *image = NULL;
	int rc;

	if (!disk->options.is_optical)
		return error_set(err, EXIT_CODE_USAGE,
			"%s has no medium that can be changed; use an optical or floppy drive",
			disk->name);
	if (!text)
		return take_out(disk, force, err);
	rc = disk_options_parse(&options, "cdrom", text, err);
	disk->options = options;
	if (rc == 0)
		rc = open_image(disk, &image, err);
	disk->options = before;
	if (rc == 0)
		rc = take_out(disk, force, err);
	if (rc == 0 && image) {
		machine_lock(disk->machine);
		rc = atapi_insert(disk->ata, image, err);
		machine_unlock(disk->machine);
	}
	if (rc < 0) {
		block_device_close(image);
		disk_options_finish(&options);
		return rc;
	}
	options.bus = before.bus;
	disk_options_finish(&before);
	disk->options = options;
	disk->image = image;
	return 0;
}
