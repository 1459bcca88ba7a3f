/*
 * What the fuzz targets of the loaders share: a machine of 32 MiB that one input after the other
 * is loaded into. Whatever the bytes, the result is an error with a text, or a processor that
 * starts in RAM.
 */
#ifndef FIRMWARE_BOOT_FUZZ_H
#define FIRMWARE_BOOT_FUZZ_H

#include "firmware/boot_loader.h"

#include <stdlib.h>

#define FUZZ_MEMORY (UINT64_C(32) << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

typedef int fuzz_load(struct boot *boot, const struct boot_image *image, struct error *err);

static inline void fuzz_loader(fuzz_load *load, const uint8_t *bytes, size_t size)
{
	static struct guest_memory memory;
	static const struct boot_config config = { .command_line = "fuzz" };
	struct boot_image image = { .path = "fuzz", .bytes = bytes, .size = size };
	struct cpu_state cpu = { 0 };
	struct boot boot = { .config = &config, .memory = &memory, .cpu = &cpu };
	struct error err = { 0 };
	int result;

	if (memory.nr_regions == 0 && guest_memory_add(&memory, 0, FUZZ_MEMORY, false, &err) < 0)
		abort();
	if (boot_layout_init(&boot.layout, &memory, &config, &err) < 0)
		abort();
	result = load(&boot, &image, &err);
	if ((result < 0) != (err.text[0] != '\0'))
		abort();
	if (result == 0 && !(cpu.cr0 & CR0_PE))
		abort();
}

#endif
