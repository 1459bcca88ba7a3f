/*
 * System management mode on the board "pc" (docs/smm.md): the ICH9's software SMI, wired to every
 * processor, and the files by which firmware learns that it is (QEMU's docs/specs/fw_cfg, as OVMF
 * reads them). Under the machine lock.
 */
#include "board/pc.h"

#include <string.h>

#define FILE_SUPPORTED "etc/smi/supported-features"
#define FILE_REQUESTED "etc/smi/requested-features"
#define FILE_OK        "etc/smi/features-ok"

/* An SMI reaches all processors, not the one that asked for it alone. Those of CPU hotplug (bits 1
 * and 2) are not offered: there is none. */
#define FEATURE_BROADCAST BIT(0)

static void set_smi(void *context, unsigned pin, bool level)
{
	const struct cpu_bus *bus = &((struct pc *)context)->board.machine->cpu_bus;

	(void)pin;
	if (level && bus->smi)
		bus->smi(bus->engine);
}

void pc_smm_add(struct pc *pc)
{
	struct machine *machine = pc->board.machine;

	machine->has_smm = true;
	ich9_smi_init(&pc->smi, (struct irq_line){ .set = set_smi, .context = pc });
	machine_add_device(machine, &ich9_smi_type, "smi", &pc->smi);
	isa_map_apm(machine, PC_PORT_APM, &pc->smi);
}

/* Firmware has said what it wants. SMIs are broadcast whether it wants that or not, as SMI# of
 * hardware is; what it asks for beyond that is refused. */
static void ok_selected(void *context)
{
	struct pc *pc = context;
	const struct fw_cfg_item *requested = fw_cfg_file(&pc->fw_cfg, FILE_REQUESTED);
	struct fw_cfg_item *ok = fw_cfg_file(&pc->fw_cfg, FILE_OK);
	uint64_t features = 0;

	memcpy(&features, requested->bytes, sizeof(features));
	ok->bytes[0] = !(features & ~(uint64_t)FEATURE_BROADCAST);
}

int pc_smm_fill(struct pc *pc, struct error *err)
{
	const uint64_t supported = FEATURE_BROADCAST, none = 0;
	struct fw_cfg *chip = &pc->fw_cfg;
	struct fw_cfg_item *ok;

	if (fw_cfg_set_file(chip, FILE_SUPPORTED, &supported, sizeof(supported), err) ||
		fw_cfg_set_file(chip, FILE_REQUESTED, &none, sizeof(none), err) ||
		fw_cfg_set_file(chip, FILE_OK, "", 1, err))
		return -1;
	fw_cfg_file(chip, FILE_REQUESTED)->writable = true;
	ok = fw_cfg_file(chip, FILE_OK);
	ok->selected = ok_selected;
	ok->context = pc;
	return 0;
}
