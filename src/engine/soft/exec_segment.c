/*
 * Segment registers and descriptor tables: MOV, PUSH and POP of segment registers, LDS and its kin,
 * LGDT to STR, SWAPGS (SDM 2; UMIP: SDM 3A 2.5).
 */
#include "engine/soft/descriptor.h"
#include "engine/soft/operand.h"

#define SEGMENT_MASK 7

static void check_umip(struct vcpu *vcpu)
{
	if (vcpu->cr4 & CR4_UMIP && vcpu->mode.cpl > 0)
		cpu_raise_error(vcpu, X86_GP, 0);
}

/* "Rv/Mw": a register takes the operand size, memory two bytes. */
static void write_word(struct vcpu *vcpu, const struct insn *insn, uint16_t value)
{
	if (insn->has_memory)
		mmu_write_u16(vcpu, insn_linear(vcpu, insn, 2, MMU_WRITE), value);
	else
		gpr_write(vcpu, insn->rm, insn->operand_bytes, value);
}

static uint16_t read_word(struct vcpu *vcpu, const struct insn *insn)
{
	if (insn->has_memory)
		return mmu_read_u16(vcpu, insn_linear(vcpu, insn, 2, MMU_READ));
	return vcpu->gpr[insn->rm];
}

/* Interrupts, NMI and debug traps wait for one instruction (SDM 3A 6.8.3). */
static void shadow_after_ss(struct vcpu *vcpu, unsigned segment)
{
	if (segment != X86_SS)
		return;
	vcpu->shadow_active = vcpu->shadow_mov_ss = true;
	vcpu->shadow_rip = vcpu->next_rip;
}

EXEC(exec_mov_from_sreg)
{
	write_word(vcpu, insn, vcpu->segment[insn->reg & SEGMENT_MASK].selector);
}

EXEC(exec_mov_to_sreg)
{
	unsigned segment = insn->reg & SEGMENT_MASK;

	segment_load(vcpu, segment, read_word(vcpu, insn));
	shadow_after_ss(vcpu, segment);
}

/* 06, 0E, 16, 1E, 0F A0, 0F A8 and, for POP, the byte after. */
static unsigned segment_of_opcode(const struct insn *insn)
{
	return insn->opcode >> 3 & SEGMENT_MASK;
}

EXEC(exec_push_sreg)
{
	stack_push(vcpu, insn->operand_bytes, vcpu->segment[segment_of_opcode(insn)].selector);
}

EXEC(exec_pop_sreg)
{
	unsigned segment = segment_of_opcode(insn);
	struct stack stack = stack_current(vcpu);
	uint16_t selector = stack_frame_pop(vcpu, &stack, insn->operand_bytes);

	segment_load(vcpu, segment, selector);
	gpr_write(vcpu, X86_RSP, stack.bytes, stack.rsp & byte_mask(stack.bytes));
	shadow_after_ss(vcpu, segment);
}

static uint64_t read_sized(struct vcpu *vcpu, gva_t linear, unsigned bytes)
{
	uint64_t value = 0;

	mmu_read(vcpu, linear, &value, bytes);
	return value;
}

static void load_far_pointer(struct vcpu *vcpu, const struct insn *insn, unsigned segment)
{
	unsigned bytes = insn->operand_bytes;
	gva_t linear = insn_linear(vcpu, insn, bytes + 2, MMU_READ);
	uint16_t selector = read_sized(vcpu, linear + bytes, 2);
	uint64_t offset = read_sized(vcpu, linear, bytes);

	segment_load(vcpu, segment, selector);
	gpr_write(vcpu, insn->reg, bytes, offset);
}

EXEC(exec_les)
{
	load_far_pointer(vcpu, insn, X86_ES);
}

EXEC(exec_lds)
{
	load_far_pointer(vcpu, insn, X86_DS);
}

EXEC(exec_lss)
{
	load_far_pointer(vcpu, insn, X86_SS);
}

EXEC(exec_lfs)
{
	load_far_pointer(vcpu, insn, X86_FS);
}

EXEC(exec_lgs)
{
	load_far_pointer(vcpu, insn, X86_GS);
}

static unsigned base_bytes(const struct vcpu *vcpu)
{
	return vcpu->mode.insn == INSN_MODE_64 ? 8 : 4;
}

static void store_table(
	struct vcpu *vcpu, const struct insn *insn, const struct cpu_table_register *table)
{
	unsigned bytes = base_bytes(vcpu);
	gva_t linear;

	check_umip(vcpu);
	linear = insn_linear(vcpu, insn, 2 + bytes, MMU_WRITE);
	mmu_probe_write(vcpu, linear, 2 + bytes);
	mmu_write_u16(vcpu, linear, table->limit);
	if (bytes == 8)
		mmu_write_u64(vcpu, linear + 2, table->base);
	else
		mmu_write_u32(vcpu, linear + 2, table->base);
}

static void load_table(struct vcpu *vcpu, const struct insn *insn, struct cpu_table_register *table)
{
	unsigned bytes = base_bytes(vcpu);
	gva_t linear = insn_linear(vcpu, insn, 2 + bytes, MMU_READ);
	uint16_t limit = mmu_read_u16(vcpu, linear);
	uint64_t base = read_sized(vcpu, linear + 2, bytes);

	if (insn->operand_bytes == 2)
		base &= 0xffffff;
	if (!x86_is_canonical(base))
		cpu_raise_error(vcpu, X86_GP, 0);
	table->limit = limit;
	table->base = base;
}

EXEC(exec_sgdt)
{
	store_table(vcpu, insn, &vcpu->gdtr);
}

EXEC(exec_sidt)
{
	store_table(vcpu, insn, &vcpu->idtr);
}

EXEC(exec_lgdt)
{
	load_table(vcpu, insn, &vcpu->gdtr);
}

EXEC(exec_lidt)
{
	load_table(vcpu, insn, &vcpu->idtr);
}

EXEC(exec_sldt)
{
	check_umip(vcpu);
	write_word(vcpu, insn, vcpu->segment[X86_LDTR].selector);
}

EXEC(exec_str)
{
	check_umip(vcpu);
	write_word(vcpu, insn, vcpu->segment[X86_TR].selector);
}

/* A system segment of the GDT, 16 bytes in long mode. */
static struct descriptor need_system(struct vcpu *vcpu, uint16_t selector)
{
	uint32_t error = selector_error(selector);
	struct descriptor descriptor;

	if (selector & SELECTOR_TI)
		cpu_raise_error(vcpu, X86_GP, error);
	descriptor_need(vcpu, selector, &descriptor, X86_GP);
	if (vcpu->mode.long_mode &&
		(!descriptor_read_high(vcpu, &descriptor) || descriptor.high & BITS(44, 40)))
		cpu_raise_error(vcpu, X86_GP, error);
	descriptor.high &= UINT32_MAX;
	return descriptor;
}

EXEC(exec_lldt)
{
	uint16_t selector = read_word(vcpu, insn);
	struct cpu_segment segment;
	struct descriptor ldt;

	if (selector_is_null(selector)) {
		vcpu->segment[X86_LDTR] = segment_null(selector, 0);
		return;
	}
	ldt = need_system(vcpu, selector);
	segment = descriptor_segment(&ldt, selector);
	if ((segment.attributes & (SEG_S | SEG_TYPE)) != SEG_TYPE_LDT ||
		!x86_is_canonical(segment.base))
		cpu_raise_error(vcpu, X86_GP, selector_error(selector));
	if (!(segment.attributes & SEG_P))
		cpu_raise_error(vcpu, X86_NP, selector_error(selector));
	vcpu->segment[X86_LDTR] = segment;
}

EXEC(exec_ltr)
{
	uint16_t selector = read_word(vcpu, insn);
	struct cpu_segment segment;
	struct descriptor tss;
	unsigned type;

	if (selector_is_null(selector))
		cpu_raise_error(vcpu, X86_GP, 0);
	tss = need_system(vcpu, selector);
	segment = descriptor_segment(&tss, selector);
	type = segment.attributes & (SEG_S | SEG_TYPE);
	if ((type != SEG_TYPE_TSS_FREE && (type != SEG_TYPE_TSS16_FREE || vcpu->mode.long_mode)) ||
		!x86_is_canonical(segment.base))
		cpu_raise_error(vcpu, X86_GP, selector_error(selector));
	if (!(segment.attributes & SEG_P))
		cpu_raise_error(vcpu, X86_NP, selector_error(selector));
	descriptor_set_busy(vcpu, &tss, true);
	segment.attributes |= SEG_TYPE_TSS16_BUSY;
	vcpu->segment[X86_TR] = segment;
}

EXEC(exec_swapgs)
{
	uint64_t base = vcpu->segment[X86_GS].base;

	(void)insn;
	vcpu->segment[X86_GS].base = vcpu->kernel_gs_base;
	vcpu->kernel_gs_base = base;
}
