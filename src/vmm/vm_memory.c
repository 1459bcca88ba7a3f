/*
 * A running VM's memory, through the control socket (docs/control-protocol.md): how much it has,
 * how much it is to have, and what the guest says of it. On the event loop's thread.
 */
#include "vmm/vm_parts.h"

#include <errno.h>
#include <inttypes.h>

/* {"size": BYTES}, which may be left out: -1. */
static int take_size(const json_t *arguments, json_int_t *size, struct error *err)
{
	json_error_t why;

	*size = -1;
	if (arguments &&
		json_unpack_ex((json_t *)arguments, &why, JSON_STRICT, "{s?I}", "size", size))
		return error_set(err, EXIT_CODE_USAGE,
			"the arguments are not those of this command: %s", why.text);
	return 0;
}

json_t *vm_memory_as_json(struct vm *vm)
{
	const struct vm_config *config = vm->config;
	const struct virtio_mem *mem = vm->devices.mem;
	uint64_t requested, plugged;
	json_t *memory;

	machine_lock(&vm->machine);
	requested = config->memory_bytes + (mem ? virtio_mem_requested(mem) : 0);
	plugged = config->memory_bytes + (mem ? virtio_mem_plugged(mem) : 0);
	memory = json_pack("{s:I, s:I, s:I, s:I}", "base_bytes", (json_int_t)config->memory_bytes,
		"max_bytes", (json_int_t)(mem ? config->memory_max_bytes : config->memory_bytes),
		"requested_bytes", (json_int_t)requested, "plugged_bytes", (json_int_t)plugged);
	machine_unlock(&vm->machine);
	return memory;
}

int vm_run_memory(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	const struct vm_config *config = vm->config;
	json_int_t size;

	if (take_size(arguments, &size, err))
		return -1;
	if (size >= 0) {
		if (!vm->devices.mem)
			return error_set(err, EXIT_CODE_CONFIG,
				"the memory of the VM '%s' cannot grow; start it with --memory "
				"SIZE,max=SIZE",
				config->bundle->name);
		if ((uint64_t)size < config->memory_bytes ||
			(uint64_t)size > config->memory_max_bytes)
			return error_set(err, EXIT_CODE_CONFIG,
				"the VM '%s' can have between %" PRIu64 " and %" PRIu64
				" MiB of memory",
				config->bundle->name, config->memory_bytes >> 20,
				config->memory_max_bytes >> 20);
		machine_lock(&vm->machine);
		virtio_mem_request(vm->devices.mem, (uint64_t)size - config->memory_bytes);
		machine_unlock(&vm->machine);
	}
	*result = vm_memory_as_json(vm);
	return 0;
}

static void add_statistic(json_t *to, const char *name, uint64_t value)
{
	/* What the guest does not tell. */
	if (value <= INT64_MAX)
		json_object_set_new(to, name, json_integer((json_int_t)value));
}

json_t *vm_balloon_as_json(struct vm *vm)
{
	bool hinting;
	struct virtio_balloon *balloon = vm->devices.balloon;
	struct virtio_balloon_statistics known;
	json_t *statistics = json_object();
	uint64_t all = guest_memory_size(&vm->machine.memory), taken, inflated, hinted;

	machine_lock(&vm->machine);
	taken = virtio_balloon_target(balloon);
	inflated = virtio_balloon_inflated(balloon);
	hinting = virtio_balloon_hinted(balloon, &hinted);
	/* The last ones are told; new ones come until somebody asks again. */
	virtio_balloon_get_statistics(balloon, &known);
	virtio_balloon_ask(balloon);
	machine_unlock(&vm->machine);
	add_statistic(statistics, "free_bytes", known.free);
	add_statistic(statistics, "available_bytes", known.available);
	add_statistic(statistics, "total_bytes", known.total);
	add_statistic(statistics, "disk_caches_bytes", known.disk_caches);
	add_statistic(statistics, "swapped_in_bytes", known.swapped_in);
	add_statistic(statistics, "swapped_out_bytes", known.swapped_out);
	add_statistic(statistics, "major_faults", known.major_faults);
	add_statistic(statistics, "minor_faults", known.minor_faults);
	add_statistic(statistics, "hugetlb_allocations", known.hugetlb_allocations);
	add_statistic(statistics, "hugetlb_failures", known.hugetlb_failures);
	return json_pack("{s:I, s:I, s:I, s:b, s:o}", "target_bytes", (json_int_t)(all - taken),
		"inflated_bytes", (json_int_t)inflated, "hinted_bytes", (json_int_t)hinted,
		"hinting", (int)hinting, "statistics", statistics);
}

/* Begins a round of hints, or ends it. */
static int hint(struct vm *vm, bool begin, struct error *err)
{
	int rc = 0;

	machine_lock(&vm->machine);
	if (begin)
		rc = virtio_balloon_hint(vm->devices.balloon);
	else
		virtio_balloon_end_hints(vm->devices.balloon);
	machine_unlock(&vm->machine);
	if (rc == -EBUSY)
		return error_set(err, EXIT_CODE_CONFIG,
			"the guest of the VM '%s' still tells of its free memory; try again "
			"later",
			vm->config->bundle->name);
	if (rc)
		return error_set(err, EXIT_CODE_CONFIG,
			"the guest of the VM '%s' has no driver that tells of its free memory",
			vm->config->bundle->name);
	return 0;
}

int vm_run_balloon(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	json_error_t why;
	json_int_t size = -1;
	int wanted = -1;

	if (arguments && json_unpack_ex((json_t *)arguments, &why, JSON_STRICT, "{s?I, s?b}",
				 "size", &size, "hint", &wanted))
		return error_set(err, EXIT_CODE_USAGE,
			"the arguments are not those of this command: %s", why.text);
	if (!vm->devices.balloon)
		return error_set(err, EXIT_CODE_CONFIG,
			"the VM '%s' has no balloon; start it with --balloon",
			vm->config->bundle->name);
	if (size >= 0) {
		if ((uint64_t)size > guest_memory_size(&vm->machine.memory))
			return error_set(err, EXIT_CODE_CONFIG,
				"a balloon cannot give the VM '%s' more than its %" PRIu64
				" MiB of memory",
				vm->config->bundle->name, vm->config->memory_bytes >> 20);
		machine_lock(&vm->machine);
		virtio_balloon_set_target(vm->devices.balloon, (uint64_t)size);
		machine_unlock(&vm->machine);
	}
	if (wanted >= 0 && hint(vm, wanted, err))
		return -1;
	*result = vm_balloon_as_json(vm);
	return 0;
}
