/*
 * What a VM can be told through its control socket; docs/control-protocol.md says the same to
 * people.
 */
#include "base/host_time.h"
#include "vmm/stats.h"
#include "vmm/vm_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Arguments beyond those that a command knows are a mistake: they would be promises not kept. */
static int check_arguments(const json_t *arguments, const char *known, struct error *err)
{
	const char *key;
	json_t *value;

	if (!arguments)
		return 0;
	json_object_foreach((json_t *)arguments, key, value)
	{
		if (!known || strcmp(key, known) != 0)
			return error_set(
				err, EXIT_CODE_USAGE, "this command has no argument '%.80s'", key);
	}
	return 0;
}

static const char *console_kind(const struct vm *vm)
{
	return vm->console ? "socket" : vm->config->serial;
}

static int run_status(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	const struct vm_config *config = vm->config;

	if (check_arguments(arguments, NULL, err))
		return -1;
	*result = json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:i, s:I, s:I, s:s, s:i}", "name",
		config->bundle->name, "state", vm->paused ? "paused" : "running", "pid",
		(int)getpid(), "engine", vm->engine->ops->name, "board", vm->board->type->name,
		"cpu", config->cpu, "cpus", (int)config->nr_cpus, "memory_bytes",
		(json_int_t)config->memory_bytes, "uptime_ms",
		(json_int_t)((host_now() - config->started_ns) / NS_PER_MS), "console",
		console_kind(vm), "console_clients",
		vm->console ? (int)console_nr_clients(vm->console) : 0);
	if (vm->devices.mem)
		json_object_set_new(*result, "memory", vm_memory_as_json(vm));
	if (vm->devices.balloon)
		json_object_set_new(*result, "balloon", vm_balloon_as_json(vm));
	return 0;
}

static int run_stop(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;

	(void)result;
	if (check_arguments(arguments, NULL, err))
		return -1;
	if (vm->paused)
		return error_set(err, EXIT_CODE_CONFIG,
			"the VM '%s' is paused and cannot power off; resume it first, or kill it",
			vm->config->bundle->name);
	vm_power_button(vm);
	return 0;
}

static int run_kill(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	(void)result;
	if (check_arguments(arguments, NULL, err))
		return -1;
	vm_end(context, EXIT_CODE_KILLED);
	return 0;
}

static int run_reset(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	(void)result;
	if (check_arguments(arguments, NULL, err))
		return -1;
	vm_reset_button(context);
	return 0;
}

static int run_pause(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	(void)result;
	if (check_arguments(arguments, NULL, err))
		return -1;
	vm_pause(context);
	return 0;
}

static int run_resume(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	(void)result;
	if (check_arguments(arguments, NULL, err))
		return -1;
	vm_resume(context);
	return 0;
}

/* The counters are those of 'atoll run --stats=json', taken while no vCPU runs. */
static int run_stats(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	char *text = NULL;
	size_t size = 0;
	FILE *out;

	if (check_arguments(arguments, NULL, err))
		return -1;
	out = open_memstream(&text, &size);
	if (out) {
		vcpu_threads_pause(&vm->vcpus);
		stats_print(out, vm->engine, true);
		if (!vm->paused)
			vcpu_threads_resume(&vm->vcpus);
		fclose(out);
	}
	*result = text ? json_loadb(text, size, 0, NULL) : NULL;
	free(text);
	return 0;
}

/* {"columns": N, "rows": N}: of the window that shows hvc0. */
static int run_console_size(
	void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	json_error_t why;
	int columns, rows;

	(void)result;
	if (!arguments)
		return error_set(err, EXIT_CODE_USAGE, "this command needs 'columns' and 'rows'");
	if (json_unpack_ex((json_t *)arguments, &why, JSON_STRICT, "{s:i, s:i}", "columns",
		    &columns, "rows", &rows))
		return error_set(err, EXIT_CODE_USAGE,
			"the arguments are not those of this command: %s", why.text);
	if (columns < 1 || columns > UINT16_MAX || rows < 1 || rows > UINT16_MAX)
		return error_set(
			err, EXIT_CODE_USAGE, "a console has 1 to %u columns and rows", UINT16_MAX);
	if (!vm->devices.console)
		return error_set(err, EXIT_CODE_CONFIG,
			"the VM '%s' has no hvc0; start it with --console attach",
			vm->config->bundle->name);
	machine_lock(&vm->machine);
	virtio_console_resize(vm->devices.console, (uint16_t)columns, (uint16_t)rows);
	machine_unlock(&vm->machine);
	return 0;
}

/* For who has restored or copied the machine. */
static int run_new_generation(
	void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	int rc;

	(void)result;
	if (check_arguments(arguments, NULL, err))
		return -1;
	machine_lock(&vm->machine);
	rc = board_renew_generation(vm->board);
	machine_unlock(&vm->machine);
	if (rc == -ENOTSUP)
		return error_set(err, EXIT_CODE_CONFIG,
			"this machine tells its guest of no generation; start it with "
			"--generation-id");
	if (rc < 0)
		return error_set_errno(
			err, EXIT_CODE_HOST, -rc, "the guest cannot be told of its generation");
	return 0;
}

const struct control_command vm_control_commands[] = {
	{ "status", run_status },
	{ "stop", run_stop },
	{ "kill", run_kill },
	{ "reset", run_reset },
	{ "pause", run_pause },
	{ "resume", run_resume },
	{ "stats", run_stats },
	{ "new-generation", run_new_generation },
	{ "device-add", vm_run_device_add },
	{ "device-remove", vm_run_device_remove },
	{ "devices", vm_run_devices },
	{ "disk-resize", vm_run_disk_resize },
	{ "media", vm_run_media },
	{ "screenshot", vm_run_screenshot },
	{ "screen-text", vm_run_screen_text },
	{ "type", vm_run_type },
	{ "keys", vm_run_keys },
	{ "mouse", vm_run_mouse },
	{ "console-size", run_console_size },
	{ "memory", vm_run_memory },
	{ "balloon", vm_run_balloon },
	{ 0 },
};
