/*
 * The firmware that a VM starts with, instead of a kernel: which file, and its content.
 */
#ifndef VMM_FIRMWARE_H
#define VMM_FIRMWARE_H

#include "base/properties.h"
#include "board/board.h"
#include "vmm/vm.h"

#include <stdio.h>

struct firmware {
	void *code;
	size_t code_size;
	/* Flash memory with UEFI's variables, mapped; NULL: none. Of the VM's directory what the
	 * guest writes is the file's. */
	void *variables;
	size_t variables_size;
	bool secure;    /* it needs system management mode */
	void *vga_bios; /* an option ROM */
	size_t vga_bios_size;
	FILE *log; /* of its debug console; NULL: none */
};

/* What --firmware says: `bios`, `uefi` or FILE, and properties of it. */
struct firmware_option {
	struct properties properties;
	const char *name; /* "bios", "uefi" or a file; lives as long as `properties` */
	bool secure;      /* the build that needs SMM, with Secure Boot on */
};

/* NULL is "bios". Returns 0, or fills `err`; firmware_option_finish in any case. */
int firmware_option_parse(struct firmware_option *option, const char *value, struct error *err);
void firmware_option_finish(struct firmware_option *option);

/* Does this machine start with firmware: asked for, or nothing else to boot? */
bool firmware_is_wanted(const struct vm_config *config);

/* Reads what `config` names and opens its log. Returns 0, or fills `err`; firmware_close in any
 * case. */
int firmware_open(struct firmware *firmware, const struct vm_config *config, struct error *err);
void firmware_close(struct firmware *firmware);

/* For board_config. */
void firmware_describe(struct firmware *firmware, struct board_config *board);

#endif
