#include "engine/soft/vcpu_fixture.h"

#include "engine/soft/code_pages.h"
#include "engine/soft/populate.h"
#include "engine/soft/vector.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CODE_ATTRIBUTES (SEG_P | SEG_S | SEG_TYPE_CODE | SEG_TYPE_READABLE | SEG_TYPE_ACCESSED)
#define DATA_ATTRIBUTES (SEG_P | SEG_S | SEG_TYPE_WRITABLE | SEG_TYPE_ACCESSED)
#define DPL3            SEG_DPL

static void stop_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct vcpu *vcpu = device;

	(void)offset, (void)size, (void)value;
	atomic_fetch_or(&vcpu->requests, REQUEST_KICK);
}

static uint64_t stop_read(void *device, uint64_t offset, unsigned size)
{
	(void)device, (void)offset;
	return 0x1122334455667788 & byte_mask(size);
}

static const struct io_ops stop_ops = { .read = stop_read, .write = stop_write, .max_size = 8 };

void vcpu_fixture_create(struct vcpu_fixture *fixture, unsigned mib)
{
	struct soft_engine *engine = &fixture->engine;
	struct vcpu *vcpu;
	struct error err = { 0 };

	memset(fixture, 0, sizeof(*fixture));
	machine_init(&fixture->machine);
	fixture->machine.nr_vcpus = 1;
	if (guest_memory_add(&fixture->machine.memory, 0, (uint64_t)mib << 20, false, &err) ||
		cpu_model_init(&fixture->model, "max", 1, &err)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	cpu_model_offer(&fixture->model, CPU_FEATURE_PCID);
	cpu_model_offer(&fixture->model, CPU_FEATURE_INVPCID);
	fixture->ram = fixture->machine.memory.regions[0].host;
	engine->base.machine = &fixture->machine;
	engine->base.cpu_model = &fixture->model;
	engine->nr_vcpus = 1;
	pthread_mutex_init(&engine->split_lock, NULL);
	engine->vcpus = aligned_alloc(64, align_up(sizeof(*vcpu), 64));
	assert(engine->vcpus);
	vcpu = fixture->vcpu = &engine->vcpus[0];
	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->engine = engine;
	vcpu->machine = &fixture->machine;
	vcpu->cpu_model = &fixture->model;
	vcpu->a20_mask = ~UINT64_C(0);
	insn_features_init(&vcpu->features, &fixture->model);
	if (code_pages_create(engine, &err) || populate_create(engine, &err) ||
		block_cache_create(vcpu, &err) || vector_init(engine, &err)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	address_space_map(&fixture->machine.mmio, &(struct io_region){ .base = FIXTURE_STOP,
							  .size = 4096,
							  .ops = &stop_ops,
							  .device = vcpu,
							  .name = "stop" });
	mmu_init(vcpu);
}

void vcpu_fixture_destroy(struct vcpu_fixture *fixture)
{
	vector_finish(&fixture->engine);
	block_cache_destroy(fixture->vcpu);
	populate_destroy(&fixture->engine);
	code_pages_destroy(&fixture->engine);
	pthread_mutex_destroy(&fixture->engine.split_lock);
	free(fixture->engine.vcpus);
	machine_finish(&fixture->machine);
}

void vcpu_fixture_load(
	struct vcpu_fixture *fixture, gpa_t address, const void *bytes, unsigned size)
{
	memcpy(fixture->ram + address, bytes, size);
	code_pages_written(&fixture->engine, address, size);
}

static uint64_t encode_descriptor(uint32_t base, uint32_t limit, uint32_t attributes)
{
	uint32_t stored = attributes & SEG_G ? limit >> 12 : limit;

	return (stored & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
	       (uint64_t)(attributes & 0xf0ff) << 40 | (uint64_t)(stored & 0xf0000) << 32 |
	       (uint64_t)(base >> 24) << 56;
}

void vcpu_fixture_descriptor(struct vcpu_fixture *fixture, uint16_t selector, uint32_t base,
	uint32_t limit, uint32_t attributes)
{
	uint64_t descriptor = encode_descriptor(base, limit, attributes);

	vcpu_fixture_load(fixture, FIXTURE_GDT + (selector & ~7), &descriptor, sizeof(descriptor));
}

static void load_segment(struct vcpu_fixture *fixture, unsigned segment, uint16_t selector)
{
	uint64_t low;

	memcpy(&low, fixture->ram + FIXTURE_GDT + (selector & ~7), 8);
	fixture->vcpu->segment[segment] = (struct cpu_segment){
		.selector = selector,
		.base = (low >> 16 & 0xffffff) | (low >> 32 & 0xff000000),
		.limit = (low & 0xffff) | (low >> 32 & 0xf0000),
		.attributes = low >> 40 & 0xf0ff,
	};
	if (low >> 40 & SEG_G)
		fixture->vcpu->segment[segment].limit =
			fixture->vcpu->segment[segment].limit << 12 | 0xfff;
}

static void build_gdt(struct vcpu_fixture *fixture)
{
	uint32_t flat = SEG_G | SEG_DB;

	memset(fixture->ram + FIXTURE_GDT, 0, FIXTURE_GDT_LIMIT + 1);
	vcpu_fixture_descriptor(
		fixture, FIXTURE_CS64, 0, UINT32_MAX, CODE_ATTRIBUTES | SEG_G | SEG_L);
	vcpu_fixture_descriptor(fixture, FIXTURE_DS, 0, UINT32_MAX, DATA_ATTRIBUTES | flat);
	vcpu_fixture_descriptor(fixture, FIXTURE_CS32, 0, UINT32_MAX, CODE_ATTRIBUTES | flat);
	vcpu_fixture_descriptor(
		fixture, FIXTURE_CS32_3, 0, UINT32_MAX, CODE_ATTRIBUTES | flat | DPL3);
	vcpu_fixture_descriptor(
		fixture, FIXTURE_DS_3, 0, UINT32_MAX, DATA_ATTRIBUTES | flat | DPL3);
	vcpu_fixture_descriptor(
		fixture, FIXTURE_CS64_3, 0, UINT32_MAX, CODE_ATTRIBUTES | SEG_G | SEG_L | DPL3);
	vcpu_fixture_descriptor(fixture, FIXTURE_CS16, 0, 0xffff, CODE_ATTRIBUTES);
	vcpu_fixture_descriptor(fixture, FIXTURE_DS16, 0, 0xffff, DATA_ATTRIBUTES);
	vcpu_fixture_descriptor(fixture, FIXTURE_TR, FIXTURE_TSS, 0x67, SEG_P | SEG_TYPE_TSS_BUSY);
}

static void build_tss(struct vcpu_fixture *fixture, bool long_mode)
{
	uint8_t *tss = fixture->ram + FIXTURE_TSS;
	uint64_t rsp0 = FIXTURE_STACK0;
	uint16_t ss0 = FIXTURE_DS, io_map = 0x68;

	memset(tss, 0, 0x68);
	memcpy(tss + 4, &rsp0, long_mode ? 8 : 4);
	if (!long_mode)
		memcpy(tss + 8, &ss0, 2);
	memcpy(tss + 0x66, &io_map, 2);
}

static uint64_t new_table(struct vcpu_fixture *fixture)
{
	uint64_t table = fixture->next_table;

	fixture->next_table += 4096;
	assert(fixture->next_table < FIXTURE_STACK0 - 0x1000);
	memset(fixture->ram + table, 0, 4096);
	return table;
}

uint64_t *vcpu_fixture_entry(struct vcpu_fixture *fixture, gva_t linear, unsigned level)
{
	uint64_t table = FIXTURE_TABLES;

	for (unsigned at = 4;; at--) {
		unsigned index = linear >> (12 + 9 * (at - 1)) & 0x1ff;
		uint64_t *entry = (uint64_t *)(fixture->ram + table) + index;

		if (at == level)
			return entry;
		if (!(*entry & PTE_P) || *entry & PTE_PS) {
			uint64_t below = new_table(fixture), large = *entry;

			for (unsigned i = 0; i < 512 && large & PTE_P; i++)
				((uint64_t *)(fixture->ram + below))[i] =
					(large & ~PTE_PS) + i * 4096u;
			*entry = below | PTE_P | PTE_W | PTE_U;
		}
		table = *entry & BITS(51, 12);
	}
}

void vcpu_fixture_map(struct vcpu_fixture *fixture, gva_t linear, gpa_t physical, uint64_t flags)
{
	*vcpu_fixture_entry(fixture, linear, 1) = physical | flags;
	mmu_flush_all(fixture->vcpu);
}

static void build_paging(struct vcpu_fixture *fixture)
{
	fixture->next_table = FIXTURE_TABLES;
	new_table(fixture);
	for (uint64_t page = 0; page < 512; page++)
		*vcpu_fixture_entry(fixture, page << 21, 2) =
			page << 21 | PTE_P | PTE_W | PTE_U | PTE_PS;
	/* The stop page is not in the first GiB. */
	*vcpu_fixture_entry(fixture, FIXTURE_STOP, 2) =
		FIXTURE_STOP | PTE_P | PTE_W | PTE_U | PTE_PS;
}

static void enter_real(struct vcpu_fixture *fixture)
{
	struct vcpu *vcpu = fixture->vcpu;

	for (unsigned i = 0; i < X86_LDTR; i++)
		vcpu->segment[i] = (struct cpu_segment){ .limit = 0xffff,
			.attributes = SEG_P | SEG_S | SEG_TYPE_WRITABLE | SEG_TYPE_ACCESSED };
	vcpu->idtr = (struct cpu_table_register){ .base = 0, .limit = 0x3ff };
	vcpu->gpr[X86_RSP] = 0x7000;
	vcpu->rip = FIXTURE_CODE_16;
}

static void enter_protected(struct vcpu_fixture *fixture, uint16_t cs, uint16_t ss)
{
	struct vcpu *vcpu = fixture->vcpu;
	static const uint8_t data[] = { X86_ES, X86_SS, X86_DS, X86_FS, X86_GS };

	load_segment(fixture, X86_CS, cs);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		load_segment(fixture, data[i], ss);
	load_segment(fixture, X86_TR, FIXTURE_TR);
	vcpu->segment[X86_LDTR] = (struct cpu_segment){ .attributes = SEG_UNUSABLE };
	vcpu->gdtr = (struct cpu_table_register){ .base = FIXTURE_GDT, .limit = FIXTURE_GDT_LIMIT };
	vcpu->idtr = (struct cpu_table_register){ .base = FIXTURE_IDT, .limit = 0xfff };
	vcpu->gpr[X86_RSP] = ss & 3 ? FIXTURE_STACK3 : FIXTURE_STACK0;
	vcpu->cr0 |= CR0_PE;
	vcpu->rip = FIXTURE_CODE;
}

static void reset_registers(struct vcpu *vcpu)
{
	memset(vcpu->gpr, 0, sizeof(vcpu->gpr));
	vcpu->cr0 = CR0_ET | CR0_NE | CR0_MP;
	vcpu->cr2 = vcpu->cr3 = 0;
	vcpu->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	vcpu->xcr0 = vcpu->cpu_model->xcr0_supported;
	vcpu->efer = 0;
	memset(vcpu->dr, 0, sizeof(vcpu->dr));
	vcpu->dr6 = 0xffff0ff0;
	vcpu->dr7 = 0x400;
	vcpu->debug_pending = 0;
	vcpu->delivering = 0;
	vcpu->shutdown = vcpu->nmi_blocked = vcpu->shadow_active = false;
	vcpu->activity = CPU_RUNNING;
	vcpu->timer_deadline_tsc = UINT64_MAX;
	atomic_store(&vcpu->requests, 0);
	vector_set(vcpu, &(struct cpu_xsave){ .fcw = 0x37f, .mxcsr = 0x1f80 });
}

void vcpu_fixture_enter(struct vcpu_fixture *fixture, enum fixture_mode mode)
{
	struct vcpu *vcpu = fixture->vcpu;
	bool long_mode = mode >= FIXTURE_LONG;

	/* cmocka installs handlers of its own for each test. */
	vector_take_signals();
	reset_registers(vcpu);
	if (mode == FIXTURE_REAL) {
		enter_real(fixture);
	} else {
		build_gdt(fixture);
		build_tss(fixture, long_mode);
		memset(fixture->ram + FIXTURE_IDT, 0, 0x1000);
	}
	switch (mode) {
	case FIXTURE_REAL: break;
	case FIXTURE_PROTECTED: enter_protected(fixture, FIXTURE_CS32, FIXTURE_DS); break;
	case FIXTURE_PROTECTED_USER:
	case FIXTURE_COMPATIBILITY_USER:
		enter_protected(fixture, FIXTURE_CS32_3, FIXTURE_DS_3);
		break;
	case FIXTURE_LONG: enter_protected(fixture, FIXTURE_CS64, FIXTURE_DS); break;
	case FIXTURE_LONG_USER: enter_protected(fixture, FIXTURE_CS64_3, FIXTURE_DS_3); break;
	}
	if (long_mode) {
		build_paging(fixture);
		vcpu->cr0 |= CR0_PG | CR0_WP;
		vcpu->cr4 |= CR4_PAE;
		vcpu->cr3 = FIXTURE_TABLES;
		vcpu->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	}
	vcpu_set_rflags(vcpu, RFLAGS_ONE);
	vcpu_update_mode(vcpu);
	mmu_flush_all(vcpu);
}

void vcpu_fixture_gate(struct vcpu_fixture *fixture, unsigned vector, uint16_t selector,
	uint64_t offset, unsigned type, unsigned dpl, unsigned ist)
{
	uint64_t gate[2] = {
		(offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)ist << 32 |
			(uint64_t)(type | dpl << 5 | SEG_P) << 40 | (offset & 0xffff0000) << 32,
		offset >> 32,
	};
	unsigned size = fixture->vcpu->mode.long_mode ? 16 : 8;

	vcpu_fixture_load(fixture, FIXTURE_IDT + vector * size, gate, size);
}

static bool at_hlt(struct vcpu_fixture *fixture)
{
	struct vcpu *vcpu = fixture->vcpu;
	gva_t linear = vcpu->rip;
	gpa_t physical;

	if (vcpu->mode.insn != INSN_MODE_64)
		linear = (uint32_t)(linear + vcpu->segment[X86_CS].base);
	return mmu_translate(vcpu, linear, &physical) && physical < fixture->machine.memory.end &&
	       fixture->ram[physical] == 0xf4;
}

bool vcpu_fixture_run(struct vcpu_fixture *fixture, unsigned limit)
{
	while (limit-- > 0 && !at_hlt(fixture))
		if (!interpret_step(fixture->vcpu))
			return false;
	return at_hlt(fixture);
}
