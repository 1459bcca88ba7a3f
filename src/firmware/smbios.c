/*
 * SMBIOS structures (DSP0134 3.x, chapter 7, by the layouts of 2.8): BIOS, system, chassis,
 * processor, memory array with its devices and ranges, boot status, end. One processor structure
 * stands for the package that CPUID describes.
 */
#include "firmware/smbios.h"

#include "base/bits.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum smbios_type {
	TYPE_BIOS = 0,
	TYPE_SYSTEM = 1,
	TYPE_CHASSIS = 3,
	TYPE_PROCESSOR = 4,
	TYPE_MEMORY_ARRAY = 16,
	TYPE_MEMORY_DEVICE = 17,
	TYPE_MEMORY_RANGE = 19,
	TYPE_BOOT = 32,
	TYPE_END = 127,
};

/* Each type's handles begin at its number, so that none is met twice. */
#define HANDLE(type, index) ((uint16_t)((type) << 8 | (index)))

#define MAX_DEVICES 64 /* memory devices, of 16 GiB at least */
#define GIB         (UINT64_C(1) << 30)
#define MAX_STRINGS 8

struct bios {
	uint8_t type, length;
	uint16_t handle;
	uint8_t vendor, version;
	uint16_t segment;
	uint8_t date, rom_size;
	uint64_t characteristics;
	uint8_t extension[2];
	uint8_t major, minor, controller_major, controller_minor;
} __attribute__((packed));

struct system {
	uint8_t type, length;
	uint16_t handle;
	uint8_t manufacturer, product, version, serial;
	uint8_t uuid[16];
	uint8_t wake_up, sku, family;
} __attribute__((packed));

struct chassis {
	uint8_t type, length;
	uint16_t handle;
	uint8_t manufacturer, kind, version, serial, asset;
	uint8_t boot_state, power_state, thermal_state, security;
	uint32_t oem;
	uint8_t height, nr_cords, nr_elements, element_length;
	uint8_t sku;
} __attribute__((packed));

struct processor {
	uint8_t type, length;
	uint16_t handle;
	uint8_t socket, kind, family, manufacturer;
	uint32_t signature, features;
	uint8_t version, voltage;
	uint16_t external_clock, max_speed, current_speed;
	uint8_t status, upgrade;
	uint16_t l1, l2, l3;
	uint8_t serial, asset, part;
	uint8_t nr_cores, nr_enabled, nr_threads;
	uint16_t characteristics, family_2;
} __attribute__((packed));

struct memory_array {
	uint8_t type, length;
	uint16_t handle;
	uint8_t location, use, correction;
	uint32_t capacity_kib;
	uint16_t error_handle, nr_devices;
	uint64_t capacity_bytes;
} __attribute__((packed));

struct memory_device {
	uint8_t type, length;
	uint16_t handle;
	uint16_t array, error_handle, total_width, data_width, size_mib;
	uint8_t form, set, locator, bank, kind;
	uint16_t detail, speed;
	uint8_t manufacturer, serial, asset, part, attributes;
	uint32_t extended_size_mib;
	uint16_t clock_speed, min_voltage, max_voltage, voltage;
} __attribute__((packed));

struct memory_range {
	uint8_t type, length;
	uint16_t handle;
	uint32_t start_kib, end_kib;
	uint16_t array;
	uint8_t width;
	uint64_t start, end;
} __attribute__((packed));

struct boot {
	uint8_t type, length;
	uint16_t handle;
	uint8_t reserved[6], status;
} __attribute__((packed));

struct end {
	uint8_t type, length;
	uint16_t handle;
} __attribute__((packed));

/* DSP0134, 5.2.1. */
struct anchor {
	char signature[4];
	uint8_t checksum, length, major, minor;
	uint16_t max_structure;
	uint8_t revision, formatted[5];
	char intermediate[5];
	uint8_t intermediate_checksum;
	uint16_t tables_length;
	uint32_t tables;
	uint16_t nr_structures;
	uint8_t bcd_revision;
} __attribute__((packed));

_Static_assert(sizeof(struct anchor) == SMBIOS_ANCHOR_SIZE, "5.2.1");
_Static_assert(sizeof(struct bios) == 0x18, "7.1");
_Static_assert(sizeof(struct system) == 0x1b, "7.2");
_Static_assert(sizeof(struct chassis) == 0x16, "7.4");
_Static_assert(sizeof(struct processor) == 0x2a, "7.5");
_Static_assert(sizeof(struct memory_array) == 0x17, "7.17");
_Static_assert(sizeof(struct memory_device) == 0x28, "7.18");
_Static_assert(sizeof(struct memory_range) == 0x1f, "7.20");
_Static_assert(sizeof(struct boot) == 0x0b, "7.33");

#define BIOS_UNSPECIFIED       BIT(3)
#define BIOS_EXTENSION_ACPI    BIT(0) /* in the first byte */
#define BIOS_EXTENSION_VIRTUAL BIT(4) /* in the second: a virtual machine */
#define KIND_OTHER             0x01
#define KIND_UNKNOWN           0x02
#define STATE_SAFE             0x03
#define SECURITY_NONE          0x03
#define PROCESSOR_CENTRAL      0x03
#define PROCESSOR_ENABLED      0x41 /* populated, enabled */
#define PROCESSOR_64_BIT       BIT(2)
#define PROCESSOR_MULTI_CORE   BIT(3)
#define LOCATION_OTHER         0x01
#define USE_SYSTEM_MEMORY      0x03
#define CORRECTION_NONE        0x03
#define NO_ERROR_HANDLE        0xfffe
#define FORM_DIMM              0x09
#define MEMORY_RAM             0x07
#define DETAIL_OTHER           BIT(1)
#define NONE                   0xffff
#define WAKE_UP_POWER_SWITCH   0x06
#define SIZE_EXTENDED          0x7fff

struct writer {
	struct smbios_image *image;
	unsigned nr_structures, max_structure;
	/* Of the structure that is being made. */
	const char *strings[MAX_STRINGS];
	uint8_t nr_strings;
	bool full;
};

/* The number by which the structure refers to it. */
static uint8_t add_string(struct writer *writer, const char *text)
{
	if (!text || !*text)
		return 0;
	writer->strings[writer->nr_strings++] = text;
	return writer->nr_strings;
}

static void append(struct writer *writer, const void *bytes, size_t size)
{
	struct smbios_image *image = writer->image;

	if (size > sizeof(image->tables) - image->size) {
		writer->full = true;
		return;
	}
	memcpy(image->tables + image->size, bytes, size);
	image->size += size;
}

/* The structure, and behind it its strings, each with its 0, and one more. */
static void put(struct writer *writer, const void *structure)
{
	size_t start = writer->image->size;

	append(writer, structure, ((const uint8_t *)structure)[1]);
	for (unsigned i = 0; i < writer->nr_strings; i++)
		append(writer, writer->strings[i], strlen(writer->strings[i]) + 1);
	append(writer, "\0", writer->nr_strings ? 1 : 2);
	writer->nr_strings = 0;
	writer->nr_structures++;
	if (writer->image->size - start > writer->max_structure)
		writer->max_structure = (unsigned)(writer->image->size - start);
}

#define HEADER(structure, number, index)                                                           \
	.type = (number), .length = sizeof(structure), .handle = HANDLE(number, index)

static void put_bios(struct writer *writer, const struct smbios_config *config)
{
	struct bios bios = {
		HEADER(bios, TYPE_BIOS, 0),
		.segment = 0xe800,
		.characteristics = BIOS_UNSPECIFIED,
		.extension = { BIOS_EXTENSION_ACPI, BIOS_EXTENSION_VIRTUAL },
		.major = 0,
		.minor = 0,
		.controller_major = 0xff,
		.controller_minor = 0xff,
	};

	bios.vendor = add_string(writer, config->firmware);
	bios.version = add_string(writer, "1");
	bios.date = add_string(writer, "01/01/2024");
	put(writer, &bios);
}

/* The first three fields of a UUID are little endian here (7.2.1). */
static void put_system(struct writer *writer, const struct smbios_identity *identity)
{
	static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
	struct system system = { HEADER(system, TYPE_SYSTEM, 0), .wake_up = WAKE_UP_POWER_SWITCH };

	system.manufacturer = add_string(writer, identity->manufacturer);
	system.product = add_string(writer, identity->product);
	system.version = add_string(writer, identity->version);
	system.serial = add_string(writer, identity->serial);
	system.sku = add_string(writer, identity->sku);
	system.family = add_string(writer, identity->family);
	for (unsigned i = 0; i < sizeof(order); i++)
		system.uuid[i] = identity->uuid[order[i]];
	put(writer, &system);
}

static void put_chassis(struct writer *writer, const struct smbios_identity *identity)
{
	struct chassis chassis = {
		HEADER(chassis, TYPE_CHASSIS, 0),
		.kind = KIND_OTHER,
		.boot_state = STATE_SAFE,
		.power_state = STATE_SAFE,
		.thermal_state = STATE_SAFE,
		.security = SECURITY_NONE,
	};

	chassis.manufacturer = add_string(writer, identity->manufacturer);
	chassis.version = add_string(writer, identity->version);
	chassis.serial = add_string(writer, identity->serial);
	chassis.asset = add_string(writer, identity->asset);
	put(writer, &chassis);
}

static void put_processor(struct writer *writer, const struct smbios_config *config)
{
	uint8_t cores = (uint8_t)(config->nr_cpus < 255 ? config->nr_cpus : 255);
	struct processor processor = {
		HEADER(processor, TYPE_PROCESSOR, 0),
		.kind = PROCESSOR_CENTRAL,
		.family = KIND_OTHER,
		.signature = config->cpu_signature,
		.features = config->cpu_features,
		.status = PROCESSOR_ENABLED,
		.upgrade = KIND_OTHER,
		.l1 = NONE,
		.l2 = NONE,
		.l3 = NONE,
		.nr_cores = cores,
		.nr_enabled = cores,
		.nr_threads = cores,
		.characteristics = PROCESSOR_64_BIT | (cores > 1 ? PROCESSOR_MULTI_CORE : 0),
		.family_2 = KIND_OTHER,
	};

	processor.socket = add_string(writer, "CPU 0");
	processor.manufacturer = add_string(writer, "Atoll");
	put(writer, &processor);
}

static void put_memory_array(
	struct writer *writer, const struct smbios_config *config, unsigned nr_devices)
{
	uint64_t kib = config->memory_bytes >> 10;
	struct memory_array array = {
		HEADER(array, TYPE_MEMORY_ARRAY, 0),
		.location = LOCATION_OTHER,
		.use = USE_SYSTEM_MEMORY,
		.correction = CORRECTION_NONE,
		.capacity_kib = kib < BIT(31) ? (uint32_t)kib : (uint32_t)BIT(31),
		.error_handle = NO_ERROR_HANDLE,
		.nr_devices = (uint16_t)nr_devices,
		.capacity_bytes = kib < BIT(31) ? 0 : config->memory_bytes,
	};

	put(writer, &array);
}

static void put_memory_device(struct writer *writer, unsigned index, uint64_t bytes)
{
	static const char *const locators[] = { "DIMM 0", "DIMM 1", "DIMM 2", "DIMM 3" };
	uint64_t mib = bytes >> 20;
	struct memory_device device = {
		HEADER(device, TYPE_MEMORY_DEVICE, index),
		.array = HANDLE(TYPE_MEMORY_ARRAY, 0),
		.error_handle = NO_ERROR_HANDLE,
		.total_width = NONE,
		.data_width = NONE,
		.size_mib = mib < SIZE_EXTENDED ? (uint16_t)mib : SIZE_EXTENDED,
		.form = FORM_DIMM,
		.kind = MEMORY_RAM,
		.detail = DETAIL_OTHER,
		.extended_size_mib = mib < SIZE_EXTENDED ? 0 : (uint32_t)mib,
	};

	device.locator =
		add_string(writer, index < ARRAY_SIZE(locators) ? locators[index] : "DIMM");
	device.manufacturer = add_string(writer, "Atoll");
	put(writer, &device);
}

static unsigned nr_memory_devices(uint64_t bytes, uint64_t *each)
{
	*each = 16 * GIB;
	while ((bytes + *each - 1) / *each > MAX_DEVICES)
		*each *= 2;
	return (unsigned)((bytes + *each - 1) / *each);
}

static void put_memory_range(struct writer *writer, unsigned index, gpa_t start, uint64_t bytes)
{
	uint64_t end = start + bytes;
	bool fits = end >> 10 < NONE * UINT64_C(0x10000);
	struct memory_range range = {
		HEADER(range, TYPE_MEMORY_RANGE, index),
		.start_kib = fits ? (uint32_t)(start >> 10) : UINT32_MAX,
		.end_kib = fits ? (uint32_t)((end >> 10) - 1) : UINT32_MAX,
		.array = HANDLE(TYPE_MEMORY_ARRAY, 0),
		.width = 1,
		.start = fits ? 0 : start,
		.end = fits ? 0 : end - 1,
	};

	put(writer, &range);
}

static void put_memory(struct writer *writer, const struct smbios_config *config)
{
	uint64_t each, left = config->memory_bytes;
	unsigned nr_devices = nr_memory_devices(left, &each);

	put_memory_array(writer, config, nr_devices);
	for (unsigned i = 0; i < nr_devices; i++, left -= each)
		put_memory_device(writer, i, left < each ? left : each);
	put_memory_range(writer, 0, 0, config->low_end);
	if (config->memory_bytes > config->low_end)
		put_memory_range(
			writer, 1, config->high_base, config->memory_bytes - config->low_end);
}

static uint8_t checksum(const void *bytes, size_t size)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += ((const uint8_t *)bytes)[i];
	return (uint8_t)-sum;
}

static void put_anchor(const struct writer *writer, gpa_t base)
{
	struct anchor anchor = {
		.length = sizeof(anchor),
		.major = 2,
		.minor = 8,
		.max_structure = (uint16_t)writer->max_structure,
		.tables_length = (uint16_t)writer->image->size,
		.tables = (uint32_t)base,
		.nr_structures = (uint16_t)writer->nr_structures,
		.bcd_revision = 0x28,
	};

	memcpy(anchor.signature, "_SM_", 4);
	memcpy(anchor.intermediate, "_DMI_", 5);
	anchor.intermediate_checksum = checksum(anchor.intermediate, 15);
	anchor.checksum = checksum(&anchor, sizeof(anchor));
	memcpy(writer->image->anchor, &anchor, sizeof(anchor));
}

bool smbios_build(const struct smbios_config *config, gpa_t base, struct smbios_image *image)
{
	struct writer writer = { .image = image };
	struct boot boot = { HEADER(boot, TYPE_BOOT, 0) };
	struct end end = { HEADER(end, TYPE_END, 0) };

	memset(image, 0, sizeof(*image));
	put_bios(&writer, config);
	put_system(&writer, &config->identity);
	put_chassis(&writer, &config->identity);
	put_processor(&writer, config);
	put_memory(&writer, config);
	put(&writer, &boot);
	put(&writer, &end);
	put_anchor(&writer, base);
	return !writer.full;
}

int smbios_install(
	const struct smbios_config *config, struct guest_memory *memory, struct error *err)
{
	const gpa_t tables = SMBIOS_BASE + align_up(SMBIOS_ANCHOR_SIZE, 16);
	struct smbios_image *image = malloc(sizeof(*image));
	int rc = -1;

	_Static_assert(SMBIOS_MAX_SIZE + 32 <= SMBIOS_END - SMBIOS_BASE, "has room there");
	if (!image)
		return error_set(err, EXIT_CODE_HOST, "no memory for SMBIOS tables");
	if (!smbios_build(config, tables, image))
		error_set(err, EXIT_CODE_CONFIG,
			"the texts of --smbios are too long; they have room for %u bytes in all",
			SMBIOS_MAX_SIZE / 2);
	else if (guest_memory_write(memory, SMBIOS_BASE, image->anchor, sizeof(image->anchor)) ||
		 guest_memory_write(memory, tables, image->tables, image->size))
		error_set(err, EXIT_CODE_CONFIG,
			"the guest has no room for SMBIOS tables below 1 MiB: give it --memory 1M "
			"or more");
	else
		rc = 0;
	free(image);
	return rc;
}

bool smbios_parse_uuid(const char *text, uint8_t uuid[16])
{
	static const uint8_t dashes[] = { 8, 13, 18, 23 };
	unsigned digits = 0, dash = 0;

	if (strlen(text) != 36)
		return false;
	for (unsigned i = 0; i < 36; i++) {
		unsigned char c = (unsigned char)text[i];

		if (dash < ARRAY_SIZE(dashes) && i == dashes[dash]) {
			if (c != '-')
				return false;
			dash++;
			continue;
		}
		if (!isxdigit(c))
			return false;
		uuid[digits / 2] = (uint8_t)(uuid[digits / 2] << 4 |
					     (isdigit(c) ? c - '0' : (c | 32) - 'a' + 10));
		digits++;
	}
	return true;
}
