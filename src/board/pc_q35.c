/*
 * The chipset Q35 with ICH9 (316966, 316972): the host bridge (MCH) with PAM, SMRAM and PCIEXBAR,
 * and the LPC bridge with PMBASE, interrupt routing and RCBA.
 *
 * Without SMM (docs/smm.md) SMI_EN says that the software SMI is set up already, which firmware
 * takes for "none of my business". With it SMRAM has D_OPEN, G_SMRAME and D_LCK (D_CLS does
 * nothing), and TSEG may have the size that QEMU's MCH offers in a register of its own besides
 * ICH9's three. Of the root complex registers none does anything, and they read as 0. GPIO, the LPC
 * bus's other decoders and power management beyond ACPI's are not there. Under the machine lock.
 */
#include "board/pc.h"

#define MCH_EXT_TSEG 0x50 /* MiB, 16 bits; QEMU's: all ones written to it ask for the size */
#define MCH_PCIEXBAR 0x60
#define MCH_PAM      0x90
#define MCH_SMRAM    0x9d
#define MCH_ESMRAMC  0x9e
#define MCH_GBSM     0xa4 /* where graphics' stolen memory begins, its page tables, and... */
#define MCH_BGSM     0xa8
#define MCH_TSEGMB   0xac /* ...TSEG: notes that firmware makes, MiB in bits 31 to 20 */

#define PCIEXBAR_ENABLE BIT(0)
#define PCIEXBAR_LENGTH BITS(2, 1)
#define PCIEXBAR_LOW    (BITS(31, 26) | PCIEXBAR_LENGTH | PCIEXBAR_ENABLE)
#define PCIEXBAR_HIGH   BITS(3, 0)

#define SMRAM_OPEN    BIT(6)
#define SMRAM_CLOSED  BIT(5) /* to data */
#define SMRAM_LOCKED  BIT(4)
#define SMRAM_ENABLED BIT(3)
#define SMRAM_RESET   0x02

#define ESMRAMC_HIGH      BIT(7)
#define ESMRAMC_TSEG_SIZE BITS(2, 1)
#define ESMRAMC_TSEG      BIT(0)
#define ESMRAMC_RESET     0x38
#define EXT_TSEG_QUERY    0xffff

#define LPC_DEVICE   31
#define LPC_PMBASE   0x40
#define LPC_ACPI     0x44
#define LPC_PIRQ_A   0x60
#define LPC_PIRQ_E   0x68
#define LPC_PMCON_1  0xa0 /* GEN_PMCON_1 */
#define LPC_RCBA     0xf0
#define ACPI_ENABLE  BIT(7)
#define SMI_LOCK     BIT(4)
#define PMBASE_MASK  BITS(15, 7)
#define RCBA_ENABLE  BIT(0)
#define RCBA_MASK    BITS(31, 14)
#define RCRB_SIZE    0x4000
#define ROUTE_OFF    0x80
#define RCRB_ADDRESS 0xfed1c000

#define PM_SMI_EN  0x30
#define PM_SMI_STS 0x34

/* The lock closes SMRAM and takes all registers away that could open it, until the next reset. */
static void lock_smram(struct pci_function *mch)
{
	uint8_t smram = (uint8_t)pci_config_get(mch, MCH_SMRAM, 1);
	bool locked = smram & SMRAM_LOCKED;

	if (locked)
		pci_config_set(mch, MCH_SMRAM, 1, smram & ~(uint32_t)SMRAM_OPEN);
	pci_config_set_writable(mch, MCH_SMRAM,
		locked ? SMRAM_CLOSED : SMRAM_OPEN | SMRAM_CLOSED | SMRAM_LOCKED | SMRAM_ENABLED);
	pci_config_set_writable(
		mch, MCH_ESMRAMC, locked ? 0 : ESMRAMC_HIGH | ESMRAMC_TSEG_SIZE | ESMRAMC_TSEG);
	for (unsigned offset = MCH_GBSM; offset <= MCH_TSEGMB; offset += 4) {
		pci_config_set_writable(mch, offset + 2, locked ? 0 : 0xf0);
		pci_config_set_writable(mch, offset + 3, locked ? 0 : 0xff);
	}
}

static uint64_t tseg_bytes(struct pci_function *mch)
{
	static const uint8_t mib[] = { 1, 2, 8, PC_TSEG_MAX >> 20 };
	uint8_t esmramc = (uint8_t)pci_config_get(mch, MCH_ESMRAMC, 1);

	if (!(esmramc & ESMRAMC_TSEG) || !(pci_config_get(mch, MCH_SMRAM, 1) & SMRAM_ENABLED))
		return 0;
	return (uint64_t)mib[field_get(ESMRAMC_TSEG_SIZE, esmramc)] << 20;
}

static void smram_apply(struct pc *pc)
{
	struct pci_function *mch = &pc->bridge;
	uint8_t smram;

	if (pc->has_smm) {
		lock_smram(mch);
		if (pci_config_get(mch, MCH_EXT_TSEG, 2) == EXT_TSEG_QUERY)
			pci_config_set(mch, MCH_EXT_TSEG, 2, PC_TSEG_MAX >> 20);
		pc_memory_set_tseg(&pc->memory, tseg_bytes(mch));
	}
	smram = (uint8_t)pci_config_get(mch, MCH_SMRAM, 1);
	pc_memory_set_window(&pc->memory, (smram & (SMRAM_OPEN | SMRAM_LOCKED)) == SMRAM_OPEN
						  ? RAM_WRITABLE
					  : smram & SMRAM_ENABLED ? RAM_SMM
								  : RAM_HIDDEN);
}

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
	smram_apply(pc);
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
	if (offset + size > MCH_EXT_TSEG && offset <= MCH_ESMRAMC)
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
	if (!pc->has_smm)
		return;
	pci_add_register(bridge, MCH_ESMRAMC, 1, ESMRAMC_RESET, 0);
	for (unsigned offset = MCH_GBSM; offset <= MCH_TSEGMB; offset += 4)
		pci_add_register(bridge, offset, 4, 0, (uint32_t)BITS(31, 20));
	pci_add_register(bridge, MCH_EXT_TSEG, 2, 0, EXT_TSEG_QUERY);
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

static void lock_smi(struct pc *pc)
{
	bool locked = pci_config_get(&pc->isa_bridge, LPC_PMCON_1, 2) & SMI_LOCK;

	pci_config_set_writable(&pc->isa_bridge, LPC_PMCON_1, locked ? 0 : SMI_LOCK);
	if (locked)
		ich9_smi_lock(&pc->smi);
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
	if (pc->has_smm)
		lock_smi(pc);
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
	if (pc->has_smm)
		pci_add_register(lpc, LPC_PMCON_1, 2, 0, SMI_LOCK);
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
	bool is_status = offset == PM_SMI_STS;

	if (offset != PM_SMI_EN && !is_status)
		return 0;
	if (pc->has_smm)
		return ich9_smi_read(&pc->smi, is_status ? ICH9_SMI_STS : ICH9_SMI_EN, 4);
	return is_status ? 0 : ICH9_SMI_EN_APMC | ICH9_SMI_EN_GLOBAL;
}

static void pm_write(struct pc *pc, unsigned offset, unsigned size, uint32_t value)
{
	unsigned at = offset - PM_SMI_EN;

	if (pc->has_smm && offset >= PM_SMI_EN && offset < PM_SMI_STS + 4 && at % 4 + size <= 4)
		ich9_smi_write(&pc->smi, at, size, value);
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
	.pm_write = pm_write,
	.has_smm = true,
};
