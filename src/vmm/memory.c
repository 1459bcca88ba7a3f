#include "vmm/memory.h"

#include "base/properties.h"
#include "virtio/virtio_pmem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux maps persistent memory by pages of this size. */
#define PMEM_ALIGNMENT (UINT64_C(2) << 20)

struct pmem_file {
	int fd;
	uint64_t bytes;
	bool read_only;
};

static int open_file(struct pmem_file *file, const char *path, bool read_only, struct error *err)
{
	struct stat status;

	file->read_only = read_only;
	file->fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (file->fd < 0)
		return error_set_errno(err, EXIT_CODE_NO_FILE, errno,
			"cannot open '%s' as persistent memory", path);
	if (fstat(file->fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size == 0 ||
		(uint64_t)status.st_size % PMEM_ALIGNMENT != 0) {
		close(file->fd);
		return error_set(err, EXIT_CODE_BAD_FILE,
			"--pmem needs a file whose size is a multiple of 2 MiB, which '%s' is not; "
			"make one with 'truncate -s 1G FILE'",
			path);
	}
	file->bytes = (uint64_t)status.st_size;
	return 0;
}

/* FILE[,readonly=on] */
static int parse_file(struct pmem_file *file, const char *value, struct error *err)
{
	struct properties properties;
	bool read_only = false;
	int rc = properties_parse(&properties, "pmem", value, err);

	if (rc < 0)
		return rc;
	rc = properties_take_bool(&properties, "readonly", &read_only, err);
	if (rc == 0)
		rc = properties_check(&properties, "readonly", err);
	if (rc == 0 && !properties.word)
		rc = error_set(err, EXIT_CODE_USAGE,
			"--pmem must begin with a file, such as --pmem data.img");
	if (rc == 0)
		rc = open_file(file, properties.word, read_only, err);
	properties_finish(&properties);
	return rc;
}

int memory_device_bytes(const struct vm_config *config, uint64_t *bytes, struct error *err)
{
	*bytes = 0;
	if (config->memory_max_bytes > config->memory_bytes)
		*bytes += align_up(config->memory_max_bytes - config->memory_bytes,
			BOARD_DEVICE_MEMORY_ALIGNMENT);
	for (unsigned i = 0; i < config->nr_pmems; i++) {
		struct pmem_file file;
		int rc = parse_file(&file, config->pmems[i], err);

		if (rc < 0)
			return rc;
		close(file.fd);
		*bytes += align_up(file.bytes, BOARD_DEVICE_MEMORY_ALIGNMENT);
	}
	return 0;
}

int memory_create(struct virtio_mem **mem, const char *name, const struct vm_config *config,
	struct board *board, struct error *err)
{
	struct virtio_mem_config device = { .name = name,
		.machine = board->machine,
		.bytes = align_up(
			config->memory_max_bytes - config->memory_bytes, VIRTIO_MEM_BLOCK_BYTES) };

	device.base = board_take_device_memory(board, device.bytes, err);
	if (!device.base ||
		guest_memory_add_device(&board->machine->memory, device.base, device.bytes, err))
		return -EINVAL;
	return virtio_mem_create(mem, &device, err);
}

int memory_create_pmem(struct virtio_device **device, const char *name, const char *value,
	struct board *board, struct error *err)
{
	struct virtio_pmem_config config = { .name = name, .machine = board->machine };
	struct pmem_file file;
	int rc = parse_file(&file, value, err);

	if (rc < 0)
		return rc;
	config.base = board_take_device_memory(board, file.bytes, err);
	if (!config.base) {
		close(file.fd);
		return -EINVAL;
	}
	config.bytes = file.bytes;
	config.fd = file.fd;
	config.read_only = file.read_only;
	rc = guest_memory_add_file(
		&board->machine->memory, config.base, file.bytes, file.fd, file.read_only, err);
	return rc < 0 ? rc : virtio_pmem_create(device, &config, err);
}
