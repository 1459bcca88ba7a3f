/*
 * IDE, AHCI and NVMe as a driver meets them: registers and structures in guest memory. Expected
 * values are those of ATA8-ACS, AHCI 1.3.1, NVMe 1.4 and the bus master IDE interface.
 */
#include "storage/storage_fixture.h"

#include "storage/ahci_regs.h"
#include "storage/nvme_regs.h"

#define MMIO 0xfee00000u /* no RAM is there */

/* Every byte of every state is described. */
static void check_states(struct storage_fixture *f)
{
	for (unsigned i = 0; i < f->pci.machine.nr_devices; i++) {
		struct error err = { 0 };

		if (!state_covers(f->pci.machine.devices[i].type->state, &err))
			fail_msg("%s", err.text);
	}
}

/* IDE */

struct ide_fixture {
	struct storage_fixture base;
	struct ide *ide;
};

static void ide_setup(struct ide_fixture *f)
{
	static const struct ata_identity disk = { .serial = "SER1" };

	storage_fixture_init(&f->base);
	assert_int_equal(ide_create(&f->ide, "ide0", fixture_machine(&f->base), NULL, NULL), 0);
	assert_int_equal(ide_attach(f->ide, 0, "disk0", &disk, f->base.image, NULL), 0);
	fixture_plug(&f->base, ide_function(f->ide));
	check_states(&f->base);
}

static void ide_teardown(struct ide_fixture *f)
{
	fixture_unplug(&f->base, ide_function(f->ide));
	ide_destroy(f->ide);
	storage_fixture_finish(&f->base);
}

static uint32_t ide_in(struct ide_fixture *f, unsigned reg, unsigned size)
{
	return bar_get(&f->base, ide_function(f->ide), 0, reg, size);
}

static void ide_out(struct ide_fixture *f, unsigned reg, uint32_t value)
{
	bar_set(&f->base, ide_function(f->ide), 0, reg, 1, value);
}

static void ide_command(struct ide_fixture *f, uint8_t code, uint32_t lba, uint8_t count)
{
	ide_out(f, 6, 0xe0 | lba >> 24);
	ide_out(f, 2, count);
	ide_out(f, 3, lba & 0xff);
	ide_out(f, 4, lba >> 8 & 0xff);
	ide_out(f, 5, lba >> 16 & 0xff);
	ide_out(f, 7, code);
	settle(&f->base, &ide_device(f->ide, 0)->drive);
}

static void test_ide_identify(void **context)
{
	struct ide_fixture *f = calloc(1, sizeof(*f));
	uint16_t words[256];
	uint8_t sum = 0;

	(void)context;
	ide_setup(f);
	assert_int_equal(ide_in(f, 7, 1), 0x50);
	ide_command(f, ATA_IDENTIFY, 0, 0);
	assert_true(f->base.pci.intx[0] || f->base.pci.intx[1] || f->base.pci.intx[2] ||
		    f->base.pci.intx[3]);
	assert_int_equal(ide_in(f, 7, 1), 0x58);
	for (unsigned i = 0; i < 256; i++)
		words[i] = (uint16_t)ide_in(f, 0, 2);
	assert_int_equal(ide_in(f, 7, 1), 0x50);
	assert_int_equal(words[0], 0x0040);
	assert_int_equal(words[10], 'S' << 8 | 'E');
	assert_int_equal(words[60], FIXTURE_IMAGE / 512);
	assert_int_equal(words[83] & 0xc000, 0x4000);
	assert_int_equal(words[100], FIXTURE_IMAGE / 512);
	for (unsigned i = 0; i < 512; i++)
		sum = (uint8_t)(sum + ((uint8_t *)words)[i]);
	assert_int_equal(sum, 0);
	ide_teardown(f);
	free(f);
}

static void test_ide_pio(void **context)
{
	struct ide_fixture *f = calloc(1, sizeof(*f));
	uint8_t *sector = f->base.content + 3 * 512;

	(void)context;
	ide_setup(f);
	ide_command(f, ATA_READ_SECTORS, 3, 2);
	for (unsigned i = 0; i < 2; i++) {
		settle(&f->base, &ide_device(f->ide, 0)->drive);
		assert_int_equal(ide_in(f, 7, 1), 0x58);
		for (unsigned at = 0; at < 512; at += 2)
			assert_int_equal(ide_in(f, 0, 2),
				sector[512 * i + at] | sector[512 * i + at + 1] << 8);
	}
	assert_int_equal(ide_in(f, 7, 1), 0x50);

	ide_command(f, ATA_WRITE_SECTORS, 5, 1);
	assert_int_equal(ide_in(f, 7, 1), 0x58);
	for (unsigned at = 0; at < 512; at += 2)
		bar_set(&f->base, ide_function(f->ide), 0, 0, 2, 0xa55a);
	settle(&f->base, &ide_device(f->ide, 0)->drive);
	assert_int_equal(ide_in(f, 7, 1), 0x50);
	assert_int_equal(block_device_read(f->base.image, 5 * 512, f->base.content, 512), 0);
	assert_int_equal(f->base.content[0], 0x5a);
	assert_int_equal(f->base.content[511], 0xa5);
	ide_teardown(f);
	free(f);
}

static void test_ide_errors(void **context)
{
	struct ide_fixture *f = calloc(1, sizeof(*f));

	(void)context;
	ide_setup(f);
	ide_command(f, ATA_READ_SECTORS, FIXTURE_IMAGE / 512 - 1, 2);
	assert_int_equal(ide_in(f, 7, 1), 0x51);
	assert_int_equal(ide_in(f, 1, 1), ATA_ERROR_IDNF);
	ide_command(f, 0xff, 0, 0);
	assert_int_equal(ide_in(f, 7, 1), 0x51);
	assert_int_equal(ide_in(f, 1, 1), ATA_ERROR_ABRT);
	ide_command(f, ATA_SET_MULTIPLE, 0, 3);
	assert_int_equal(ide_in(f, 1, 1), ATA_ERROR_ABRT);
	ide_command(f, ATA_READ_MULTIPLE, 0, 1);
	assert_int_equal(ide_in(f, 1, 1), ATA_ERROR_ABRT);
	/* The slave is not there; the other channel floats. */
	ide_out(f, 6, 0xf0);
	assert_int_equal(ide_in(f, 7, 1), 0);
	assert_int_equal(bar_get(&f->base, ide_function(f->ide), 2, 7, 1), 0x7f);
	/* A software reset in the middle of a transfer. */
	ide_command(f, ATA_READ_SECTORS, 0, 8);
	bar_set(&f->base, ide_function(f->ide), 1, 2, 1, ATA_CONTROL_SRST);
	assert_int_equal(ide_in(f, 7, 1), 0x80);
	bar_set(&f->base, ide_function(f->ide), 1, 2, 1, 0);
	assert_int_equal(ide_in(f, 7, 1), 0x50);
	assert_int_equal(ide_in(f, 2, 1), 1);
	assert_int_equal(ide_in(f, 3, 1), 1);
	assert_int_equal(ide_in(f, 4, 1), 0);
	ide_teardown(f);
	free(f);
}

static void ide_dma(struct ide_fixture *f, uint32_t address, uint32_t flags)
{
	const uint32_t prd[2] = { address, flags | 1024 };

	memcpy(ram(&f->base, 0x1000), prd, sizeof(prd));
	bar_set(&f->base, ide_function(f->ide), 4, 4, 4, 0x1000);
	bar_set(&f->base, ide_function(f->ide), 4, 2, 1, 0x06);
	ide_command(f, ATA_READ_DMA, 7, 2);
	bar_set(&f->base, ide_function(f->ide), 4, 0, 1, 0x09);
	settle(&f->base, &ide_device(f->ide, 0)->drive);
}

static void test_ide_dma(void **context)
{
	struct ide_fixture *f = calloc(1, sizeof(*f));

	(void)context;
	ide_setup(f);
	ide_dma(f, 0x2000, 0x80000000);
	assert_memory_equal(ram(&f->base, 0x2000), f->base.content + 7 * 512, 1024);
	assert_int_equal(bar_get(&f->base, ide_function(f->ide), 4, 2, 1) & 7, 4);
	bar_set(&f->base, ide_function(f->ide), 4, 0, 1, 0);
	ide_dma(f, MMIO, 0x80000000);
	assert_int_equal(bar_get(&f->base, ide_function(f->ide), 4, 2, 1) & 7, 6);
	assert_int_equal(ide_in(f, 7, 1) & 1, 1);
	bar_set(&f->base, ide_function(f->ide), 4, 0, 1, 0);
	/* A table without an end, and of which the rest is not RAM. */
	ide_dma(f, FIXTURE_RAM - 512, 0);
	assert_int_equal(bar_get(&f->base, ide_function(f->ide), 4, 2, 1) & 3, 2);
	ide_teardown(f);
	free(f);
}

/* AHCI: command list at 0x10000, received FIS at 0x11000, command tables from 0x12000. */

#define LIST  0x10000u
#define FIS   0x11000u
#define TABLE 0x12000u

struct ahci_fixture {
	struct storage_fixture base;
	struct ahci *ahci;
};

static uint32_t port_get(struct ahci_fixture *f, unsigned offset)
{
	return bar_get(&f->base, ahci_function(f->ahci), 5, AHCI_PORTS + offset, 4);
}

static void port_set(struct ahci_fixture *f, unsigned offset, uint32_t value)
{
	bar_set(&f->base, ahci_function(f->ahci), 5, AHCI_PORTS + offset, 4, value);
}

static void ahci_setup(struct ahci_fixture *f)
{
	static const struct ata_identity disk = { .serial = "SER1" };

	storage_fixture_init(&f->base);
	assert_int_equal(ahci_create(&f->ahci, "ahci0", fixture_machine(&f->base), 1, NULL), 0);
	assert_int_equal(ahci_attach(f->ahci, 0, "disk0", &disk, f->base.image, NULL), 0);
	fixture_plug(&f->base, ahci_function(f->ahci));
	check_states(&f->base);
	bar_set(&f->base, ahci_function(f->ahci), 5, AHCI_GHC, 4, AHCI_GHC_AE | AHCI_GHC_IE);
	port_set(f, AHCI_PXCLB, LIST);
	port_set(f, AHCI_PXFB, FIS);
	port_set(f, AHCI_PXIS, ~0u);
	port_set(f, AHCI_PXIE, ~0u);
	port_set(f, AHCI_PXCMD, AHCI_PXCMD_FRE);
	port_set(f, AHCI_PXCMD, AHCI_PXCMD_FRE | AHCI_PXCMD_ST);
}

static void ahci_teardown(struct ahci_fixture *f)
{
	fixture_unplug(&f->base, ahci_function(f->ahci));
	ahci_destroy(f->ahci);
	storage_fixture_finish(&f->base);
}

static void ahci_command(struct ahci_fixture *f, unsigned slot, uint8_t code, uint32_t lba,
	uint8_t feature, uint8_t count, uint32_t data, uint32_t bytes)
{
	const uint32_t table = TABLE + slot * 0x100;
	const uint32_t header[8] = { 5 | (bytes ? 1u << 16 : 0), 0, table, 0 };
	const uint8_t fis[20] = { FIS_H2D, 0x80, code, feature, (uint8_t)lba, (uint8_t)(lba >> 8),
		(uint8_t)(lba >> 16), 0x40, 0, 0, 0, 0, count };
	const uint32_t prd[4] = { data, 0, 0, bytes - 1 };

	memcpy(ram(&f->base, LIST + slot * 32), header, sizeof(header));
	memcpy(ram(&f->base, table), fis, sizeof(fis));
	memcpy(ram(&f->base, table + 0x80), prd, sizeof(prd));
	if (code == ATA_READ_FPDMA || code == ATA_WRITE_FPDMA)
		port_set(f, AHCI_PXSACT, 1u << slot);
	port_set(f, AHCI_PXCI, 1u << slot);
	settle(&f->base, &ahci_device(f->ahci, 0)->drive);
}

static void test_ahci_commands(void **context)
{
	struct ahci_fixture *f = calloc(1, sizeof(*f));

	(void)context;
	ahci_setup(f);
	assert_int_equal(port_get(f, AHCI_PXSIG), AHCI_SIGNATURE_DISK);
	assert_int_equal(port_get(f, AHCI_PXSSTS), 0x133);
	assert_int_equal(port_get(f, AHCI_PXTFD) & 0xff, 0x50);

	ahci_command(f, 0, ATA_READ_DMA_EXT, 9, 0, 2, 0x20000, 1024);
	assert_memory_equal(ram(&f->base, 0x20000), f->base.content + 9 * 512, 1024);
	assert_int_equal(port_get(f, AHCI_PXCI), 0);
	assert_int_equal(port_get(f, AHCI_PXIS), AHCI_PXIS_DHRS);
	assert_int_equal(ram(&f->base, FIS + 0x40)[0], FIS_D2H);
	assert_int_equal(*(uint32_t *)ram(&f->base, LIST + 4), 1024);
	assert_int_equal(bar_get(&f->base, ahci_function(f->ahci), 5, AHCI_IS, 4), 1);
	port_set(f, AHCI_PXIS, ~0u);

	/* PIO ends with its setup FIS. */
	ahci_command(f, 1, ATA_IDENTIFY, 0, 0, 0, 0x20000, 512);
	assert_int_equal(port_get(f, AHCI_PXIS), AHCI_PXIS_PSS);
	assert_int_equal(ram(&f->base, FIS + 0x20)[0], FIS_PIO_SETUP);
	assert_int_equal(*ram(&f->base, 0x20000), 0x40);
	port_set(f, AHCI_PXIS, ~0u);

	/* NCQ: the tag is the slot, the sectors are counted by the feature. */
	ahci_command(f, 5, ATA_READ_FPDMA, 100, 1, 5 << 3, 0x21000, 512);
	assert_memory_equal(ram(&f->base, 0x21000), f->base.content + 100 * 512, 512);
	assert_int_equal(port_get(f, AHCI_PXSACT), 0);
	assert_int_equal(port_get(f, AHCI_PXIS), AHCI_PXIS_SDBS);
	assert_int_equal(*(uint32_t *)ram(&f->base, FIS + 0x58 + 4), 1u << 5);
	ahci_teardown(f);
	free(f);
}

static void restart(struct ahci_fixture *f)
{
	port_set(f, AHCI_PXCMD, AHCI_PXCMD_FRE);
	assert_int_equal(port_get(f, AHCI_PXCI), 0);
	assert_int_equal(port_get(f, AHCI_PXCMD) & AHCI_PXCMD_CR, 0);
	port_set(f, AHCI_PXIS, ~0u);
	port_set(f, AHCI_PXSERR, ~0u);
	port_set(f, AHCI_PXCMD, AHCI_PXCMD_FRE | AHCI_PXCMD_ST);
}

static void test_ahci_errors(void **context)
{
	struct ahci_fixture *f = calloc(1, sizeof(*f));

	(void)context;
	ahci_setup(f);
	/* Beyond the end: a task file error, and nothing more is issued. */
	ahci_command(f, 0, ATA_READ_DMA_EXT, FIXTURE_IMAGE / 512, 0, 1, 0x20000, 512);
	assert_int_equal(port_get(f, AHCI_PXIS), AHCI_PXIS_TFES | AHCI_PXIS_DHRS);
	assert_int_equal(port_get(f, AHCI_PXTFD), ATA_ERROR_IDNF << 8 | 0x51);
	assert_int_equal(port_get(f, AHCI_PXCI), 1);
	ahci_command(f, 1, ATA_FLUSH_EXT, 0, 0, 0, 0, 0);
	assert_int_equal(port_get(f, AHCI_PXCI), 3);
	restart(f);
	/* Data, table and list outside of RAM. */
	ahci_command(f, 0, ATA_READ_DMA_EXT, 0, 0, 1, MMIO, 512);
	assert_int_equal(port_get(f, AHCI_PXIS), AHCI_PXIS_HBFS);
	restart(f);
	port_set(f, AHCI_PXCLB, MMIO);
	port_set(f, AHCI_PXCI, 1);
	assert_int_equal(port_get(f, AHCI_PXIS), AHCI_PXIS_HBFS);
	port_set(f, AHCI_PXCLB, LIST);
	restart(f);
	/* A PRD table that is shorter than the transfer. */
	ahci_command(f, 0, ATA_READ_DMA_EXT, 0, 0, 2, 0x20000, 512);
	assert_true(port_get(f, AHCI_PXIS) & AHCI_PXIS_OFS);
	restart(f);
	/* A failed NCQ command is in its log, once. */
	ahci_command(f, 3, ATA_READ_FPDMA, FIXTURE_IMAGE / 512, 1, 3 << 3, 0x20000, 512);
	assert_true(port_get(f, AHCI_PXIS) & AHCI_PXIS_TFES);
	assert_int_equal(port_get(f, AHCI_PXSACT), 1u << 3);
	restart(f);
	ahci_command(f, 0, ATA_READ_LOG_EXT, ATA_LOG_NCQ_ERROR, 0, 1, 0x20000, 512);
	assert_int_equal(*ram(&f->base, 0x20000), 3);
	assert_int_equal(*ram(&f->base, 0x20003), ATA_ERROR_IDNF);
	ahci_command(f, 0, ATA_READ_LOG_EXT, ATA_LOG_NCQ_ERROR, 0, 1, 0x20000, 512);
	assert_int_equal(*ram(&f->base, 0x20000), 0x80);
	/* COMRESET. */
	port_set(f, AHCI_PXCMD, AHCI_PXCMD_FRE);
	port_set(f, AHCI_PXSCTL, 1);
	assert_int_equal(port_get(f, AHCI_PXSSTS), 0);
	port_set(f, AHCI_PXSCTL, 0);
	assert_int_equal(port_get(f, AHCI_PXSSTS), 0x133);
	assert_true(port_get(f, AHCI_PXSERR) & AHCI_PXSERR_X);
	assert_int_equal(port_get(f, AHCI_PXTFD) & 0xff, 0x50);
	/* Without bus mastering nothing is reached. */
	restart(f);
	config_set(&f->base.pci, ahci_function(f->ahci)->number, PCI_COMMAND, 2, 3);
	ahci_command(f, 0, ATA_READ_DMA_EXT, 0, 0, 1, 0x20000, 512);
	assert_int_equal(port_get(f, AHCI_PXIS), AHCI_PXIS_HBFS);
	ahci_teardown(f);
	free(f);
}

/* NVMe: admin queues at 0x10000 and 0x11000, I/O queues at 0x12000 and 0x13000. */

#define NVME_ENTRIES 16

struct nvme_fixture {
	struct storage_fixture base;
	struct nvme *nvme;
	unsigned tail[2], head[2], phase[2];
};

static void nvme_set(struct nvme_fixture *f, unsigned offset, unsigned size, uint64_t value)
{
	bar_set(&f->base, nvme_function(f->nvme), 0, offset, size, value);
}

static struct nvme_cqe nvme_do(struct nvme_fixture *f, unsigned queue, struct nvme_sqe sqe)
{
	struct nvme_cqe *cqe, found;

	memcpy(ram(&f->base, 0x10000 + 0x2000 * queue + 64 * f->tail[queue]), &sqe, sizeof(sqe));
	f->tail[queue] = (f->tail[queue] + 1) % NVME_ENTRIES;
	nvme_set(f, NVME_DOORBELLS + 8 * queue, 4, f->tail[queue]);
	cqe = (struct nvme_cqe *)ram(&f->base, 0x11000 + 0x2000 * queue + 16 * f->head[queue]);
	/* The drive is the controller's own: its thread completes what the page cache lacks. */
	for (unsigned i = 0; i < 5000; i++) {
		machine_lock(fixture_machine(&f->base));
		found = *cqe;
		machine_unlock(fixture_machine(&f->base));
		if ((found.status & 1) == f->phase[queue])
			break;
		usleep(1000);
	}
	assert_int_equal(found.status & 1, f->phase[queue]);
	assert_int_equal(found.cid, sqe.cid);
	f->head[queue] = (f->head[queue] + 1) % NVME_ENTRIES;
	f->phase[queue] ^= f->head[queue] == 0;
	nvme_set(f, NVME_DOORBELLS + 8 * queue + 4, 4, f->head[queue]);
	return found;
}

static unsigned nvme_status(struct nvme_fixture *f, unsigned queue, struct nvme_sqe sqe)
{
	return nvme_do(f, queue, sqe).status >> 1 & 0x3fff;
}

static void nvme_setup(struct nvme_fixture *f)
{
	struct nvme_config config = { .name = "disk0", .serial = "SER1" };

	storage_fixture_init(&f->base);
	config.machine = fixture_machine(&f->base);
	config.image = f->base.image;
	f->phase[0] = f->phase[1] = 1;
	assert_int_equal(nvme_create(&f->nvme, &config, NULL), 0);
	fixture_plug(&f->base, nvme_function(f->nvme));
	check_states(&f->base);
	nvme_set(f, NVME_AQA, 4, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
	nvme_set(f, NVME_ASQ, 8, 0x10000);
	nvme_set(f, NVME_ACQ, 8, 0x11000);
	nvme_set(f, NVME_CC, 4, 0x00460001);
	assert_int_equal(bar_get(&f->base, nvme_function(f->nvme), 0, NVME_CSTS, 4), 1);
	assert_int_equal(nvme_status(f, 0,
				 (struct nvme_sqe){ .opcode = NVME_ADMIN_CREATE_CQ,
					 .cid = 1,
					 .prp1 = 0x13000,
					 .dw10 = (NVME_ENTRIES - 1) << 16 | 1,
					 .dw11 = 3 }),
		0);
	assert_int_equal(nvme_status(f, 0,
				 (struct nvme_sqe){ .opcode = NVME_ADMIN_CREATE_SQ,
					 .cid = 2,
					 .prp1 = 0x12000,
					 .dw10 = (NVME_ENTRIES - 1) << 16 | 1,
					 .dw11 = 1 << 16 | 1 }),
		0);
}

static void nvme_teardown(struct nvme_fixture *f)
{
	fixture_unplug(&f->base, nvme_function(f->nvme));
	nvme_destroy(f->nvme);
	storage_fixture_finish(&f->base);
}

static struct nvme_sqe nvme_read(uint64_t lba, unsigned blocks, uint64_t prp1, uint64_t prp2)
{
	return (struct nvme_sqe){ .opcode = NVME_IO_READ,
		.cid = 7,
		.nsid = 1,
		.prp1 = prp1,
		.prp2 = prp2,
		.dw10 = (uint32_t)lba,
		.dw11 = (uint32_t)(lba >> 32),
		.dw12 = blocks - 1 };
}

static void test_nvme_commands(void **context)
{
	struct nvme_fixture *f = calloc(1, sizeof(*f));
	uint64_t *list;

	(void)context;
	nvme_setup(f);
	assert_int_equal(nvme_status(f, 0,
				 (struct nvme_sqe){ .opcode = NVME_ADMIN_IDENTIFY,
					 .cid = 3,
					 .nsid = 1,
					 .prp1 = 0x20000 }),
		0);
	assert_int_equal(*(uint64_t *)ram(&f->base, 0x20000), FIXTURE_IMAGE / 512);
	assert_int_equal(nvme_do(f, 0,
				 (struct nvme_sqe){ .opcode = NVME_ADMIN_GET_FEATURES,
					 .cid = 4,
					 .dw10 = NVME_FEATURE_NR_QUEUES })
				 .result,
		31 << 16 | 31);
	/* One page, from its middle into a second. */
	assert_int_equal(nvme_status(f, 1, nvme_read(8, 8, 0x20800, 0x30000)), 0);
	assert_memory_equal(ram(&f->base, 0x20800), f->base.content + 4096, 2048);
	assert_memory_equal(ram(&f->base, 0x30000), f->base.content + 6144, 2048);
	/* A list, entered at its last entry but one, that goes on in a second page. */
	list = (uint64_t *)ram(&f->base, 0x40ff0);
	list[0] = 0x50000;
	list[1] = 0x41000;
	list = (uint64_t *)ram(&f->base, 0x41000);
	list[0] = 0x52000;
	list[1] = 0x54000;
	assert_int_equal(nvme_status(f, 1, nvme_read(0, 32, 0x20000, 0x40ff0)), 0);
	assert_memory_equal(ram(&f->base, 0x50000), f->base.content + 4096, 4096);
	assert_memory_equal(ram(&f->base, 0x54000), f->base.content + 3 * 4096, 4096);
	/* Write, flush, read back, zeroes, a discard. */
	memset(ram(&f->base, 0x20000), 0x5c, 512);
	assert_int_equal(nvme_status(f, 1,
				 (struct nvme_sqe){ .opcode = NVME_IO_WRITE,
					 .cid = 9,
					 .nsid = 1,
					 .prp1 = 0x20000,
					 .dw10 = 40 }),
		0);
	assert_int_equal(nvme_status(f, 1,
				 (struct nvme_sqe){ .opcode = NVME_IO_FLUSH, .cid = 9, .nsid = 1 }),
		0);
	assert_int_equal(nvme_status(f, 1, nvme_read(40, 1, 0x21000, 0)), 0);
	assert_int_equal(*ram(&f->base, 0x211ff), 0x5c);
	assert_int_equal(
		nvme_status(f, 1,
			(struct nvme_sqe){
				.opcode = NVME_IO_WRITE_ZEROES, .cid = 9, .nsid = 1, .dw10 = 40 }),
		0);
	assert_int_equal(nvme_status(f, 1, nvme_read(40, 1, 0x21000, 0)), 0);
	assert_int_equal(*ram(&f->base, 0x211ff), 0);
	memset(ram(&f->base, 0x20000), 0, 16);
	*(uint32_t *)ram(&f->base, 0x20004) = 8;
	assert_int_equal(nvme_status(f, 1,
				 (struct nvme_sqe){ .opcode = NVME_IO_DATASET_MANAGEMENT,
					 .cid = 9,
					 .nsid = 1,
					 .prp1 = 0x20000,
					 .dw11 = 4 }),
		0);
	nvme_teardown(f);
	free(f);
}

static void test_nvme_errors(void **context)
{
	struct nvme_fixture *f = calloc(1, sizeof(*f));
	uint64_t *list;

	(void)context;
	nvme_setup(f);
	assert_int_equal(nvme_status(f, 1, nvme_read(FIXTURE_IMAGE / 512, 1, 0x20000, 0)) & 0x7ff,
		NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(nvme_status(f, 1, nvme_read(UINT64_MAX, 2, 0x20000, 0)) & 0x7ff,
		NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(
		nvme_status(f, 1, nvme_read(0, 1, MMIO, 0)) & 0x7ff, NVME_DATA_TRANSFER_ERROR);
	assert_int_equal(
		nvme_status(f, 1, nvme_read(0, 1, 0x20001, 0)) & 0x7ff, NVME_PRP_OFFSET_INVALID);
	assert_int_equal(nvme_status(f, 1, nvme_read(0, 32, 0x20000, MMIO)) & 0x7ff,
		NVME_DATA_TRANSFER_ERROR);
	/* A list whose last entry leads back to itself. */
	list = (uint64_t *)ram(&f->base, 0x40ff8);
	list[0] = 0x40ff8;
	assert_int_equal(nvme_status(f, 1, nvme_read(0, 32, 0x20000, 0x40ff8)) & 0x7ff,
		NVME_PRP_OFFSET_INVALID);
	/* A page of entries that lead to the list itself is data, and ends. */
	list = (uint64_t *)ram(&f->base, 0x42000);
	for (unsigned i = 0; i < 512; i++)
		list[i] = 0x44000;
	assert_int_equal(nvme_status(f, 1, nvme_read(0, 1024, 0x20000, 0x42000)), 0);
	assert_int_equal(nvme_status(f, 1, nvme_read(0, 2048, 0x20000, 0x42000)) & 0x7ff,
		NVME_INVALID_FIELD);
	assert_int_equal(nvme_status(f, 0, (struct nvme_sqe){ .opcode = 0x7f, .cid = 3 }) & 0x7ff,
		NVME_INVALID_OPCODE);
	assert_int_equal(
		nvme_status(f, 0,
			(struct nvme_sqe){ .opcode = NVME_ADMIN_DELETE_CQ, .cid = 3, .dw10 = 1 }) &
			0x7ff,
		NVME_INVALID_QUEUE_DELETION & 0x7ff);
	assert_int_equal(nvme_status(f, 0,
				 (struct nvme_sqe){ .opcode = NVME_ADMIN_CREATE_SQ,
					 .cid = 3,
					 .prp1 = 0x60000,
					 .dw10 = 15 << 16 | 2,
					 .dw11 = 9 << 16 | 1 }) &
				 0x7ff,
		NVME_INVALID_CQ & 0x7ff);
	/* Disabling in the middle, and queues outside of RAM. */
	nvme_set(f, NVME_CC, 4, 0);
	assert_int_equal(bar_get(&f->base, nvme_function(f->nvme), 0, NVME_CSTS, 4), 0);
	nvme_set(f, NVME_ASQ, 8, MMIO);
	nvme_set(f, NVME_CC, 4, 0x00460001);
	nvme_set(f, NVME_DOORBELLS, 4, 1);
	assert_int_equal(bar_get(&f->base, nvme_function(f->nvme), 0, NVME_CSTS, 4), 3);
	nvme_teardown(f);
	free(f);
}

/* Packet commands. */

static unsigned packet(struct ata_device *drive, const uint8_t *bytes, struct ata_command *command)
{
	memset(command, 0, sizeof(*command));
	command->tf.command = ATA_PACKET;
	ata_decode(drive, command);
	assert_int_equal(command->protocol, ATA_PROTOCOL_PACKET);
	atapi_decode(drive, command, bytes, 65536);
	if (command->work != ATA_WORK_NOTHING || !(command->tf.status & ATA_STATUS_ERR))
		return 0;
	return (unsigned)drive->state.sense_key << 16 | drive->state.asc << 8 | drive->state.ascq;
}

static void test_atapi(void **context)
{
	static const struct ata_identity optical = { .is_packet = true };
	static const uint8_t ready[12] = { 0x00 }, lock[12] = { 0x1e, 0, 0, 0, 1 },
			     unlock[12] = { 0x1e }, eject[12] = { 0x1b, 0, 0, 0, 2 },
			     load[12] = { 0x1b, 0, 0, 0, 3 }, capacity[12] = { 0x25 },
			     read[12] = { 0x28, 0, 0, 0, 0, 2, 0, 0, 3 },
			     beyond[12] = { 0x28, 0, 0, 0, 2, 0, 0, 0, 1 }, unknown[12] = { 0xff },
			     event[12] = { 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8 };
	struct storage_fixture *f = calloc(1, sizeof(*f));
	struct ata_command command;
	struct ata_device *drive;

	(void)context;
	storage_fixture_init(f);
	assert_int_equal(ata_create(&drive, "cdrom0", &optical, fixture_machine(f), NULL, NULL), 0);
	assert_int_equal(packet(drive, ready, &command), 0x23a01);
	assert_int_equal(command.tf.error >> 4, 2);
	assert_int_equal(packet(drive, unknown, &command), 0x52000);
	machine_lock(fixture_machine(f));
	assert_int_equal(atapi_insert(drive, f->image, NULL), 0);
	machine_unlock(fixture_machine(f));
	/* A new medium is an event, and a unit attention once. */
	assert_int_equal(packet(drive, event, &command), 0);
	assert_int_equal(drive->buffer[4], 2);
	assert_int_equal(drive->buffer[5], 2);
	assert_int_equal(packet(drive, ready, &command), 0x62800);
	assert_int_equal(packet(drive, ready, &command), 0);
	assert_int_equal(packet(drive, capacity, &command), 0);
	assert_int_equal(command.bytes, 8);
	assert_int_equal(drive->buffer[2] << 8 | drive->buffer[3], FIXTURE_IMAGE / 2048 - 1);
	assert_int_equal(drive->buffer[6], 8);
	assert_int_equal(packet(drive, read, &command), 0);
	assert_int_equal(command.offset, 2 * 2048);
	assert_int_equal(command.bytes, 3 * 2048);
	assert_int_equal(packet(drive, beyond, &command), 0x52100);
	/* A locked door stays closed, from inside and outside. */
	packet(drive, lock, &command);
	assert_int_equal(packet(drive, eject, &command), 0x55302);
	assert_false(atapi_press_eject(drive));
	assert_int_equal(packet(drive, event, &command), 0);
	assert_int_equal(drive->buffer[4], 1);
	packet(drive, unlock, &command);
	assert_int_equal(packet(drive, eject, &command), 0);
	assert_int_equal(packet(drive, ready, &command), 0x23a02);
	assert_int_equal(packet(drive, load, &command), 0);
	assert_int_equal(packet(drive, ready, &command), 0x62800);
	machine_lock(fixture_machine(f));
	assert_ptr_equal(atapi_remove(drive), f->image);
	machine_unlock(fixture_machine(f));
	assert_int_equal(packet(drive, ready, &command), 0x23a01);
	ata_destroy(drive);
	storage_fixture_finish(f);
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ide_identify),
		cmocka_unit_test(test_ide_pio),
		cmocka_unit_test(test_ide_errors),
		cmocka_unit_test(test_ide_dma),
		cmocka_unit_test(test_ahci_commands),
		cmocka_unit_test(test_ahci_errors),
		cmocka_unit_test(test_nvme_commands),
		cmocka_unit_test(test_nvme_errors),
		cmocka_unit_test(test_atapi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
