/*
 * Linux's boot protocol (Linux Documentation/arch/x86/boot.rst and zero-page.rst): offsets in
 * struct boot_params, "the zero page", of which 0x1f1 to 0x28f is the setup header of a bzImage.
 */
#ifndef FIRMWARE_BOOT_LINUX_H
#define FIRMWARE_BOOT_LINUX_H

#include "firmware/boot_loader.h"

#define LINUX_PARAMS_SIZE 4096

#define LINUX_EXT_MEM_K     0x002
#define LINUX_RSDP          0x070
#define LINUX_ALT_MEM_K     0x1e0
#define LINUX_E820_ENTRIES  0x1e8
#define LINUX_E820_TABLE    0x2d0
#define LINUX_E820_MAX      128
#define LINUX_E820_SIZE     20
#define LINUX_HEADER        0x1f1
#define LINUX_HEADER_END    0x290
#define LINUX_SETUP_SECTS   0x1f1
#define LINUX_BOOT_FLAG     0x1fe /* 0xaa55 */
#define LINUX_JUMP_LENGTH   0x201 /* the header ends that many bytes after 0x202 */
#define LINUX_MAGIC         0x202 /* "HdrS" */
#define LINUX_VERSION       0x206
#define LINUX_LOADER_TYPE   0x210
#define LINUX_LOADFLAGS     0x211
#define LINUX_CODE32_START  0x214
#define LINUX_RAMDISK_IMAGE 0x218
#define LINUX_RAMDISK_SIZE  0x21c
#define LINUX_CMD_LINE_PTR  0x228
#define LINUX_INITRD_MAX    0x22c
#define LINUX_ALIGNMENT     0x230
#define LINUX_RELOCATABLE   0x234
#define LINUX_XLOADFLAGS    0x236
#define LINUX_CMDLINE_SIZE  0x238
#define LINUX_PREF_ADDRESS  0x258
#define LINUX_INIT_SIZE     0x260

#define LINUX_LOADER_UNDEFINED 0xff
#define LINUX_LOADED_HIGH      BIT(0) /* loadflags */
#define LINUX_KERNEL_64        BIT(0) /* xloadflags: there is a 64-bit entry at 0x200 */
#define LINUX_ENTRY_64         0x200

struct linux_limits {
	uint64_t command_line; /* bytes without the NUL */
	gpa_t initrd_max;      /* the last address that the initrd may use */
	gpa_t kernel_end;      /* for the message about too little memory */
};

/*
 * Completes `params`, whose setup header is filled, with the command line, the initrd, the memory
 * map and ACPI; copies it to guest memory and lets the processor point at it (RSI).
 */
int boot_linux_finish(struct boot *boot, const struct boot_image *image,
	uint8_t params[LINUX_PARAMS_SIZE], const struct linux_limits *limits, struct error *err);

#endif
