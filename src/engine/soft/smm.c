/*
 * Entering and leaving system management mode (APM 2, 10; docs/smm.md).
 *
 * The layout of the save map and the state in which the handler starts are AMD64's, as KVM and QEMU
 * have them: attributes of segments are those of a descriptor, the limit of the IDT is 0. Whatever
 * the map holds comes from the guest: RSM takes it only if it is a state that a processor can have,
 * and shuts down otherwise (APM 2, 10.3.3). Not modelled: I/O restart, which revision bit 16 would
 * announce; SMM in a guest of the guest.
 *
 * What SMM alone sees is in the TLB while a vCPU is in it, so both ways flush. Owned by the vCPU's
 * thread.
 */
#include "engine/soft/smm.h"

#include "base/trace.h"

#include "engine/soft/control_registers.h"
#include "engine/soft/debug.h"
#include "engine/soft/operand.h"
#include "engine/soft/paging.h"
#include "engine/soft/vector.h"

#include <string.h>

#define ATTRIBUTES (BITS(15, 12) | BITS(7, 0))

void smm_request(struct vcpu *vcpu)
{
	if (vcpu->machine->has_smm)
		vcpu_request(vcpu, REQUEST_SMI);
}

/* Through SMM's view of memory; where there is no RAM nothing is written, and ones are read. */
static void copy(struct vcpu *vcpu, gpa_t address, void *bytes, unsigned size, bool write)
{
	uint8_t *at = bytes;

	while (size > 0) {
		unsigned chunk = GUEST_PAGE_SIZE - (unsigned)(address & (GUEST_PAGE_SIZE - 1));
		gpa_t physical = paging_view(vcpu, address);
		bool read_only = false;
		uint8_t *host = paging_ram(vcpu, physical, &read_only);

		if (chunk > size)
			chunk = size;
		if (!write && host)
			memcpy(at, host, chunk);
		else if (!write)
			memset(at, 0xff, chunk);
		else if (host && !read_only)
			mmu_physical_write(vcpu, physical, at, chunk);
		address += chunk;
		at += chunk;
		size -= chunk;
	}
}

static struct smm_segment saved(const struct cpu_segment *segment)
{
	uint32_t attributes = segment->attributes & ATTRIBUTES;

	if (segment->attributes & SEG_UNUSABLE)
		attributes &= ~(uint32_t)SEG_P;
	return (struct smm_segment){
		.selector = segment->selector,
		.attributes = (uint16_t)attributes,
		.limit = segment->limit,
		.base = segment->base,
	};
}

static struct cpu_segment restored(const struct smm_segment *segment)
{
	uint32_t attributes = segment->attributes & ATTRIBUTES;

	if (!(attributes & SEG_P))
		attributes |= SEG_UNUSABLE;
	return (struct cpu_segment){
		.selector = segment->selector,
		.attributes = attributes,
		.limit = segment->limit,
		.base = segment->base,
	};
}

static void save(struct vcpu *vcpu)
{
	struct smm_map map = {
		.ldtr = saved(&vcpu->segment[X86_LDTR]),
		.tr = saved(&vcpu->segment[X86_TR]),
		.gdtr = { .limit = vcpu->gdtr.limit, .base = vcpu->gdtr.base },
		.idtr = { .limit = vcpu->idtr.limit, .base = vcpu->idtr.base },
		.halt_restart = vcpu->activity == CPU_HALTED,
		.efer = vcpu->efer,
		.revision = SMM_REVISION,
		.smbase = vcpu->smbase,
		.cr4 = vcpu->cr4,
		.cr3 = vcpu->cr3,
		.cr0 = vcpu->cr0,
		.dr7 = vcpu->dr7,
		.dr6 = vcpu->dr6,
		.rflags = vcpu_rflags(vcpu),
		.rip = vcpu->rip,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(map.segment); i++)
		map.segment[i] = saved(&vcpu->segment[i]);
	for (unsigned i = 0; i < X86_NR_GPRS; i++)
		map.gpr[X86_NR_GPRS - 1 - i] = vcpu->gpr[i];
	copy(vcpu, (gpa_t)vcpu->smbase + SMM_MAP_OFFSET, &map, sizeof(map), true);
}

/* APM 2, table 10-3. */
static void start_handler(struct vcpu *vcpu)
{
	const uint32_t writable = SEG_P | SEG_S | SEG_TYPE_WRITABLE | SEG_TYPE_ACCESSED | SEG_G;

	for (unsigned i = X86_ES; i <= X86_GS; i++)
		vcpu->segment[i] =
			(struct cpu_segment){ .limit = UINT32_MAX, .attributes = writable };
	vcpu->segment[X86_CS].selector = (uint16_t)(vcpu->smbase >> 4);
	vcpu->segment[X86_CS].base = vcpu->smbase;
	vcpu->idtr = (struct cpu_table_register){ .limit = 0 };
	vcpu->cr0 &= ~(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
	vcpu->cr4 = 0;
	vcpu->efer = 0;
	vcpu->dr7 = DR7_ONES;
	vcpu->rip = vcpu->next_rip = SMM_ENTRY_OFFSET;
	vcpu_set_rflags(vcpu, RFLAGS_ONE);
}

/* Everything that is derived of what a change between the modes changes. */
static void derive(struct vcpu *vcpu)
{
	vcpu->shadow_active = false;
	vcpu->single_step = false;
	mmu_flush_all(vcpu);
	vcpu_update_mode(vcpu);
	debug_update(vcpu);
}

void smm_enter(struct vcpu *vcpu)
{
	vector_leave(vcpu);
	trace(smi, vcpu->smbase, vcpu->rip);
	vcpu->smm = true;
	vcpu->smm_nmi_blocked = vcpu->nmi_blocked;
	vcpu->nmi_blocked = true;
	save(vcpu);
	vcpu->activity = CPU_RUNNING;
	start_handler(vcpu);
	derive(vcpu);
}

/* Segments whose base has 32 bits, and then the others. */
static void read_segments(struct cpu_state *state, const struct smm_map *map)
{
	for (unsigned i = 0; i < ARRAY_SIZE(map->segment); i++)
		state->segment[i] = restored(&map->segment[i]);
	for (unsigned i = X86_ES; i <= X86_DS; i++)
		state->segment[i].base = (uint32_t)state->segment[i].base;
	state->segment[X86_LDTR] = restored(&map->ldtr);
	state->segment[X86_TR] = restored(&map->tr);
	state->gdtr = (struct cpu_table_register){ .base = map->gdtr.base,
		.limit = (uint16_t)map->gdtr.limit };
	state->idtr = (struct cpu_table_register){ .base = map->idtr.base,
		.limit = (uint16_t)map->idtr.limit };
}

static bool in_64_bit_code(const struct cpu_state *state)
{
	return state->efer & EFER_LMA && state->segment[X86_CS].attributes & SEG_L;
}

/* The state after RSM, as far as the map tells it; false: no processor can be in it. */
static bool read_state(struct vcpu *vcpu, struct cpu_state *state, const struct smm_map *map)
{
	if (!control_registers_load(vcpu, map->cr0, map->cr3, map->cr4, map->efer))
		return false;
	cpu_state_reset(state, 0);
	state->cr0 = vcpu->cr0;
	state->cr3 = vcpu->cr3;
	state->cr4 = vcpu->cr4;
	state->efer = vcpu->efer;
	read_segments(state, map);
	state->rflags = (map->rflags & RFLAGS_WRITABLE) | RFLAGS_ONE;
	state->rip = in_64_bit_code(state) ? map->rip : (uint32_t)map->rip;
	state->dr6 = (map->dr6 & (DR6_B | DR6_BD | DR6_BS | DR6_BT)) | DR6_ONES;
	state->dr7 = ((uint32_t)map->dr7 & ~DR7_ZEROS) | DR7_ONES;
	return state_check(&cpu_state_table, state, NULL);
}

static void resume(struct vcpu *vcpu, const struct cpu_state *state, const struct smm_map *map)
{
	for (unsigned i = 0; i < X86_NR_GPRS; i++)
		vcpu->gpr[i] = map->gpr[X86_NR_GPRS - 1 - i];
	memcpy(vcpu->segment, state->segment, sizeof(vcpu->segment));
	vcpu->gdtr = state->gdtr;
	vcpu->idtr = state->idtr;
	vcpu->dr6 = state->dr6;
	vcpu->dr7 = state->dr7;
	vcpu->next_rip = state->rip;
	vcpu_set_rflags(vcpu, state->rflags);
	vcpu->smbase = map->smbase;
	vcpu->nmi_blocked = vcpu->smm_nmi_blocked;
	vcpu->smm_nmi_blocked = false;
	if (map->halt_restart & 1)
		vcpu->activity = CPU_HALTED;
	derive(vcpu);
}

EXEC(exec_rsm)
{
	struct cpu_state state;
	struct smm_map map;

	(void)insn;
	if (!vcpu->smm)
		cpu_raise(vcpu, X86_UD);
	vector_leave(vcpu);
	copy(vcpu, (gpa_t)vcpu->smbase + SMM_MAP_OFFSET, &map, sizeof(map), false);
	trace(rsm, vcpu->smbase, map.rip);
	/* What RSM reads of memory besides, PAE's pointers, is not SMM's. */
	vcpu->smm = false;
	vcpu->run_end = NULL;
	if (read_state(vcpu, &state, &map)) {
		resume(vcpu, &state, &map);
		return;
	}
	trace(triple_fault, vcpu->rip);
	vcpu->shutdown = true;
	vcpu->smm_nmi_blocked = false;
	derive(vcpu);
}
