/*
 * The instructions that the host's unit executes as they are: x87, MMX, SSE, AVX.
 *
 * A memory operand within a page of RAM is accessed in place. Any other goes through a bounce
 * buffer that has the same alignment; where it is written all permissions are had first, so that an
 * instruction that faults has changed nothing.
 */
#include "engine/soft/operand.h"
#include "engine/soft/vector.h"
#include "engine/soft/vector_state.h"
#include "engine/soft/thunk.h"

#define BOUNCE_ALIGNMENT 64
#define OPERAND_MAX      32

/* The two fields of the thunk are a cache inside an otherwise constant instruction. */
static __attribute__((noinline)) void bind(struct vcpu *vcpu, const struct insn *insn)
{
	vector_leave(vcpu);
	thunk_bind(vcpu->thunks, (struct insn *)insn);
}

static inline void run(struct vcpu *vcpu, const struct insn *insn, void *memory)
{
	if (insn->thunk_generation != vcpu->thunks->generation)
		bind(vcpu, insn);
	vector_load(vcpu);
	thunk_at(vcpu->thunks, insn->thunk)(memory, vcpu);
	vector_settle(vcpu);
}

/* As mmu_pointer, which is not needed where the TLB has the answer. */
static inline void *operand_pointer(
	struct vcpu *vcpu, gva_t address, unsigned size, enum mmu_access access)
{
	const struct tlb_entry *entry = &vcpu->tlb_data[tlb_index(address)];
	uint64_t tag = atomic_load_explicit(
		access == MMU_WRITE ? &entry->write_tag : &entry->read_tag, memory_order_relaxed);

	if (mmu_tag_matches(tag, address, size))
		return (void *)(uintptr_t)(address + entry->addend);
	return mmu_pointer(vcpu, address, size, access);
}

static void run_bounced(struct vcpu *vcpu, const struct insn *insn, gva_t address)
{
	const struct isa_row *row = insn_row(insn);
	uint8_t buffer[BOUNCE_ALIGNMENT + OPERAND_MAX] __attribute__((aligned(BOUNCE_ALIGNMENT)));
	uint8_t *memory = buffer + (address & (BOUNCE_ALIGNMENT - 1));
	unsigned size = insn->memory_bytes;

	/* An x87 store that meets an unmasked exception stores nothing and does not fault. */
	if (row->memory & ISA_MEM_WRITE)
		mmu_probe_write(vcpu, address, size);
	if ((row->memory & ISA_MEM_READ) || (row->attributes & ISA_X87))
		mmu_read(vcpu, address, memory, size);
	run(vcpu, insn, memory);
	if (row->memory & ISA_MEM_WRITE)
		mmu_write(vcpu, address, memory, size);
}

/* Of instructions with a memory operand: CVTPI2PD and its kin do not when it is one. */
static bool waits_for_x87(const struct isa_row *row)
{
	return !(row->attributes & ISA_NO_WAIT) &&
	       ((row->attributes & ISA_X87) || row->reg_kind == ISA_P);
}

/* Before canonicality and limits: the address is looked at even if it lies in neither. */
static void check_alignment(struct vcpu *vcpu, const struct insn *insn)
{
	gva_t address = insn_offset(vcpu, insn);

	if (vcpu->mode.insn != INSN_MODE_64 || insn->segment >= X86_FS)
		address += vcpu->segment[insn->segment].base;
	if (address & (insn->memory_bytes - 1))
		cpu_raise_error(vcpu, X86_GP, 0);
}

static void run_on_memory(struct vcpu *vcpu, const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);
	enum mmu_access access = row->memory & ISA_MEM_WRITE ? MMU_WRITE : MMU_READ;
	unsigned size = insn->memory_bytes;
	gva_t address;
	void *memory;

	/* A pending exception precedes those of the memory operand. */
	if (waits_for_x87(row))
		x87_check_pending(vcpu);
	if (row->attributes & ISA_ALIGNED)
		check_alignment(vcpu, insn);
	address = insn_linear(vcpu, insn, size, access);
	memory = operand_pointer(vcpu, address, size, access);
	if (memory)
		run(vcpu, insn, memory);
	else
		run_bounced(vcpu, insn, address);
}

EXEC(exec_host_vector)
{
	if (!insn->has_memory) {
		run(vcpu, insn, NULL);
		return;
	}
	run_on_memory(vcpu, insn);
}

/* In real-address and virtual-8086 mode the pointers are linear addresses (SDM 1 8.1.8). */
static void note_last_x87(struct vcpu *vcpu, const struct insn *insn)
{
	bool linear = !vcpu->mode.protected_mode || vcpu->mode.virtual_8086;

	vcpu->x87_last_ip = vcpu->rip + (linear ? vcpu->segment[X86_CS].base : 0);
	vcpu->x87_last_opcode = (uint16_t)((insn->opcode & 7) << 8 | insn->modrm);
	if (insn->has_memory)
		vcpu->x87_last_dp =
			insn_offset(vcpu, insn) + (linear ? vcpu->segment[insn->segment].base : 0);
}

/* Those that the last-instruction and last-data pointers name: not the control instructions. */
EXEC(exec_host_x87)
{
	if (insn->has_memory) {
		run_on_memory(vcpu, insn);
	} else {
		run(vcpu, insn, NULL);
	}
	note_last_x87(vcpu, insn);
}

/* LDMXCSR and VLDMXCSR. The host's unit may have bits that the guest's has not. */
EXEC(exec_ldmxcsr)
{
	uint32_t mxcsr = mmu_read_u32(vcpu, insn_linear(vcpu, insn, 4, MMU_READ));

	if (mxcsr & ~VECTOR_MXCSR_MASK)
		cpu_raise_error(vcpu, X86_GP, 0);
	vector_load(vcpu);
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
}
