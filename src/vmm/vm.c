#include "vmm/vm_parts.h"

#include "base/host_time.h"
#include "base/log.h"
#include "firmware/boot.h"
#include "vmm/boot_order.h"
#include "vmm/memory.h"
#include "vmm/stats.h"
#include "chip/pvpanic.h"
#include "vmm/watchdog.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

void vm_end(struct vm *vm, int exit_code)
{
	vm->ended = true;
	vm->exit_code = exit_code;
}

static void vm_wake(void *context)
{
	struct vm *vm = context;

	loop_wake(&vm->loop);
}

/* On a vCPU thread. */
static void vm_vcpu_stopped(void *context, const struct vcpu_exit *exit)
{
	struct vm *vm = context;

	machine_lock(&vm->machine);
	if (exit->reason == VCPU_EXIT_ERROR)
		memcpy(vm->engine_error, exit->text, sizeof(vm->engine_error));
	machine_request(&vm->machine, MACHINE_REQUEST_TRIPLE_FAULT);
	machine_unlock(&vm->machine);
}

/* Resets every processor and loads the boot image. No vCPU runs. */
static int vm_load(struct vm *vm, struct error *err)
{
	const struct vm_config *config = vm->config;
	const struct engine_ops *ops = vm->engine->ops;
	struct boot_config boot = {
		.kernel = config->kernel,
		.initrds = config->initrds,
		.nr_initrds = config->nr_initrds,
		.command_line = config->append,
		.prefer_32bit = !cpu_model_has(&vm->cpu_model, CPU_FEATURE_LM),
	};
	struct acpi_config acpi = { 0 };
	uint8_t generation_page[GUEST_PAGE_SIZE];
	struct cpu_state *state = aligned_alloc(64, align_up(sizeof(*state), 64));
	int result;

	if (!state)
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	if (tpm_power(&vm->tpm, err)) {
		free(state);
		return -EINVAL;
	}
	machine_lock(&vm->machine);
	machine_reset(&vm->machine);
	machine_unlock(&vm->machine);
	result = board_start(vm->board, err);
	if (!result && !vm->firmware.code) {
		board_describe(vm->board, &acpi);
		generation_fill(&vm->board->generation, generation_page);
		acpi.generation_page = generation_page;
		result = acpi_install(&acpi, &vm->machine.memory, &boot.rsdp, err);
		if (!result)
			result = smbios_install(&vm->board->smbios, &vm->machine.memory, err);
	}
	for (unsigned i = 0; i < vm->machine.nr_vcpus && !result; i++) {
		cpu_state_reset(state, i);
		if (!vm->firmware.code)
			cpu_state_firmware(state, i);
		if (i == 0 && !vm->firmware.code)
			result = boot_load(&boot, &vm->machine, state, err);
		if (!result)
			result = ops->set_state(vm->engine, i, state, err);
	}
	free(state);
	return result;
}

static void vm_reset(struct vm *vm)
{
	struct error err = { 0 };

	vcpu_threads_pause(&vm->vcpus);
	if (vm_load(vm, &err)) {
		log_error("%s", err.text);
		vm_end(vm, err.exit_code);
		return;
	}
	control_event(&vm->control, "reset", NULL);
	if (!vm->paused)
		vcpu_threads_resume(&vm->vcpus);
}

void vm_pause(struct vm *vm)
{
	if (vm->paused)
		return;
	vm->paused = true;
	vcpu_threads_pause(&vm->vcpus);
	machine_lock(&vm->machine);
	clock_pause(&vm->machine.clock);
	machine_unlock(&vm->machine);
	/* The timer that would flush it stands still. */
	if (vm->console)
		atomic_store(&vm->console->wants_service, true);
	control_event(&vm->control, "paused", NULL);
}

void vm_resume(struct vm *vm)
{
	if (!vm->paused)
		return;
	vm->paused = false;
	machine_lock(&vm->machine);
	clock_resume(&vm->machine.clock);
	machine_unlock(&vm->machine);
	vcpu_threads_resume(&vm->vcpus);
	control_event(&vm->control, "resumed", NULL);
	guest_clock_set(&vm->guest_clock);
}

void vm_reset_button(struct vm *vm)
{
	machine_lock(&vm->machine);
	machine_request(&vm->machine, MACHINE_REQUEST_RESET);
	machine_unlock(&vm->machine);
}

void vm_power_button(struct vm *vm)
{
	machine_lock(&vm->machine);
	board_power_button(vm->board);
	machine_unlock(&vm->machine);
}

/* On a vCPU's thread, under the machine lock. */
static void vm_panicked(void *context, uint8_t events)
{
	struct vm *vm = context;
	enum machine_request action = watchdog_action(vm->config->panic);

	log_guest("the guest says that it has crashed");
	if (!(events & PVPANIC_PANICKED))
		return; /* and goes on to save its memory */
	atomic_store(&vm->crashed, true);
	if (action != MACHINE_REQUEST_NONE)
		machine_request(&vm->machine, action);
	loop_wake(&vm->loop);
}

/* Does what the guest asked for. */
static void vm_serve_request(struct vm *vm)
{
	enum machine_request request;

	if (atomic_exchange(&vm->crashed, false))
		control_event(&vm->control, "crashed", NULL);
	machine_lock(&vm->machine);
	request = vm->machine.request;
	vm->machine.request = MACHINE_REQUEST_NONE;
	machine_unlock(&vm->machine);

	switch (request) {
	case MACHINE_REQUEST_NONE: return;
	case MACHINE_REQUEST_POWEROFF: vm_end(vm, EXIT_CODE_OK); return;
	case MACHINE_REQUEST_DEBUG_EXIT: vm_end(vm, vm->machine.exit_code); return;
	case MACHINE_REQUEST_TRIPLE_FAULT:
		if (vm->engine_error[0]) {
			log_error("%s", vm->engine_error);
			vm_end(vm, EXIT_CODE_INTERNAL);
			return;
		}
		if (vm->config->no_reboot) {
			log_warning("the guest triple-faulted; it ends, as --no-reboot says");
			vm_end(vm, EXIT_CODE_TRIPLE_FAULT);
			return;
		}
		log_guest("the guest triple-faulted; it is reset");
		break;
	case MACHINE_REQUEST_PAUSE: vm_pause(vm); return;
	case MACHINE_REQUEST_RESET:
		if (vm->config->no_reboot) {
			vm_end(vm, EXIT_CODE_OK);
			return;
		}
		break;
	}
	vm_reset(vm);
}

static void vm_signal(void *context, unsigned events)
{
	struct vm *vm = context;
	struct signalfd_siginfo info;

	(void)events;
	if (read(vm->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	/* With the terminal gone nobody can see a shutdown through. */
	if (++vm->nr_terminations > 1 || info.ssi_signo == SIGHUP) {
		vm_end(vm, 128 + (int)info.ssi_signo);
		return;
	}
	log_info("asking the guest to power off; the same signal again ends it at once");
	vm_power_button(vm);
}

static void vm_key(void *context, enum serial_key key)
{
	struct vm *vm = context;

	switch (key) {
	case SERIAL_KEY_QUIT: vm_end(vm, EXIT_CODE_OK); break;
	case SERIAL_KEY_POWER: vm_power_button(vm); break;
	case SERIAL_KEY_RESET: vm_reset_button(vm); break;
	}
}

/* UTC, nanoseconds since 1970. */
static ns_t wall_clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int vm_open_signals(struct vm *vm, struct error *err)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	vm->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (vm->signal_fd < 0)
		return error_set_errno(err, EXIT_CODE_HOST, errno, "cannot watch for signals");
	return loop_add(&vm->loop, vm->signal_fd, LOOP_READ, vm_signal, vm);
}

/* Memory and devices are as the engine, which is made after them, needs and serves them. */
static int vm_select_engine(struct vm *vm, const struct engine_ops **ops, struct error *err)
{
	*ops = engine_select(vm->config->engine, vm->engine_reason, sizeof(vm->engine_reason), err);
	if (!*ops)
		return -EINVAL;
	vm->machine.has_irqfd = (*ops)->has_irqfd;
	/* The software engine has processes that run natively, and shares have their servers. */
	vm->machine.memory.is_private = *ops != &soft_engine_ops && vm->config->nr_shares == 0;
	return 0;
}

static int vm_create_engine(struct vm *vm, const struct engine_ops *ops, struct error *err)
{
	const struct vm_config *config = vm->config;
	struct engine_config engine_config = {
		.machine = &vm->machine,
		.cpu_model = &vm->cpu_model,
		.soft_mode = config->soft_mode,
		.soft_direct = config->soft_direct,
		.host_tsc = true,
		.count_exactly = config->count_exactly,
		.dump_code = config->dump_code,
	};

	if (config->dump_code &&
		(ops != &soft_engine_ops || config->soft_mode != SOFT_MODE_TRANSLATE))
		return error_set(err, EXIT_CODE_CONFIG,
			"--dump-code has nothing to write: no code is translated here; "
			"give --engine soft --soft-mode translate");
	/* Not before the devices, whose errors are to stand alone. */
	if (strcmp(config->engine, "auto") == 0)
		log_info("%s", vm->engine_reason);
	if (ops == &soft_engine_ops) {
		/* Its TLB is its own, whatever the host's can do. */
		cpu_model_offer(&vm->cpu_model, CPU_FEATURE_PCID);
		cpu_model_offer(&vm->cpu_model, CPU_FEATURE_INVPCID);
		/* Native code would see the host's TSC_AUX: docs/direct-execution.md. */
		cpu_model_hide(&vm->cpu_model, CPU_FEATURE_RDTSCP);
		cpu_model_hide(&vm->cpu_model, CPU_FEATURE_RDPID);
	}
	return ops->create(&engine_config, &vm->engine, err);
}

static bool vm_wants_console(const struct vm_config *config)
{
	return config->bundle && strcmp(config->serial, "console") == 0;
}

/* The outside of the machine: who types, who reads, who commands. */
static int vm_open_outside(struct vm *vm, struct error *err)
{
	const struct vm_config *config = vm->config;
	const char *serial = config->serial;

	if (config->bundle &&
		control_open(&vm->control, config->bundle, &vm->loop, vm_control_commands, vm, err))
		return -EINVAL;
	if (guest_clock_open(&vm->guest_clock, config->agent ? config->bundle : NULL, &vm->loop,
		    guest_clock_host) < 0)
		log_warning(
			"the host's sleep cannot be watched for; the guest's clock will be late "
			"after it");
	if (viewer_open(&vm->viewer, config->display, config->bundle, &vm->loop, &vm->devices,
		    &vm->input, err))
		return -EINVAL;
	if (lines_open(&vm->lines, config, &vm->loop, vm->board, err))
		return -EINVAL;
	if (vm->console) {
		if (console_open(vm->console, config->bundle, &vm->loop, &vm->machine, err))
			return -EINVAL;
		vm->console->board = vm->board;
		return 0;
	}
	if (curses_is_wanted(config->display)) {
		vm->curses.key = vm_key;
		vm->curses.context = vm;
		if (curses_open(&vm->curses, &vm->loop, &vm->devices, &vm->input, err))
			return -EINVAL;
		/* The terminal is the screen's. */
		if (strcmp(serial, "stdio") == 0)
			serial = "none";
	}
	/* The terminal goes raw last, so that every error above is printed on a sane one. */
	if (serial_open(&vm->serial, serial, &vm->loop, &vm->machine, err))
		return -EINVAL;
	vm->serial.board = vm->board;
	vm->serial.key = vm_key;
	vm->serial.key_context = vm;
	return 0;
}

/* The devices are there. */
static int vm_set_boot(struct vm *vm, struct error *err)
{
	struct boot_order order = { .menu = false };

	if (vm->config->boot && boot_order_parse(&order, vm->config->boot, err))
		return -EINVAL;
	if (boot_order_text(&order, &vm->devices, &vm->floppies, &vm->boot_order, err))
		return -EINVAL;
	board_set_boot(
		vm->board, &(struct board_boot){ vm->boot_order, order.menu, order.wait_ms });
	return 0;
}

static int vm_create(struct vm *vm, struct error *err)
{
	const struct vm_config *config = vm->config;
	struct board_config board = {
		.name = config->board                ? config->board
			: firmware_is_wanted(config) ? "pc"
						     : "micro",
		.chipset = config->chipset,
		.memory_bytes = config->memory_bytes,
		.nr_vcpus = config->nr_cpus,
		.debug_exit_port = config->debug_exit_port,
		.has_pci = devices_need_pci(config),
		.com1 = serial_line(&vm->serial),
		.has_pvpanic = config->panic,
		.panicked = vm_panicked,
		.panic_context = vm,
		.has_generation = config->generation_id,
		.has_floppies = config->nr_floppies > 0,
		.wall_clock_ns = wall_clock_now(),
	};
	const struct devices_events device_events = {
		.disk_stopped = vm_disk_stopped, .ejected = vm_wake, .context = vm
	};
	const struct engine_ops *engine;
	int result = memory_device_bytes(config, &board.device_memory_bytes, err);

	if (result)
		return result;
	result = loop_init(&vm->loop);

	if (vm->console)
		board.com1 = console_line(vm->console);
	if (result)
		return error_set_errno(err, EXIT_CODE_HOST, -result, "cannot make an event loop");
	if (firmware_open(&vm->firmware, config, err))
		return -EINVAL;
	firmware_describe(&vm->firmware, &board);
	vm->machine.requested = vm_wake;
	vm->machine.requested_context = vm;
	vm->machine.clock.deadline_moved = vm_wake;
	vm->machine.clock.deadline_context = vm;
	if (vm_open_signals(vm, err) ||
		cpu_model_init(&vm->cpu_model, config->cpu, config->nr_cpus, err) ||
		identity_init(&vm->identity, config->smbios, config, &vm->cpu_model, err) ||
		lines_describe(&vm->lines, config, &board, err))
		return -EINVAL;
	board.smbios = vm->identity.smbios;
	if (config->tpm) {
		if (tpm_open(&vm->tpm, config->tpm, config->bundle, &vm->loop, err))
			return -EINVAL;
		board.tpm = tpm_backend(&vm->tpm);
	}
	if (config->sound && sound_open(&vm->sound, config->sound, &vm->loop, &vm->machine, err))
		return -EINVAL;
	if (vm_select_engine(vm, &engine, err) ||
		board_create(&vm->board, &board, &vm->machine, err) ||
		(config->tpm && tpm_attach(&vm->tpm, vm->board, err)))
		return -EINVAL;
	if (vm->board->type->address_bits)
		cpu_model_limit_addresses(&vm->cpu_model, vm->board->type->address_bits);
	if (config->sound)
		vm->devices.sound = sound_sink(&vm->sound);
	if (devices_create(&vm->devices, config, &vm->machine, vm->board, &device_events, err) ||
		floppies_create(&vm->floppies, config, vm->board, vm_disk_stopped, vm, err) ||
		vm_set_boot(vm, err) || vm_create_engine(vm, engine, err))
		return -EINVAL;
	input_init(&vm->input, &vm->machine, board_i8042(vm->board));
	vm->input.keyboard = vm->devices.keyboard;
	vm->input.tablet = vm->devices.tablet;
	vm->input.usb_keyboard = vm->devices.controllers.usb.keyboard;
	vm->input.usb_tablet = vm->devices.controllers.usb.tablet;
	stages_reach(&vm->stages, STAGE_MACHINE);
	result = vm_load(vm, err);
	if (result)
		return result;
	stages_reach(&vm->stages, STAGE_LOADED);

	if (vm_open_outside(vm, err))
		return -EINVAL;
	result = vcpu_threads_start(&vm->vcpus, vm->engine, config->nr_cpus, vm_vcpu_stopped, vm);
	if (result)
		return error_set_errno(err, EXIT_CODE_HOST, -result, "cannot start a thread");
	return 0;
}

static void vm_loop(struct vm *vm)
{
	struct clock *clock = &vm->machine.clock;

	while (!vm->ended) {
		ns_t deadline_ns;

		machine_lock(&vm->machine);
		clock_run(clock);
		deadline_ns = clock_next_deadline(clock);
		if (deadline_ns != CLOCK_NEVER)
			deadline_ns += clock->offset_ns;
		machine_unlock(&vm->machine);
		if (vm->console && console_deadline(vm->console) < deadline_ns)
			deadline_ns = console_deadline(vm->console);
		if (vm->waits_for_disk && vm->disk_retry_ns < deadline_ns)
			deadline_ns = vm->disk_retry_ns;
		if (viewer_deadline(&vm->viewer) < deadline_ns)
			deadline_ns = viewer_deadline(&vm->viewer);
		if (curses_deadline(&vm->curses) < deadline_ns)
			deadline_ns = curses_deadline(&vm->curses);
		loop_run_once(&vm->loop, deadline_ns);
		vm_serve_disks(vm);
		vm_serve_ejections(vm);
		serial_service(&vm->serial);
		lines_service(&vm->lines);
		sound_service(&vm->sound);
		viewer_service(&vm->viewer);
		curses_service(&vm->curses);
		if (vm->console)
			console_service(vm->console);
		vm_serve_request(vm);
	}
}

/* Bytes of guest RAM that are resident in the host. */
static uint64_t guest_resident_bytes(const struct machine *machine)
{
	uint64_t resident = 0;

	for (unsigned i = 0; i < machine->memory.nr_regions; i++) {
		const struct ram_region *region = &machine->memory.regions[i];
		size_t pages = region->size / GUEST_PAGE_SIZE;
		unsigned char *present = malloc(pages);

		if (present && mincore(region->host, region->size, present) == 0)
			for (size_t page = 0; page < pages; page++)
				resident += (present[page] & 1) * GUEST_PAGE_SIZE;
		free(present);
	}
	return resident;
}

static void vm_destroy(struct vm *vm)
{
	vcpu_threads_end(&vm->vcpus);
	serial_close(&vm->serial);
	lines_close(&vm->lines);
	if (vm->console)
		console_close(vm->console);
	free(vm->console);
	control_close(&vm->control);
	viewer_close(&vm->viewer);
	curses_close(&vm->curses);
	floppies_destroy(&vm->floppies);
	devices_destroy(&vm->devices);
	sound_close(&vm->sound);
	tpm_close(&vm->tpm);
	guest_clock_close(&vm->guest_clock);
	if (vm->engine)
		vm->engine->ops->destroy(vm->engine);
	board_destroy(vm->board);
	free(vm->boot_order);
	firmware_close(&vm->firmware);
	identity_finish(&vm->identity);
	if (vm->signal_fd >= 0)
		close(vm->signal_fd);
	loop_finish(&vm->loop);
	machine_finish(&vm->machine);
	free(vm);
}

int vm_run(const struct vm_config *config, struct error *err)
{
	struct vm *vm = aligned_alloc(64, align_up(sizeof(*vm), 64));
	int exit_code;

	if (!vm) {
		error_set(err, EXIT_CODE_HOST, "out of memory");
		return EXIT_CODE_HOST;
	}
	memset(vm, 0, sizeof(*vm));
	vm->config = config;
	vm->signal_fd = vm->loop.epoll_fd = vm->loop.wake_fd = -1;
	vm->stages.at_ns[STAGE_START] = config->started_ns;
	machine_init(&vm->machine);

	if (vm_wants_console(config))
		vm->console = calloc(1, sizeof(*vm->console));
	if (vm_create(vm, err) == 0) {
		stages_reach(&vm->stages, STAGE_RUNNING);
		vcpu_threads_resume(&vm->vcpus);
		if (config->ready)
			config->ready(config->ready_context);
		vm_loop(vm);
		vcpu_threads_pause(&vm->vcpus);
		stages_reach(&vm->stages, STAGE_ENDED);
		vm->stages.at_ns[STAGE_OUTPUT] =
			vm->console ? vm->console->first_output_ns : vm->serial.first_output_ns;
		serial_close(&vm->serial);
		control_event(
			&vm->control, "ended", json_pack("{s:i}", "exit_code", vm->exit_code));
		if (config->print_stats)
			stats_print(stderr, vm->engine, config->stats_as_json);
		if (config->print_time)
			stages_print(stderr, &vm->stages, guest_resident_bytes(&vm->machine));
		exit_code = vm->exit_code;
	} else {
		if (!err->exit_code)
			error_set(err, EXIT_CODE_HOST, "the machine cannot be created");
		exit_code = err->exit_code;
	}
	vm_destroy(vm);
	return exit_code;
}
