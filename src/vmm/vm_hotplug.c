/*
 * Devices that come and go while the guest runs, through the control socket
 * (docs/control-protocol.md). On the event loop's thread.
 */
#include "base/log.h"
#include "vmm/vm_parts.h"

/* Members beyond those of `format` are a mistake, as everywhere. */
static int bad_arguments(const json_error_t *why, struct error *err)
{
	return error_set(
		err, EXIT_CODE_USAGE, "the arguments are not those of this command: %s", why->text);
}

int vm_run_device_add(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	const char *kind, *options, *id;
	json_error_t why;

	if (json_unpack_ex((json_t *)arguments, &why, JSON_STRICT, "{s:s, s:s}", "kind", &kind,
		    "options", &options))
		return bad_arguments(&why, err);
	if (devices_add(&vm->devices, kind, options, &id, err))
		return -1;
	*result = json_pack("{s:s}", "id", id);
	return 0;
}

int vm_run_device_remove(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	int by_force = 0;
	json_error_t why;
	const char *id;

	(void)result;
	if (json_unpack_ex((json_t *)arguments, &why, JSON_STRICT, "{s:s, s?b}", "id", &id, "force",
		    &by_force))
		return bad_arguments(&why, err);
	if (devices_remove(&vm->devices, id, by_force, err))
		return -1;
	if (by_force)
		control_event(&vm->control, "device-removed", json_pack("{s:s}", "id", id));
	return 0;
}

/* The medium of an optical drive or a floppy drive: `medium` as --cdrom or --floppy has it; without
 * it the drive is emptied. */
int vm_run_media(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	const char *id, *medium = NULL;
	struct disk *disk;
	int floppy;
	int force = 0;
	json_error_t why;

	(void)result;
	if (json_unpack_ex((json_t *)arguments, &why, JSON_STRICT, "{s:s, s?s, s?b}", "id", &id,
		    "medium", &medium, "force", &force))
		return bad_arguments(&why, err);
	floppy = floppies_find(&vm->floppies, id);
	if (floppy >= 0)
		return floppies_change_medium(&vm->floppies, (unsigned)floppy, medium, err);
	disk = devices_disk(&vm->devices, id);
	if (!disk)
		return error_set(err, EXIT_CODE_CONFIG, "this machine has no drive '%.40s'", id);
	if (disk_change_medium(disk, medium, force, err))
		return -1;
	return 0;
}

int vm_run_disk_resize(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	struct disk *disk;
	json_error_t why;
	json_int_t size;
	const char *id;

	(void)result;
	if (json_unpack_ex(
		    (json_t *)arguments, &why, JSON_STRICT, "{s:s, s:I}", "id", &id, "size", &size))
		return bad_arguments(&why, err);
	disk = devices_disk(&vm->devices, id);
	if (!disk)
		return error_set(err, EXIT_CODE_CONFIG, "this machine has no disk '%.40s'", id);
	if (size < 0 || disk_resize(disk, (uint64_t)size, err))
		return size < 0 ? error_set(err, EXIT_CODE_USAGE, "a size is not negative") : -1;
	return 0;
}

static void list_device(void *context, const struct devices_info *info)
{
	json_array_append_new(
		context, json_pack("{s:s, s:i}", "id", info->id, "slot", (int)info->slot));
}

int vm_run_devices(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	json_t *list = json_array();

	if (arguments && json_object_size(arguments) > 0) {
		json_decref(list);
		return error_set(err, EXIT_CODE_USAGE, "this command has no arguments");
	}
	devices_list(&vm->devices, list_device, list);
	for (unsigned i = 0; i < vm->floppies.count; i++)
		json_array_append_new(list, json_pack("{s:s}", "id", vm->floppies.items[i].name));
	*result = json_pack("{s:o}", "devices", list);
	return 0;
}

static void device_gone(void *context, const char *id)
{
	struct vm *vm = context;

	log_info("the guest gave up %s", id);
	control_event(&vm->control, "device-removed", json_pack("{s:s}", "id", id));
}

void vm_serve_ejections(struct vm *vm)
{
	devices_sweep(&vm->devices, device_gone, vm);
}
