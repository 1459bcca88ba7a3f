/*
 * A guest whose disk the host cannot serve, most often because it is full: it stands still, so that
 * it sees no error, until the requests that were kept go through.
 */
#include "base/log.h"
#include "vmm/vm_parts.h"

#include <time.h>

#define RETRY_NS NS_PER_S

static ns_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

void vm_disk_stopped(void *context, const struct error *why)
{
	struct vm *vm = context;

	if (!atomic_exchange(&vm->disk_trouble, true))
		log_warning("%s; the guest waits for it", why->text);
	atomic_store(&vm->disk_stopped, true);
	loop_wake(&vm->loop);
}

static bool any_is_stopped(const struct vm *vm)
{
	for (unsigned i = 0; i < VM_MAX_DISKS; i++) {
		const struct disk *disk = &vm->devices.disks[i];

		if (disk->image && block_device_is_stopped(disk->image))
			return true;
	}
	for (unsigned i = 0; i < VM_MAX_FLOPPIES; i++) {
		const struct block_device *image = vm->floppies.items[i].image;

		if (image && block_device_is_stopped(image))
			return true;
	}
	return false;
}

void vm_serve_disks(struct vm *vm)
{
	if (atomic_exchange(&vm->disk_stopped, false)) {
		vm->waits_for_disk = true;
		vm->disk_retry_ns = now_ns() + RETRY_NS;
		vm_pause(vm);
	}
	if (!vm->waits_for_disk || now_ns() < vm->disk_retry_ns)
		return;
	if (any_is_stopped(vm)) {
		/* Whether it works shows at the next look. */
		vm->disk_retry_ns = now_ns() + RETRY_NS;
		for (unsigned i = 0; i < VM_MAX_DISKS; i++)
			if (vm->devices.disks[i].image)
				block_device_resume(vm->devices.disks[i].image);
		for (unsigned i = 0; i < VM_MAX_FLOPPIES; i++)
			if (vm->floppies.items[i].image)
				block_device_resume(vm->floppies.items[i].image);
		return;
	}
	vm->waits_for_disk = false;
	atomic_store(&vm->disk_trouble, false);
	log_info("the host serves the disk again; the guest goes on");
	vm_resume(vm);
}
