/*
 * The chipset 440FX with PIIX3 and the power management of PIIX4 (290549, 290550, 290562): the host
 * bridge (PMC) with PAM and SMRAM, the ISA bridge with interrupt routing, and the ACPI registers'
 * function with PMBA.
 *
 * SMM is not modelled: DEVACTB says that the software SMI is set up already, which firmware takes
 * for "none of my business". The SMBus and the bridges' other registers are not there. Under the
 * machine lock.
 */
#include "board/pc.h"

#define PMC_PAM   0x59
#define PMC_SMRAM 0x72

#define SMRAM_OPEN   BIT(6)
#define SMRAM_LOCKED BIT(4)
#define SMRAM_RESET  0x02

#define PIIX_DEVICE 1
#define PIIX_PIRQ_A 0x60
#define ROUTE_OFF   0x80

#define POWER_FUNCTION 3
#define POWER_PMBA     0x40
#define POWER_DEVACTB  0x58
#define POWER_MISC     0x80
#define PMBA_MASK      BITS(15, 6)
#define PMBA_IO        BIT(0)
#define DEVACTB_APMC   BIT(25)
#define MISC_ENABLE    BIT(0)

static void pmc_apply(struct pc *pc)
{
	uint8_t pam[PC_NR_PAM], smram;

	for (unsigned i = 0; i < PC_NR_PAM; i++)
		pam[i] = (uint8_t)pci_config_get(&pc->bridge, PMC_PAM + i, 1);
	pc_memory_set_pam(&pc->memory, pam);
	smram = (uint8_t)pci_config_get(&pc->bridge, PMC_SMRAM, 1);
	pc_memory_set_window(&pc->memory,
		(smram & (SMRAM_OPEN | SMRAM_LOCKED)) == SMRAM_OPEN ? RAM_WRITABLE : RAM_HIDDEN);
}

static void pmc_reset(void *device)
{
	pmc_apply(device);
}

static void pmc_written(void *device, unsigned offset, unsigned size)
{
	if (offset + size > PMC_PAM && offset <= PMC_SMRAM)
		pmc_apply(device);
}

static void init_bridge(struct pc *pc, struct pci_function *bridge)
{
	static const struct pci_identity identity = { .vendor_id = 0x8086,
		.device_id = 0x1237,
		.revision = 2,
		.class_code = 0x060000,
		.subsystem_vendor_id = 0x1af4,
		.subsystem_id = 0x1100 };
	static const struct pci_function_ops ops = {
		.reset = pmc_reset, .restored = pmc_reset, .config_written = pmc_written
	};

	pci_function_init(bridge, "pmc", &identity, &ops, pc);
	pci_add_register(bridge, PMC_PAM, 1, 0, 0x30);
	for (unsigned i = 1; i < PC_NR_PAM; i++)
		pci_add_register(bridge, PMC_PAM + i, 1, 0, 0x33);
	pci_add_register(bridge, PMC_SMRAM, 1, SMRAM_RESET, SMRAM_OPEN);
}

static void piix_apply(struct pc *pc)
{
	for (unsigned i = 0; i < PC_NR_PIRQS; i++)
		pc_route_pirq(pc, i, (uint8_t)pci_config_get(&pc->isa_bridge, PIIX_PIRQ_A + i, 1));
}

static void piix_reset(void *device)
{
	piix_apply(device);
}

static void piix_written(void *device, unsigned offset, unsigned size)
{
	if (offset + size > PIIX_PIRQ_A && offset < PIIX_PIRQ_A + PC_NR_PIRQS)
		piix_apply(device);
}

static void power_apply(struct pc *pc)
{
	pc_move_pm(pc, (uint16_t)(pci_config_get(&pc->power, POWER_PMBA, 4) & PMBA_MASK),
		pci_config_get(&pc->power, POWER_MISC, 1) & MISC_ENABLE);
}

static void power_reset(void *device)
{
	power_apply(device);
}

static void power_written(void *device, unsigned offset, unsigned size)
{
	if (offset + size > POWER_PMBA && offset <= POWER_MISC)
		power_apply(device);
}

static void add_functions(struct pc *pc)
{
	static const struct pci_identity isa = { .vendor_id = 0x8086,
		.device_id = 0x7000,
		.class_code = 0x060100,
		.subsystem_vendor_id = 0x1af4,
		.subsystem_id = 0x1100 };
	static const struct pci_identity power = { .vendor_id = 0x8086,
		.device_id = 0x7113,
		.revision = 3,
		.class_code = 0x068000,
		.subsystem_vendor_id = 0x1af4,
		.subsystem_id = 0x1100,
		.interrupt_pin = 1 };
	static const struct pci_function_ops isa_ops = {
		.reset = piix_reset, .restored = piix_reset, .config_written = piix_written
	};
	static const struct pci_function_ops power_ops = {
		.reset = power_reset, .restored = power_reset, .config_written = power_written
	};

	pci_function_init(&pc->isa_bridge, "piix3", &isa, &isa_ops, pc);
	for (unsigned i = 0; i < PC_NR_PIRQS; i++)
		pci_add_register(&pc->isa_bridge, PIIX_PIRQ_A + i, 1, ROUTE_OFF, 0x8f);
	pci_plug_built_in(pc->pci, &pc->isa_bridge, PIIX_DEVICE, 0);

	pci_function_init(&pc->power, "piix4-pm", &power, &power_ops, pc);
	pci_add_register(&pc->power, POWER_PMBA, 4, PMBA_IO, PMBA_MASK);
	pci_add_register(&pc->power, POWER_DEVACTB, 4, DEVACTB_APMC, 0);
	pci_add_register(&pc->power, POWER_MISC, 1, 0, MISC_ENABLE);
	pci_plug_built_in(pc->pci, &pc->power, PIIX_DEVICE, POWER_FUNCTION);
}

static void configure(struct pc *pc)
{
	pci_config_set(&pc->bridge, PMC_PAM, 1, 0x30);
	for (unsigned i = 1; i < PC_NR_PAM; i++)
		pci_config_set(&pc->bridge, PMC_PAM + i, 1, 0x33);
	pmc_apply(pc);
	for (unsigned i = 0; i < PC_NR_PIRQS; i++)
		pci_config_set(&pc->isa_bridge, PIIX_PIRQ_A + i, 1, 10 + i / 2);
	piix_apply(pc);
	pci_config_set(&pc->power, POWER_PMBA, 4, PC_PORT_PM | PMBA_IO);
	pci_config_set(&pc->power, POWER_MISC, 1, MISC_ENABLE);
	power_apply(pc);
}

const struct pc_chipset pc_i440fx = {
	.name = "i440fx",
	.max_low_ram = UINT64_C(0xe0000000),
	.split_low_ram = UINT64_C(0xc0000000),
	.pci_window = UINT64_C(0xc0000000),
	.first_pci_pin = 16,
	.pin_rotation = 3,
	.pm_size = 0x40,
	.storage = BOARD_STORAGE_IDE,
	.storage_device = PIIX_DEVICE,
	.storage_function = 1,
	.ssdt = acpi_i440fx_ssdt,
	.ssdt_size = &acpi_i440fx_ssdt_size,
	.init_bridge = init_bridge,
	.add_functions = add_functions,
	.configure = configure,
};
