/*
 * The chipset Q35 with ICH9 (316966, 316972): the host bridge (MCH) with PAM, SMRAM and PCIEXBAR,
 * and the LPC bridge with PMBASE, interrupt routing and RCBA.
 *
 * SMM is not modelled: SMI_EN says that the software SMI is set up already, which firmware takes
 * for "none of my business". Of the root complex registers none does anything, and they read as 0.
 * GPIO, the LPC bus's other decoders and power management beyond ACPI's are not there. Under the
 * machine lock.
 */
#include "board/pc.h"

#define MCH_PCIEXBAR 0x60
#define MCH_PAM      0x90
#define MCH_SMRAM    0x9d

#define PCIEXBAR_ENABLE BIT(0)
#define PCIEXBAR_LENGTH BITS(2, 1)
#define PCIEXBAR_LOW    (BITS(31, 26) | PCIEXBAR_LENGTH | PCIEXBAR_ENABLE)
#define PCIEXBAR_HIGH   BITS(3, 0)

#define SMRAM_OPEN   BIT(6)
#define SMRAM_LOCKED BIT(4)
#define SMRAM_RESET  0x02

#define LPC_DEVICE   31
#define LPC_PMBASE   0x40
#define LPC_ACPI     0x44
#define LPC_PIRQ_A   0x60
#define LPC_PIRQ_E   0x68
#define LPC_RCBA     0xf0
#define ACPI_ENABLE  BIT(7)
#define PMBASE_MASK  BITS(15, 7)
#define RCBA_ENABLE  BIT(0)
#define RCBA_MASK    BITS(31, 14)
#define RCRB_SIZE    0x4000
#define ROUTE_OFF    0x80
#define RCRB_ADDRESS 0xfed1c000

#define PM_SMI_EN     0x30
#define SMI_EN_APMC   BIT(5)
#define SMI_EN_GLOBAL BIT(0)

static void mch_apply(struct pc *pc)
{
	struct pci_function *mch = &pc->bridge;
	uint64_t bar = pci_config_get(mch, MCH_PCIEXBAR, 4) |
		       (uint64_t)pci_config_get(mch, MCH_PCIEXBAR + 4, 4) << 32;
	unsigned length = (unsigned)field_get(PCIEXBAR_LENGTH, bar);
	uint64_t size = (UINT64_C(256) << 20) >> (length > 2 ? 2 : length);
	uint8_t pam[PC_NR_PAM];

	for (unsigned i = 0; i < PC_NR_PAM; i++)
		pam[i] = (uint8_t)pci_config_get(mch, MCH_PAM + i, 1);
	pc_memory_set_pam(&pc->memory, pam);
	pc_memory_open_window(&pc->memory,
		(pci_config_get(mch, MCH_SMRAM, 1) & (SMRAM_OPEN | SMRAM_LOCKED)) == SMRAM_OPEN);
	/* Before the bus is there it has nothing to move. */
	if (pc->pci)
		pci_host_move_ecam(pc->pci,
			bar & PCIEXBAR_ENABLE ? align_down(bar & ~PCIEXBAR_LENGTH, size) : 0, size);
}

static void mch_reset(void *device)
{
	mch_apply(device);
}

static void mch_written(void *device, unsigned offset, unsigned size)
{
	if (offset + size > MCH_PCIEXBAR && offset <= MCH_SMRAM)
		mch_apply(device);
}

static void init_bridge(struct pc *pc, struct pci_function *bridge)
{
	static const struct pci_identity identity = { .vendor_id = 0x8086,
		.device_id = 0x29c0,
		.revision = 2,
		.class_code = 0x060000,
		.subsystem_vendor_id = 0x1af4,
		.subsystem_id = 0x1100 };
	static const struct pci_function_ops ops = {
		.reset = mch_reset, .restored = mch_reset, .config_written = mch_written
	};

	pci_function_init(bridge, "mch", &identity, &ops, pc);
	pci_add_register(bridge, MCH_PCIEXBAR, 4, 0, PCIEXBAR_LOW);
	pci_add_register(bridge, MCH_PCIEXBAR + 4, 4, 0, PCIEXBAR_HIGH);
	pci_add_register(bridge, MCH_PAM, 1, 0, 0x30);
	for (unsigned i = 1; i < PC_NR_PAM; i++)
		pci_add_register(bridge, MCH_PAM + i, 1, 0, 0x33);
	pci_add_register(bridge, MCH_SMRAM, 1, SMRAM_RESET, SMRAM_OPEN);
}

static uint64_t rcrb_read(void *device, uint64_t offset, unsigned size)
{
	(void)device;
	(void)offset;
	(void)size;
	return 0;
}

static void move_rcrb(struct pc *pc, gpa_t base)
{
	static const struct io_ops ops = { .read = rcrb_read, .max_size = 4 };
	struct address_space *mmio = &pc->board.machine->mmio;

	if (base == pc->rcrb_base)
		return;
	if (pc->rcrb_base)
		address_space_unmap(mmio, pc->rcrb_base);
	pc->rcrb_base = 0;
	if (!base || !address_space_is_free(mmio, base, RCRB_SIZE))
		return;
	address_space_map(mmio, &(struct io_region){ base, RCRB_SIZE, &ops, pc, "rcrb" });
	pc->rcrb_base = base;
}

static void lpc_apply(struct pc *pc)
{
	struct pci_function *lpc = &pc->isa_bridge;
	uint32_t rcba = pci_config_get(lpc, LPC_RCBA, 4);

	pc_move_pm(pc, (uint16_t)(pci_config_get(lpc, LPC_PMBASE, 4) & PMBASE_MASK),
		pci_config_get(lpc, LPC_ACPI, 1) & ACPI_ENABLE);
	for (unsigned i = 0; i < PC_NR_PIRQS; i++)
		pc_route_pirq(pc, i, (uint8_t)pci_config_get(lpc, LPC_PIRQ_E + i, 1));
	move_rcrb(pc, rcba & RCBA_ENABLE ? rcba & RCBA_MASK : 0);
}

static void lpc_reset(void *device)
{
	lpc_apply(device);
}

static void lpc_written(void *device, unsigned offset, unsigned size)
{
	(void)size;
	if (offset >= LPC_PMBASE)
		lpc_apply(device);
}

static void add_functions(struct pc *pc)
{
	static const struct pci_identity identity = { .vendor_id = 0x8086,
		.device_id = 0x2918,
		.revision = 2,
		.class_code = 0x060100,
		.subsystem_vendor_id = 0x1af4,
		.subsystem_id = 0x1100 };
	static const struct pci_function_ops ops = {
		.reset = lpc_reset, .restored = lpc_reset, .config_written = lpc_written
	};
	struct pci_function *lpc = &pc->isa_bridge;

	pci_function_init(lpc, "lpc", &identity, &ops, pc);
	pci_add_register(lpc, LPC_PMBASE, 4, 1, PMBASE_MASK);
	pci_add_register(lpc, LPC_ACPI, 1, 0, ACPI_ENABLE);
	for (unsigned i = 0; i < PC_NR_PIRQS; i++) {
		pci_add_register(lpc, LPC_PIRQ_A + i, 1, ROUTE_OFF, 0x8f);
		pci_add_register(lpc, LPC_PIRQ_E + i, 1, ROUTE_OFF, 0x8f);
	}
	pci_add_register(lpc, LPC_RCBA, 4, 0, RCBA_MASK | RCBA_ENABLE);
	pci_plug_built_in(pc->pci, lpc, LPC_DEVICE, 0);
}

static void configure(struct pc *pc)
{
	struct pci_function *lpc = &pc->isa_bridge, *mch = &pc->bridge;

	pci_config_set(mch, MCH_PCIEXBAR, 4, (uint32_t)pc_q35.ecam_base | PCIEXBAR_ENABLE);
	pci_config_set(mch, MCH_PAM, 1, 0x30);
	for (unsigned i = 1; i < PC_NR_PAM; i++)
		pci_config_set(mch, MCH_PAM + i, 1, 0x33);
	mch_apply(pc);
	pci_config_set(lpc, LPC_PMBASE, 4, PC_PORT_PM | 1);
	pci_config_set(lpc, LPC_ACPI, 1, ACPI_ENABLE);
	for (unsigned i = 0; i < PC_NR_PIRQS; i++) {
		pci_config_set(lpc, LPC_PIRQ_A + i, 1, 10 + i / 2);
		pci_config_set(lpc, LPC_PIRQ_E + i, 1, 10 + i / 2);
	}
	pci_config_set(lpc, LPC_RCBA, 4, RCRB_ADDRESS | RCBA_ENABLE);
	lpc_apply(pc);
}

static uint32_t pm_read(struct pc *pc, unsigned offset)
{
	(void)pc;
	return offset == PM_SMI_EN ? SMI_EN_APMC | SMI_EN_GLOBAL : 0;
}

const struct pc_chipset pc_q35 = {
	.name = "q35",
	.max_low_ram = UINT64_C(0xb0000000),
	.split_low_ram = UINT64_C(0x80000000),
	.pci_window = UINT64_C(0xc0000000),
	.first_pci_pin = 20,
	.pm_size = 0x80,
	.ecam_base = UINT64_C(0xb0000000),
	.ecam_size = UINT64_C(256) << 20,
	.hpet_inputs = BITS(19, 16),
	.storage = BOARD_STORAGE_AHCI,
	.storage_device = LPC_DEVICE,
	.storage_function = 2,
	.ssdt = acpi_q35_ssdt,
	.ssdt_size = &acpi_q35_ssdt_size,
	.init_bridge = init_bridge,
	.add_functions = add_functions,
	.configure = configure,
	.pm_read = pm_read,
};
