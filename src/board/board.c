/*
 * The boards there are, and what is the same on all of them.
 */
#include "board/board.h"

#include "base/bits.h"
#include "board/at.h"

#include <errno.h>
#include <string.h>

const struct board_type *const boards[] = { &micro_board_type, &pc_board_type, NULL };

static const struct board_type *board_find(const char *name)
{
	for (unsigned i = 0; boards[i]; i++) {
		if (strcmp(boards[i]->name, name) == 0)
			return boards[i];
	}
	return NULL;
}

/* What SMBIOS says of memory. */
static void describe_memory(struct board *board, const struct board_config *config)
{
	const struct guest_memory *memory = &board->machine->memory;
	struct smbios_config *smbios = &board->smbios;

	*smbios = config->smbios;
	smbios->nr_cpus = config->nr_vcpus;
	smbios->memory_bytes = config->memory_bytes;
	smbios->low_end = config->memory_bytes;
	for (unsigned i = 0; i < memory->nr_regions; i++) {
		const struct ram_region *region = &memory->regions[i];

		if (region->movable || region->device || ram_region_base(region) < BIT(32))
			continue;
		smbios->high_base = ram_region_base(region);
		smbios->low_end = config->memory_bytes - region->size;
	}
}

int board_create(struct board **board, const struct board_config *config, struct machine *machine,
	struct error *err)
{
	const struct board_type *type = board_find(config->name);
	int rc;

	*board = NULL;
	if (!type)
		return error_set(err, EXIT_CODE_USAGE,
			"there is no board named \"%s\"; use --board %s", config->name,
			boards[0]->name);
	if (config->nr_vcpus < 1 || config->nr_vcpus > MACHINE_MAX_VCPUS)
		return error_set(err, EXIT_CODE_CONFIG,
			"a machine cannot have %u CPUs; use --cpus with 1 to %u", config->nr_vcpus,
			MACHINE_MAX_VCPUS);
	rc = type->create(board, config, machine, err);
	if (rc == 0)
		describe_memory(*board, config);
	return rc;
}

void board_destroy(struct board *board)
{
	if (board)
		board->type->destroy(board);
}

int board_start(struct board *board, struct error *err)
{
	return board->type->start ? board->type->start(board, err) : 0;
}

void board_describe(const struct board *board, struct acpi_config *acpi)
{
	board->type->describe(board, acpi);
}

gpa_t board_take_device_memory(struct board *board, uint64_t bytes, struct error *err)
{
	gpa_t base = board->device_memory;

	bytes = align_up(bytes, BOARD_DEVICE_MEMORY_ALIGNMENT);
	if (bytes > board->device_memory_end - base) {
		error_set(err, EXIT_CODE_CONFIG,
			"the board %s has no room for %llu MiB of device memory", board->type->name,
			(unsigned long long)(bytes >> 20));
		return 0;
	}
	board->device_memory += bytes;
	return base;
}

struct pci_host *board_pci(struct board *board)
{
	return board->type->pci(board);
}

void board_storage_place(struct board *board, struct board_storage_place *place)
{
	*place = (struct board_storage_place){ .kind = BOARD_STORAGE_NONE };
	if (board->type->storage_place)
		board->type->storage_place(board, place);
}

void board_set_boot(struct board *board, const struct board_boot *boot)
{
	if (board->type->set_boot)
		board->type->set_boot(board, boot);
}

struct i8042 *board_i8042(struct board *board)
{
	return board->type->i8042 ? board->type->i8042(board) : NULL;
}

struct i82077 *board_fdc(struct board *board)
{
	return board->type->fdc ? board->type->fdc(board) : NULL;
}

unsigned board_isa_bridge(struct board *board)
{
	return board->type->isa_bridge ? board->type->isa_bridge(board) : 0;
}

void board_power_button(struct board *board)
{
	board->type->power_button(board);
}

int board_add_generation(struct board *board, struct irq_line event, struct error *err)
{
	int rc = generation_init(&board->generation, event);

	if (rc < 0)
		return error_set_errno(err, EXIT_CODE_HOST, -rc,
			"there are no random numbers for the machine's generation");
	board->has_generation = true;
	return 0;
}

int board_renew_generation(struct board *board)
{
	if (!board->has_generation)
		return -ENOTSUP;
	return generation_renew(
		&board->generation, &board->machine->memory, board->type->generation_page(board));
}

void board_tpm_respond(struct board *board, const uint8_t *response, size_t size)
{
	tpm_crb_respond(&board->type->at(board)->tpm, response, size);
}

size_t board_line_receive(
	struct board *board, enum board_line line, const uint8_t *bytes, size_t size)
{
	return at_line_receive(board->type->at(board), line, bytes, size);
}

void board_line_receive_break(struct board *board, enum board_line line)
{
	at_line_receive_break(board->type->at(board), line);
}

void board_line_writable(struct board *board, enum board_line line)
{
	at_line_writable(board->type->at(board), line);
}
