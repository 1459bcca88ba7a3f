/*
 * SMBIOS (DMTF DSP0134, 2.8): what a machine says of itself, with an entry point of 2.1 form, which
 * every firmware and operating system finds.
 */
#ifndef FIRMWARE_SMBIOS_H
#define FIRMWARE_SMBIOS_H

#include "machine/memory.h"

/* A string that is NULL is not given. */
struct smbios_identity {
	const char *manufacturer, *product, *version, *serial, *sku, *family, *asset;
	uint8_t uuid[16]; /* in the order in which it is written */
};

struct smbios_config {
	struct smbios_identity identity;
	const char *firmware; /* its vendor */
	unsigned nr_cpus;
	uint32_t cpu_signature; /* CPUID 1, EAX and EDX */
	uint32_t cpu_features;
	uint64_t memory_bytes;
	uint64_t low_end; /* where RAM below 4 GiB ends */
	gpa_t high_base;  /* where the rest begins */
};

#define SMBIOS_ANCHOR_SIZE 31
#define SMBIOS_MAX_SIZE    0x8000

/* Where firmware looks for them. */
#define SMBIOS_FILE_ANCHOR "etc/smbios/smbios-anchor"
#define SMBIOS_FILE_TABLES "etc/smbios/smbios-tables"

struct smbios_image {
	uint8_t anchor[SMBIOS_ANCHOR_SIZE];
	uint8_t tables[SMBIOS_MAX_SIZE];
	size_t size; /* of the tables */
};

/* `base` is where the tables will lie, 0 if firmware decides. False: they have no room, which long
 * strings can do. */
bool smbios_build(const struct smbios_config *config, gpa_t base, struct smbios_image *image);

/* Writes them where operating systems search if there is no firmware: at 0xf0000. Returns 0, or
 * fills `err`. */
#define SMBIOS_BASE 0xf0000
#define SMBIOS_END  0x100000
int smbios_install(
	const struct smbios_config *config, struct guest_memory *memory, struct error *err);

/* Reads what `--smbios` has: 8-4-4-4-12 hexadecimal digits. False if it is no UUID. */
bool smbios_parse_uuid(const char *text, uint8_t uuid[16]);

#endif
