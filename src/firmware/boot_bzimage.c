/*
 * Linux bzImage: the part of Linux's boot protocol that starts in protected or long mode. The
 * real-mode setup code, which asks a BIOS what we already know, is left out.
 *
 * Not modelled: zImage, protocols before 2.02 (Linux before 2.4), entry from real mode.
 */
#include "firmware/boot_linux.h"

#include <errno.h>

#define SECTOR         512
#define DEFAULT_SECTS  4
#define VERSION_OLDEST 0x202
#define VERSION_INITRD 0x203 /* first with each field */
#define VERSION_MOVES  0x205
#define VERSION_LENGTH 0x206
#define VERSION_NEEDS  0x20a
#define VERSION_64     0x20c

#define OLD_COMMAND_LINE 255
#define OLD_INITRD_MAX   0x37ffffff
/* What a kernel that does not say it may need to unpack itself, as a multiple of its file. */
#define OLD_EXPANSION 4

struct bzimage {
	uint8_t params[LINUX_PARAMS_SIZE];
	uint64_t kernel; /* where the protected-mode part is in the file */
	uint64_t kernel_size;
	uint16_t version;
	bool relocatable;
	bool has_64bit_entry;
	uint64_t alignment;
	gpa_t wanted;  /* where it wants to run */
	uint64_t room; /* bytes it needs there */
};

bool boot_bzimage_detect(const struct boot_image *image)
{
	return boot_image_has(image, LINUX_HEADER, LINUX_VERSION + 2 - LINUX_HEADER) &&
	       boot_get16(image->bytes + LINUX_BOOT_FLAG) == 0xaa55 &&
	       memcmp(image->bytes + LINUX_MAGIC, "HdrS", 4) == 0;
}

/* Fields that the kernel's version of the header lacks stay zero. */
static void copy_header(struct bzimage *bzimage, const struct boot_image *image)
{
	uint64_t end = LINUX_MAGIC + image->bytes[LINUX_JUMP_LENGTH];

	if (end > LINUX_HEADER_END)
		end = LINUX_HEADER_END;
	if (end > image->size)
		end = image->size;
	if (boot_image_has(image, 0, end))
		memcpy(bzimage->params + LINUX_HEADER, image->bytes + LINUX_HEADER,
			end - LINUX_HEADER);
}

static int find_kernel(struct bzimage *bzimage, const struct boot_image *image, struct error *err)
{
	unsigned sects = bzimage->params[LINUX_SETUP_SECTS];
	uint64_t offset = (uint64_t)SECTOR * ((sects ? sects : DEFAULT_SECTS) + 1);

	if (offset >= image->size)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"%s is cut short: its setup code alone has %llu bytes; copy it again",
			image->path, (unsigned long long)offset);
	bzimage->kernel = offset;
	bzimage->kernel_size = image->size - offset;
	return 0;
}

static int parse(struct bzimage *bzimage, const struct boot_image *image, struct error *err)
{
	const uint8_t *params = bzimage->params;

	copy_header(bzimage, image);
	bzimage->version = boot_get16(params + LINUX_VERSION);
	if (bzimage->version < VERSION_OLDEST || !(params[LINUX_LOADFLAGS] & LINUX_LOADED_HIGH))
		return error_set(err, EXIT_CODE_BAD_FILE,
			"%s is a Linux kernel of boot protocol %u.%02u or a zImage; use a bzImage "
			"of Linux 2.4 or later",
			image->path, bzimage->version >> 8, bzimage->version & 0xff);
	/* iPXE and others that only look like Linux to a loader: they go on in real mode, and call
	 * a BIOS, which would have nothing to jump to here. */
	if (boot_get32(params + LINUX_CODE32_START) == 0)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"%s starts in real mode and needs a BIOS, which --kernel leaves out; boot "
			"a disc or a disk that holds it, with --cdrom or --disk",
			image->path);
	if (find_kernel(bzimage, image, err) < 0)
		return -EINVAL;

	bzimage->alignment = GUEST_PAGE_SIZE;
	bzimage->wanted = BOOT_1MIB;
	bzimage->room = bzimage->kernel_size * OLD_EXPANSION;
	if (bzimage->version >= VERSION_MOVES) {
		bzimage->relocatable = params[LINUX_RELOCATABLE] != 0;
		bzimage->alignment = boot_get32(params + LINUX_ALIGNMENT);
	}
	if (bzimage->version >= VERSION_NEEDS) {
		bzimage->wanted = boot_get64(params + LINUX_PREF_ADDRESS);
		bzimage->room = boot_get32(params + LINUX_INIT_SIZE);
	}
	if (bzimage->room < bzimage->kernel_size)
		bzimage->room = bzimage->kernel_size;
	bzimage->has_64bit_entry = bzimage->version >= VERSION_64 &&
				   (boot_get16(params + LINUX_XLOADFLAGS) & LINUX_KERNEL_64) &&
				   bzimage->kernel_size > LINUX_ENTRY_64;
	if (bzimage->relocatable &&
		(bzimage->alignment == 0 || (bzimage->alignment & (bzimage->alignment - 1))))
		return error_set(err, EXIT_CODE_BAD_FILE,
			"%s is damaged: its alignment 0x%llx is no power of two; copy it again",
			image->path, (unsigned long long)bzimage->alignment);
	return 0;
}

/* Below where it wants to run, if it can move; `*load` is where the file goes. */
static int place_kernel(struct boot *boot, const struct bzimage *bzimage,
	const struct boot_image *image, gpa_t *load, struct error *err)
{
	struct boot_request request = {
		.size = bzimage->room,
		.alignment = bzimage->alignment,
		.min = BOOT_1MIB,
		.max = BOOT_4GIB,
		.direction = BOOT_LOWEST,
	};

	if (!bzimage->relocatable) {
		/* It copies itself from the old load address to the wanted one. */
		*load = BOOT_1MIB;
		if (boot_claim_image(boot, image, *load, bzimage->kernel_size, err) < 0)
			return -EINVAL;
		return boot_claim_image(boot, image, bzimage->wanted, bzimage->room, err);
	}
	*load = bzimage->wanted;
	if (*load % bzimage->alignment == 0 &&
		boot_layout_is_ram(&boot->layout, *load, bzimage->room))
		return boot_layout_claim(&boot->layout, *load, bzimage->room) ? 0 : -EINVAL;
	*load = boot_layout_place(&boot->layout, &request);
	if (!*load)
		return boot_too_small(boot, image->path,
			align_up(BOOT_1MIB, bzimage->alignment) + bzimage->room, err);
	return 0;
}

int boot_bzimage_load(struct boot *boot, const struct boot_image *image, struct error *err)
{
	struct bzimage bzimage = { 0 };
	struct linux_limits limits = { OLD_COMMAND_LINE, OLD_INITRD_MAX, 0 };
	gpa_t load;

	if (parse(&bzimage, image, err) < 0 || place_kernel(boot, &bzimage, image, &load, err) < 0)
		return -EINVAL;
	if (boot_image_copy(image, bzimage.kernel, bzimage.kernel_size, boot->memory, load, err) <
		0)
		return -EINVAL;

	if (bzimage.version >= VERSION_LENGTH)
		limits.command_line = boot_get32(bzimage.params + LINUX_CMDLINE_SIZE);
	if (bzimage.version >= VERSION_INITRD)
		limits.initrd_max = boot_get32(bzimage.params + LINUX_INITRD_MAX);
	limits.kernel_end = (bzimage.relocatable ? load : bzimage.wanted) + bzimage.room;
	boot_put32(bzimage.params + LINUX_CODE32_START, (uint32_t)load);
	if (boot_linux_finish(boot, image, bzimage.params, &limits, err) < 0)
		return -EINVAL;
	if (bzimage.has_64bit_entry && !boot->config->prefer_32bit)
		return boot_enter_long(boot, load + LINUX_ENTRY_64, err);
	return boot_enter_protected(boot, load, err);
}
