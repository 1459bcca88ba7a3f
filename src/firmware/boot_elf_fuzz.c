#include "firmware/boot_fuzz.h"

static int load(struct boot *boot, const struct boot_image *image, struct error *err)
{
	uint32_t pvh_entry = boot_pvh_entry(image);

	return pvh_entry ? boot_pvh_load(boot, image, pvh_entry, err)
			 : boot_vmlinux_load(boot, image, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct boot_image image = { .path = "fuzz", .bytes = bytes, .size = size };

	if (boot_elf_detect(&image))
		fuzz_loader(load, bytes, size);
	return 0;
}
