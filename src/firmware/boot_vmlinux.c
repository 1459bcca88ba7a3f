/*
 * Linux's vmlinux without its bzImage wrapping: an ELF executable entered by Linux's boot protocol
 * in the mode of its class. The zero page carries a setup header of our own making.
 */
#include "firmware/boot_elf.h"
#include "firmware/boot_linux.h"

#include <errno.h>

#define PROTOCOL         0x20f
#define COMMAND_LINE_MAX 2047
#define INITRD_MAX_64    0x7fffffff
#define INITRD_MAX_32    0x37ffffff

int boot_vmlinux_load(struct boot *boot, const struct boot_image *image, struct error *err)
{
	uint8_t params[LINUX_PARAMS_SIZE] = { 0 };
	struct linux_limits limits = { .command_line = COMMAND_LINE_MAX };
	struct boot_elf elf;
	int result;

	if (boot_elf_open(&elf, image, err) < 0)
		return -EINVAL;
	if (elf.is_64 && boot->config->prefer_32bit)
		return error_set(err, EXIT_CODE_CONFIG,
			"%s is a 64-bit kernel and the processor is a 32-bit one; use a 32-bit "
			"kernel or another --cpu",
			image->path);
	result = boot_elf_load(boot, &elf, image, &limits.kernel_end, err);
	if (result < 0)
		return result;

	params[LINUX_BOOT_FLAG] = 0x55;
	params[LINUX_BOOT_FLAG + 1] = 0xaa;
	memcpy(params + LINUX_MAGIC, "HdrS", 4);
	boot_put32(params + LINUX_VERSION, PROTOCOL);
	params[LINUX_LOADFLAGS] = LINUX_LOADED_HIGH;
	limits.initrd_max = elf.is_64 ? INITRD_MAX_64 : INITRD_MAX_32;
	result = boot_linux_finish(boot, image, params, &limits, err);
	if (result < 0)
		return result;
	if (elf.is_64)
		return boot_enter_long(boot, boot_elf_entry(&elf, image), err);
	return boot_enter_protected(boot, boot_elf_entry(&elf, image), err);
}
