/*
 * The script of QEMU's table loader (hw/acpi's linker and loader; what
 * SeaBIOS's romfile_loader and OVMF's QemuFwCfgAcpi execute): where firmware puts the files, which
 * fields hold addresses inside them, and which checksums it has to make anew.
 */
#include "firmware/acpi.h"
#include "firmware/acpi_tables.h"

#include <stddef.h>
#include <string.h>

#define COMMAND_ALLOCATE      1
#define COMMAND_ADD_POINTER   2
#define COMMAND_ADD_CHECKSUM  3
#define COMMAND_WRITE_POINTER 4
#define ZONE_HIGH             1
#define ZONE_FSEG             2
#define TABLES_ALIGNMENT      64
#define RSDP_ALIGNMENT        16

#define FILE_NAME_SIZE 56

struct command {
	uint32_t number;
	union {
		struct {
			char file[FILE_NAME_SIZE];
			uint32_t alignment;
			uint8_t zone;
		} __attribute__((packed)) allocate;
		struct {
			char file[FILE_NAME_SIZE];
			char pointee[FILE_NAME_SIZE];
			uint32_t offset;
			uint8_t size;
		} __attribute__((packed)) pointer;
		struct {
			char file[FILE_NAME_SIZE];
			uint32_t offset;
			uint32_t start;
			uint32_t length;
		} __attribute__((packed)) checksum;
		struct {
			char file[FILE_NAME_SIZE]; /* which the device takes back */
			char pointee[FILE_NAME_SIZE];
			uint32_t offset;
			uint32_t pointee_offset;
			uint8_t size;
		} __attribute__((packed)) write;
		uint8_t bytes[ACPI_LOADER_COMMAND_SIZE - 4];
	};
} __attribute__((packed));

_Static_assert(sizeof(struct command) == ACPI_LOADER_COMMAND_SIZE, "of a fixed size");

static void append(struct acpi_loader *loader, const struct command *command)
{
	if (loader->nr_commands < ACPI_LOADER_MAX_COMMANDS)
		memcpy(loader->commands[loader->nr_commands++], command, sizeof(*command));
}

static void allocate(struct acpi_loader *loader, const char *file, uint32_t alignment, uint8_t zone)
{
	struct command command = { .number = COMMAND_ALLOCATE };

	strncpy(command.allocate.file, file, FILE_NAME_SIZE - 1);
	command.allocate.alignment = alignment;
	command.allocate.zone = zone;
	append(loader, &command);
}

/* `offset` is in the image. */
static void add_pointer_to(struct acpi_loader *loader, const char *pointee, const char *file,
	size_t offset, uint8_t size)
{
	struct command command = { .number = COMMAND_ADD_POINTER };

	strncpy(command.pointer.file, file, FILE_NAME_SIZE - 1);
	strncpy(command.pointer.pointee, pointee, FILE_NAME_SIZE - 1);
	command.pointer.offset = (uint32_t)offset;
	command.pointer.size = size;
	append(loader, &command);
}

static void add_pointer(struct acpi_loader *loader, const char *file, size_t offset, uint8_t size)
{
	add_pointer_to(loader, ACPI_LOADER_TABLES, file, offset, size);
}

/* OVMF sums the byte up with the others, and stores what makes the sum zero: so it is zero in the
 * file. SeaBIOS does not mind. */
static void add_checksum(struct acpi_loader *loader, struct acpi_image *image, const char *file,
	size_t offset, size_t start, size_t length)
{
	struct command command = { .number = COMMAND_ADD_CHECKSUM };

	image->bytes[offset] = 0;
	strncpy(command.checksum.file, file, FILE_NAME_SIZE - 1);
	command.checksum.offset = (uint32_t)offset;
	command.checksum.start = (uint32_t)start;
	command.checksum.length = (uint32_t)length;
	append(loader, &command);
}

static void add_table_checksum(struct acpi_loader *loader, struct acpi_image *image, size_t table)
{
	const struct acpi_header *header = (const void *)(image->bytes + table);

	add_checksum(loader, image, ACPI_LOADER_TABLES,
		table + offsetof(struct acpi_header, checksum), table, header->length);
}

static void add_fadt(struct acpi_loader *loader, struct acpi_image *image, size_t fadt)
{
	add_pointer(loader, ACPI_LOADER_TABLES, fadt + offsetof(struct acpi_fadt, facs), 4);
	add_pointer(loader, ACPI_LOADER_TABLES, fadt + offsetof(struct acpi_fadt, dsdt), 4);
	add_pointer(loader, ACPI_LOADER_TABLES, fadt + offsetof(struct acpi_fadt, x_dsdt), 8);
	add_table_checksum(loader, image, fadt);
}

/* A root table: its entries, and the FADT, which is the first of them. */
static void add_root(
	struct acpi_loader *loader, struct acpi_image *image, size_t root, uint8_t size)
{
	const struct acpi_header *header = (const void *)(image->bytes + root);

	for (size_t at = sizeof(*header); at < header->length; at += size)
		add_pointer(loader, ACPI_LOADER_TABLES, root + at, size);
	add_table_checksum(loader, image, root);
}

/* A page of its own, which the device learns the address of. */
static void add_generation(struct acpi_loader *loader, struct acpi_image *image)
{
	struct command command = { .number = COMMAND_WRITE_POINTER };

	if (!image->generation)
		return;
	allocate(loader, ACPI_LOADER_GENERATION, GUEST_PAGE_SIZE, ZONE_HIGH);
	add_pointer_to(
		loader, ACPI_LOADER_GENERATION, ACPI_LOADER_TABLES, image->generation_pointer, 4);
	add_table_checksum(loader, image, image->generation);
	strncpy(command.write.file, ACPI_LOADER_GENERATION_ADDRESS, FILE_NAME_SIZE - 1);
	strncpy(command.write.pointee, ACPI_LOADER_GENERATION, FILE_NAME_SIZE - 1);
	command.write.size = 8;
	append(loader, &command);
}

/* The tables' file begins with the RSDP's bytes too, which nobody looks at there: so offsets in the
 * image are offsets in the file. */
void acpi_loader_build(struct acpi_image *image, struct acpi_loader *loader)
{
	const struct acpi_rsdp *rsdp = (const void *)image->bytes;
	const uint32_t *entries =
		(const void *)(image->bytes + rsdp->rsdt + sizeof(struct acpi_header));

	memset(loader, 0, sizeof(*loader));
	loader->rsdp_size = sizeof(*rsdp);
	allocate(loader, ACPI_LOADER_TABLES, TABLES_ALIGNMENT, ZONE_HIGH);
	allocate(loader, ACPI_LOADER_RSDP, RSDP_ALIGNMENT, ZONE_FSEG);
	add_fadt(loader, image, entries[0]);
	add_generation(loader, image);
	add_root(loader, image, rsdp->rsdt, 4);
	add_root(loader, image, (size_t)rsdp->xsdt, 8);
	add_pointer(loader, ACPI_LOADER_RSDP, offsetof(struct acpi_rsdp, rsdt), 4);
	add_pointer(loader, ACPI_LOADER_RSDP, offsetof(struct acpi_rsdp, xsdt), 8);
	add_checksum(loader, image, ACPI_LOADER_RSDP, offsetof(struct acpi_rsdp, checksum), 0,
		offsetof(struct acpi_rsdp, length));
	add_checksum(loader, image, ACPI_LOADER_RSDP, offsetof(struct acpi_rsdp, extended_checksum),
		0, sizeof(*rsdp));
}
