/*
 * A file that is loaded into a guest. Its content is not trusted. Of a large one only what is
 * looked at is read here; what the guest gets goes from the file to guest memory.
 */
#ifndef FIRMWARE_BOOT_IMAGE_H
#define FIRMWARE_BOOT_IMAGE_H

#include "base/bits.h"
#include "base/error.h"
#include "machine/memory.h"

#include <string.h>

struct boot_image {
	const char *path; /* for messages */
	const uint8_t
		*bytes; /* `size` of them; of a file, those that boot_image_has was asked for */
	uint64_t size;
	struct boot_source *source; /* the file; NULL: all bytes are there */
};

/* Kernels beyond this are refused: 1 GiB. */
#define BOOT_IMAGE_MAX (UINT64_C(1) << 30)

/* Opens the kernel at `path`. The image is freed by boot_image_finish. */
int boot_image_open(struct boot_image *image, const char *path, struct error *err);
void boot_image_finish(struct boot_image *image);

/* Reads the file up to `end`, which lies in it; false if it cannot be read. */
bool boot_source_reach(struct boot_source *source, uint64_t end);

/* True if the image holds bytes [offset, offset + size); they can be looked at then. */
static inline bool boot_image_has(const struct boot_image *image, uint64_t offset, uint64_t size)
{
	return offset <= image->size && size <= image->size - offset &&
	       (!image->source || boot_source_reach(image->source, offset + size));
}

/* The same, for bytes that are only copied. */
static inline bool boot_image_holds(const struct boot_image *image, uint64_t offset, uint64_t size)
{
	return offset <= image->size && size <= image->size - offset;
}

/* Copies bytes that the image holds to guest RAM at `address`. */
int boot_image_copy(const struct boot_image *image, uint64_t offset, uint64_t size,
	struct guest_memory *memory, gpa_t address, struct error *err);

/* Little-endian fields at any alignment; the caller knows that they are there. */
static inline uint16_t boot_get16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static inline uint32_t boot_get32(const uint8_t *bytes)
{
	return boot_get16(bytes) | (uint32_t)boot_get16(bytes + 2) << 16;
}

static inline uint64_t boot_get64(const uint8_t *bytes)
{
	return boot_get32(bytes) | (uint64_t)boot_get32(bytes + 4) << 32;
}

static inline void boot_put32(uint8_t *bytes, uint32_t value)
{
	memcpy(bytes, &value, sizeof(value));
}

static inline void boot_put64(uint8_t *bytes, uint64_t value)
{
	memcpy(bytes, &value, sizeof(value));
}

/* A file that goes into guest memory as it is: an initrd or a module. */
struct boot_file {
	char *path;
	uint64_t size;
	int fd;
};

/* Opens `path`; -1 descriptors need no finish. `what` is for messages: "the initrd". */
int boot_file_open(struct boot_file *file, const char *path, const char *what, struct error *err);
void boot_file_finish(struct boot_file *file);

/* Copies the whole file to guest RAM at `address`. */
int boot_file_copy(const struct boot_file *file, struct guest_memory *memory, gpa_t address,
	struct error *err);

/* Makes guest RAM zero without touching host pages that are. */
int boot_zero(struct guest_memory *memory, gpa_t address, uint64_t size);

#endif
