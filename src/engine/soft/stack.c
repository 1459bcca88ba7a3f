/*
 * The stack: pushes and pops of instructions, and the frames of far transfers and events, which may
 * be on a stack that is not current yet (SDM 3A 5.8.5, 6.12, 6.14; SDM 1 chapter 6).
 */
#include "engine/soft/descriptor.h"
#include "engine/soft/execute.h"

static unsigned current_width(const struct vcpu *vcpu)
{
	if (vcpu->mode.insn == INSN_MODE_64)
		return 8;
	return vcpu->segment[X86_SS].attributes & SEG_DB ? 4 : 2;
}

static void set_rsp(struct vcpu *vcpu, unsigned width, uint64_t rsp)
{
	gpr_write(vcpu, X86_RSP, width, rsp);
}

static void write_sized(struct vcpu *vcpu, gva_t linear, unsigned bytes, uint64_t value)
{
	switch (bytes) {
	case 2: mmu_write_u16(vcpu, linear, (uint16_t)value); break;
	case 4: mmu_write_u32(vcpu, linear, (uint32_t)value); break;
	default: mmu_write_u64(vcpu, linear, value); break;
	}
}

static uint64_t read_sized(struct vcpu *vcpu, gva_t linear, unsigned bytes)
{
	switch (bytes) {
	case 2: return mmu_read_u16(vcpu, linear);
	case 4: return mmu_read_u32(vcpu, linear);
	default: return mmu_read_u64(vcpu, linear);
	}
}

void stack_push(struct vcpu *vcpu, unsigned bytes, uint64_t value)
{
	unsigned width = current_width(vcpu);
	uint64_t rsp = (vcpu->gpr[X86_RSP] - bytes) & byte_mask(width);

	write_sized(vcpu, segment_linear(vcpu, X86_SS, rsp, bytes, MMU_WRITE), bytes, value);
	set_rsp(vcpu, width, rsp);
}

uint64_t stack_peek(struct vcpu *vcpu, unsigned bytes, uint64_t depth)
{
	uint64_t rsp = (vcpu->gpr[X86_RSP] + depth) & byte_mask(current_width(vcpu));

	return read_sized(vcpu, segment_linear(vcpu, X86_SS, rsp, bytes, MMU_READ), bytes);
}

uint64_t stack_pop(struct vcpu *vcpu, unsigned bytes)
{
	uint64_t value = stack_peek(vcpu, bytes, 0);

	stack_adjust(vcpu, bytes);
	return value;
}

void stack_adjust(struct vcpu *vcpu, int64_t bytes)
{
	unsigned width = current_width(vcpu);

	set_rsp(vcpu, width, (vcpu->gpr[X86_RSP] + bytes) & byte_mask(width));
}

struct stack stack_current(struct vcpu *vcpu)
{
	return (struct stack){
		.ss = vcpu->segment[X86_SS],
		.rsp = vcpu->gpr[X86_RSP],
		.cpl = vcpu->mode.cpl,
		.bytes = current_width(vcpu),
	};
}

unsigned stack_width(const struct vcpu *vcpu, const struct cpu_segment *ss)
{
	if (vcpu->mode.insn == INSN_MODE_64)
		return 8;
	return ss->attributes & SEG_DB ? 4 : 2;
}

static bool fits(const struct stack *stack, uint64_t offset, unsigned bytes)
{
	uint64_t last = offset + bytes - 1;

	if (stack->bytes == 8)
		return x86_is_canonical(offset) && x86_is_canonical(last);
	if (stack->ss.attributes & SEG_UNUSABLE)
		return false;
	if (stack->ss.attributes & SEG_TYPE_EXPAND_DOWN)
		return offset > stack->ss.limit &&
		       last <= (stack->ss.attributes & SEG_DB ? UINT32_MAX : UINT16_MAX);
	return last <= stack->ss.limit;
}

static gva_t frame_linear(
	struct vcpu *vcpu, const struct stack *stack, uint64_t offset, unsigned bytes)
{
	if (!fits(stack, offset, bytes))
		cpu_raise_error(vcpu, X86_SS_FAULT, selector_error(stack->error));
	return stack->bytes == 8 ? offset : (uint32_t)(stack->ss.base + offset);
}

void stack_frame_push(struct vcpu *vcpu, struct stack *stack, unsigned bytes, uint64_t value)
{
	uint64_t mask = byte_mask(stack->bytes);
	uint64_t rsp = (stack->rsp - bytes) & mask;
	gva_t linear = frame_linear(vcpu, stack, rsp, bytes);

	if (stack->cpl == 3)
		write_sized(vcpu, linear, bytes, value);
	else
		mmu_system_write(vcpu, linear, bytes, value & byte_mask(bytes));
	stack->rsp = (stack->rsp & ~mask) | rsp;
}

uint64_t stack_frame_pop(struct vcpu *vcpu, struct stack *stack, unsigned bytes)
{
	uint64_t mask = byte_mask(stack->bytes);
	gva_t linear = frame_linear(vcpu, stack, stack->rsp & mask, bytes);
	uint64_t value = read_sized(vcpu, linear, bytes);

	stack->rsp = (stack->rsp & ~mask) | ((stack->rsp + bytes) & mask);
	return value;
}

void stack_commit(struct vcpu *vcpu, const struct stack *stack)
{
	vcpu->segment[X86_SS] = stack->ss;
	set_rsp(vcpu, stack->bytes, stack->rsp & byte_mask(stack->bytes));
}

static _Noreturn void raise_tss(struct vcpu *vcpu)
{
	cpu_raise_error(vcpu, X86_TS, selector_error(vcpu->segment[X86_TR].selector));
}

struct stack stack_from_tss64(struct vcpu *vcpu, unsigned cpl, unsigned offset)
{
	const struct cpu_segment *tss = &vcpu->segment[X86_TR];
	struct stack stack = { .cpl = cpl, .bytes = 8 };

	if (offset + 7 > tss->limit)
		raise_tss(vcpu);
	stack.rsp = mmu_system_read(vcpu, tss->base + offset, 8);
	stack.ss = cpl == vcpu->mode.cpl ? vcpu->segment[X86_SS] : segment_null(cpl, cpl);
	return stack;
}

struct stack stack_from_tss(struct vcpu *vcpu, unsigned cpl)
{
	const struct cpu_segment *tss = &vcpu->segment[X86_TR];
	bool is_32bit = attributes_type(tss->attributes) & 8;
	unsigned pointer = is_32bit ? 4 : 2;
	unsigned offset = pointer + cpl * 2 * pointer;
	struct stack stack = { .cpl = cpl };
	uint16_t selector;

	if (vcpu->mode.long_mode)
		return stack_from_tss64(vcpu, cpl, 4 + 8 * cpl);
	if (offset + pointer + 1 > tss->limit)
		raise_tss(vcpu);
	stack.rsp = mmu_system_read(vcpu, (uint32_t)(tss->base + offset), pointer);
	selector = mmu_system_read(vcpu, (uint32_t)(tss->base + offset + pointer), 2);
	stack.ss = segment_stack(vcpu, selector, cpl, X86_TS);
	stack.bytes = stack.ss.attributes & SEG_DB ? 4 : 2;
	stack.error = selector;
	return stack;
}
