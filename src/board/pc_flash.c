/*
 * Where the flash memory's array is shown it is ROM to the guest, so that reads cost nothing and
 * writes reach the chip as commands; while it shows something else its region is hidden, and reads
 * go to the chip, too. Under the machine lock.
 */
#include "board/pc_flash.h"

#include "base/log.h"

#include <string.h>

/* Of others than SMM it takes no commands, and shows them the array always. */
static bool is_strange(const struct pc_flash *flash)
{
	return flash->smm_only && !flash->machine->smm_access;
}

static uint64_t flash_read(void *device, uint64_t offset, unsigned size)
{
	struct pc_flash *flash = device;

	(void)size;
	if (is_strange(flash))
		return flash->region->host[offset];
	return cfi_flash_read(&flash->chip, (uint32_t)offset);
}

static void flash_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pc_flash *flash = device;

	(void)size;
	if (is_strange(flash)) {
		log_guest("the guest wrote to the flash memory outside of system management mode");
		return;
	}
	cfi_flash_write(&flash->chip, (uint32_t)offset, (uint8_t)value);
}

static void array_shown(void *context, bool shown)
{
	struct pc_flash *flash = context;

	guest_memory_place(flash->memory, flash->region, flash->base, shown ? RAM_ROM : RAM_HIDDEN);
	if (!shown || flash->begin >= flash->end)
		return;
	/* Code that was decoded before it was hidden. */
	guest_memory_changed(flash->memory, flash->region, flash->begin, flash->end - flash->begin);
	flash->begin = UINT32_MAX;
	flash->end = 0;
}

static void written(void *context, uint32_t offset, uint32_t size)
{
	struct pc_flash *flash = context;

	memcpy(flash->kept + offset, flash->region->host + offset, size);
	if (offset < flash->begin)
		flash->begin = offset;
	if (offset + size > flash->end)
		flash->end = offset + size;
}

int pc_flash_create(struct pc_flash *flash, struct machine *machine, uint8_t *kept, uint64_t size,
	gpa_t end, bool smm_only, struct error *err)
{
	static const struct io_ops ops = { flash_read, flash_write, 1 };
	const struct cfi_flash_events events = {
		.array_shown = array_shown, .written = written, .context = flash
	};

	flash->machine = machine;
	flash->memory = &machine->memory;
	flash->smm_only = smm_only;
	flash->region = guest_memory_add_movable(&machine->memory, size, err);
	if (!flash->region)
		return -1;
	flash->base = end - size;
	flash->kept = kept;
	flash->begin = UINT32_MAX;
	memcpy(flash->region->host, kept, size);
	guest_memory_place(&machine->memory, flash->region, flash->base, RAM_ROM);
	cfi_flash_init(&flash->chip, flash->region->host, (uint32_t)size, PC_FLASH_BLOCK, &events);
	machine_add_device(machine, &cfi_flash_type, "flash", &flash->chip);
	address_space_map(
		&machine->mmio, &(struct io_region){ flash->base, size, &ops, flash, "flash" });
	return 0;
}
