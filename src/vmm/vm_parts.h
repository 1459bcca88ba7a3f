/*
 * What a running VM is made of, for the files of src/vmm that act on the whole of it.
 */
#ifndef VMM_VM_PARTS_H
#define VMM_VM_PARTS_H

#include "base/loop.h"
#include "board/board.h"
#include "vmm/console.h"
#include "vmm/control.h"
#include "vmm/curses.h"
#include "vmm/devices.h"
#include "vmm/firmware.h"
#include "vmm/floppies.h"
#include "vmm/guest_clock.h"
#include "vmm/identity.h"
#include "vmm/input.h"
#include "vmm/lines.h"
#include "vmm/serial.h"
#include "vmm/sound.h"
#include "vmm/stages.h"
#include "vmm/tpm.h"
#include "vmm/vcpu_threads.h"
#include "vmm/viewer.h"
#include "vmm/vm.h"

struct vm {
	const struct vm_config *config;
	struct loop loop;
	struct machine machine;
	struct cpu_model cpu_model;
	struct board *board;
	struct firmware firmware;
	struct devices devices;
	struct floppies floppies; /* event loop only */
	char *boot_order;         /* board_boot.order */
	struct input input;       /* event loop only */
	struct viewer viewer;     /* event loop only */
	struct curses curses;     /* event loop only */
	struct engine *engine;
	char engine_reason[256]; /* why it was chosen */
	struct serial serial;
	struct lines lines;
	struct sound sound; /* event loop, but for what its header says */
	struct tpm tpm;
	struct identity identity;
	struct console *console; /* instead of `serial`; NULL: no --serial console */
	struct control control;  /* open if the VM has a bundle */
	struct guest_clock guest_clock;
	struct vcpu_threads vcpus;
	struct stages stages;
	int signal_fd;

	/* Event loop only. */
	unsigned nr_terminations; /* SIGTERMs taken */
	bool paused;              /* by somebody outside */
	bool waits_for_disk;      /* paused until the host has room */
	ns_t disk_retry_ns;       /* CLOCK_MONOTONIC: when to look again */
	bool ended;
	int exit_code;

	/* Any thread. */
	_Atomic bool disk_stopped; /* vm_serve_disks has something to do */
	_Atomic bool disk_trouble; /* it has been said */
	_Atomic bool crashed;      /* the guest said so, and nobody was told yet */

	/* Machine lock. */
	char engine_error[256]; /* the text of VCPU_EXIT_ERROR */
};

/* All of these on the event loop's thread, without the machine lock. */

/* The loop ends after this round, and the process with `exit_code`. */
void vm_end(struct vm *vm, int exit_code);
void vm_power_button(struct vm *vm);
void vm_reset_button(struct vm *vm);
/* Stops the vCPUs and the guest's clock; both may be called twice. */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);

/* A disk keeps requests that the host failed (vm_disks.c): pauses the guest, says why, and tries
 * again until it works. The first on any thread. */
void vm_disk_stopped(void *context, const struct error *why);
void vm_serve_disks(struct vm *vm);

/* Destroys the devices that the guest has ejected (vm_hotplug.c). */
void vm_serve_ejections(struct vm *vm);
int vm_run_device_add(void *context, const json_t *arguments, json_t **result, struct error *err);
int vm_run_device_remove(
	void *context, const json_t *arguments, json_t **result, struct error *err);
int vm_run_disk_resize(void *context, const json_t *arguments, json_t **result, struct error *err);
int vm_run_media(void *context, const json_t *arguments, json_t **result, struct error *err);
int vm_run_devices(void *context, const json_t *arguments, json_t **result, struct error *err);

/* The screen, the keyboard and the pointer (vm_screen.c). */
int vm_run_screenshot(void *context, const json_t *arguments, json_t **result, struct error *err);
int vm_run_screen_text(void *context, const json_t *arguments, json_t **result, struct error *err);
int vm_run_type(void *context, const json_t *arguments, json_t **result, struct error *err);
int vm_run_keys(void *context, const json_t *arguments, json_t **result, struct error *err);
int vm_run_mouse(void *context, const json_t *arguments, json_t **result, struct error *err);

/* Its memory (vm_memory.c): what there is to tell, and what it is told. */
json_t *vm_memory_as_json(struct vm *vm);
json_t *vm_balloon_as_json(struct vm *vm);
int vm_run_memory(void *context, const json_t *arguments, json_t **result, struct error *err);
int vm_run_balloon(void *context, const json_t *arguments, json_t **result, struct error *err);

/* What a VM can be told through its control socket (vm_control.c). */
extern const struct control_command vm_control_commands[];

#endif
