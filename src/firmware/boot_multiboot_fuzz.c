#include "firmware/boot_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct boot_image image = { .path = "fuzz", .bytes = bytes, .size = size };

	if (boot_multiboot_detect(&image))
		fuzz_loader(boot_multiboot_load, bytes, size);
	return 0;
}
